"""The machine API over HTTP against the running system: what it does, what it refuses, and that refusals look the same."""

from __future__ import annotations

import asyncio
import json
import os
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.live import Live

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
USE = {"purpose": "provide", "reason": "integration"}
READ = {"dataset": "account", "fields": "name,email,company,role", **USE}


@pytest.fixture
def api(live: Live) -> httpx.Client:
    return httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}, timeout=20)


def create(api: httpx.Client, **values: str) -> dict[str, str]:
    body = {
        "dataset": "account",
        **USE,
        "values": {"name": "Nour", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | values,
    }
    answer = api.post("/v1/people", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    content: dict[str, object] = answer.json()
    assert {"type", "title", "status", "detail"} <= set(content)
    return content


def test_a_person_goes_all_the_way(api: httpx.Client) -> None:
    email = f"{uuid4().hex}@Org.Example"
    made = create(api, email=email)
    person = f"/v1/people/{made['id']}"
    answer = api.get(person, params=READ)
    assert answer.json()["records"][0]["values"]["email"] == email
    assert answer.headers["cache-control"] == "no-store"
    found = api.post("/v1/lookups", json={"dataset": "account", "email": email.upper(), "fields": ["name"], **USE}).json()
    assert [entry["id"] for entry in found["people"]] == [made["id"]]
    assert (
        api.patch(
            person, json={"dataset": "account", "record": made["record"], "values": {"name": "Nouvelle"}, **USE}
        ).status_code
        == 200
    )
    assert api.get(person, params=READ).json()["records"][0]["values"]["name"] == "Nouvelle"
    assert api.put(f"{person}/restriction", json=USE).status_code == 200
    problem(api.get(person, params=READ), 423)
    assert api.post(f"{person}/restriction/lift", json=USE).status_code == 200
    assert api.get(person, params=READ).status_code == 200
    assert api.delete(person, params=USE).json()["erased"] == 1
    problem(api.get(person, params=READ), 404)
    assert api.post("/v1/lookups", json={"dataset": "account", "email": email, "fields": ["name"], **USE}).json() == {
        "people": []
    }


def test_unknown_and_erased_ids_have_one_answer(api: httpx.Client) -> None:
    gone = create(api)["id"]
    api.delete(f"/v1/people/{gone}", params=USE)
    answers = [api.get(f"/v1/people/{person}", params=READ) for person in (gone, str(uuid4()))]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, {}), ("Bearer " + "x" * 43, {}), ("bearer", {}), ("Basic abc", {}), ("Bearer " + "x" * 5000, {}), ("Bearer not a token", {}),
    ],
)  # fmt: skip
def test_without_a_living_token_nothing_is_told(live: Live, token: str | None, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{live.api}/v1/people/{uuid4()}", params=READ, headers={"Authorization": token} if token else {})
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_tokens_in_lower_case_scheme_work_and_in_the_query_do_not(api: httpx.Client, live: Live) -> None:
    person = create(api)["id"]
    assert (
        httpx.get(f"{live.api}/v1/people/{person}", params=READ, headers={"Authorization": f"bearer {live.token()}"}).status_code
        == 200
    )
    assert httpx.get(f"{live.api}/v1/people/{person}", params={**READ, "access_token": live.token()}).status_code == 401
    twice = httpx.get(
        f"{live.api}/v1/people/{person}",
        params=READ,
        headers=[("Authorization", f"Bearer {live.token()}"), ("Authorization", "Bearer x")],
    )
    assert twice.status_code == 401


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x\u0000y"}, {"name": "a\u202eb"}, {"name": "a" + "\u0301" * 40}, {"name": "   "}, {"email": "no address"}, {"email": "a@b@c.dz"}, {"date_of_birth": "2000-01-01"},
        {"name": "x" * 70000},
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_refused_and_not_repeated(api: httpx.Client, values: dict[str, str]) -> None:
    body = {
        "dataset": "account",
        **USE,
        "values": {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | values,
    }
    answer = api.post("/v1/people", json=body)
    assert answer.status_code in (400, 422), answer.text
    assert not any(value[:12].strip() and value[:12] in answer.text for value in values.values())


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"\xff\xfe", b'{"purpose": NaN}', b"[" * 10000, b'{"dataset": 1e400}', b'{"a": "' + b"x" * 2_000_000 + b'"}', b'\xef\xbb\xbf{}', b'{"purpose":"provide","purpose":"x"}',
        json.dumps({"dataset": "account", **USE, "values": {"name": "N"}, "extra": 1}).encode(),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_read_are_problems(api: httpx.Client, raw: bytes) -> None:
    answer = api.post("/v1/people", content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_other_errors_are_problems_too(api: httpx.Client) -> None:
    problem(api.get("/v1/nothing"), 404)
    problem(api.put("/v1/people", json={}), 405)
    problem(api.get(f"/v1/people/{uuid4()}", params={**READ, "purpose": "profiling"}), 422)
    problem(api.get(f"/v1/people/{uuid4()}", params={**READ, "fields": "salary"}), 422)
    problem(api.get(f"/v1/people/{uuid4()}", params={**READ, "purpose": "improve", "reason": "integration"}), 403)
    email = f"{uuid4().hex}@org.example"
    create(api, email=email)
    answer = api.post(
        "/v1/people",
        json={"dataset": "account", **USE, "values": {"name": "N", "email": email.upper(), "company": "C", "role": "R"}},
    )
    assert email.upper() not in problem(answer, 409)["detail"]  # type: ignore[operator]


def test_requests_that_arrive_together_each_get_their_own(api: httpx.Client, live: Live) -> None:
    made = [create(api, name=f"N{n}") for n in range(12)]

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=live.api, timeout=20) as client:
            calls = []
            for n, person in enumerate(made * 4):
                token = live.token() if n % 7 else "arm_" + "x" * 43
                calls.append(client.get(f"/v1/people/{person['id']}", params=READ, headers={"Authorization": f"Bearer {token}"}))
            return await asyncio.gather(*calls)

    answers = asyncio.run(all_at_once())
    for n, answer in enumerate(answers):
        if n % 7:
            assert answer.json()["records"][0]["values"]["name"] == f"N{n % 12}"
        else:
            assert answer.status_code == 401


def test_the_schema_holds_under_generated_requests(live: Live) -> None:
    """schemathesis: no server error and nothing that the description does not tell, for generated valid and invalid requests of every operation."""
    schema = schemathesis.openapi.from_url(f"{live.api}/schema/openapi.json")
    examples = int(os.environ.get("ARMONIKA_SCHEMA_EXAMPLES", "40"))
    seen = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        seen += 1

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
        def run(case: schemathesis.Case) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {live.token()}"})
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code >= 400:
                assert "problem+json" in answer.headers["content-type"][0]

        given(operation.as_strategy())(run)()
    assert seen >= 8
