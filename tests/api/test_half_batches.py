"""What a token may do in part, does again, or did before it was narrowed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.trust.keys.provision import issue_token
from tests.api.scopes import Body, Caller, values
from tests.live import Live

LEGAL = {"purpose": "legal", "reason": "verification"}


def entries(admin: psycopg.Connection[Any], client: httpx.Client, last: int) -> list[tuple[Any, ...]]:
    """(operation, granted, person, dataset) of what a token did since."""
    return admin.execute(
        "SELECT o.name, a.granted, a.subject::text, d.name FROM vault.audit a JOIN vault.operation o ON o.id = a.operation LEFT JOIN vault.dataset d ON d.id = a.dataset "
        "JOIN vault.session s ON s.actor = a.actor WHERE s.secret_hash = sha256(%s) AND a.audit_id > %s AND o.name <> 'issue' ORDER BY a.audit_id",
        (client.headers["authorization"][7:].encode(), last),
    ).fetchall()  # fmt: skip


def newest(admin: psycopg.Connection[Any]) -> int:
    row = admin.execute("SELECT max(audit_id) FROM vault.audit").fetchone()
    assert row
    return int(row[0])


def test_who_may_do_half_of_a_batch_does_that_half(admin: psycopg.Connection[Any], caller: Caller) -> None:
    both, half = caller("verifier"), caller("verifier", compartments=["account"], operations=["create", "correct", "erase"])

    def items(*names: str) -> list[Body]:
        return [{"dataset": name, "values": values(f"{uuid4().hex}@org.example")} for name in names]

    def results(client: httpx.Client, path: str, **body: Any) -> list[Body]:
        answer = client.post(f"/v1/people/{path}", json={**LEGAL, **body})
        assert answer.status_code == 200, answer.text
        found: list[Body] = answer.json()["results"]
        return found

    made = [one["made"] for one in results(both, "batch", people=items("demo", "account", "account", "demo"))]
    last = newest(admin)
    done = results(half, "batch", people=items("demo", "account", "account", "demo"))
    assert [one["status"] for one in done] == [404, 201, 201, 404]
    assert sorted(entries(admin, half, last), key=str) == sorted(
        [("create", False, None, "demo"), *(("create", True, one["made"]["id"], "account") for one in done[1:3])], key=str
    )
    answer = half.post("/v1/people/batch", json={**LEGAL, "people": items("demo", "demo")})
    assert answer.status_code == 404, "where nothing of it may be done, the whole is refused"
    changes = [
        {"person": one["id"], "record": one["record"], "dataset": name, "values": {"name": "M"}}
        for one, name in zip(made, ("demo", "account", "account", "demo"), strict=True)
    ]
    assert [one["status"] for one in results(half, "correct", corrections=changes)] == [403, 200, 200, 403]
    last = newest(admin)
    people = [made[0]["id"], made[1]["id"], str(uuid4()), made[3]["id"]]
    assert [one["status"] for one in results(half, "erase", people=people)] == [404, 200, 404, 404]
    assert sorted(entries(admin, half, last), key=str) == sorted(
        [("erase", number == 1, person, None) for number, person in enumerate(people)], key=str
    ), "each has its entry, also beside one that is erased"
    read = results(both, "read", dataset="demo", fields=["name"], people=[made[0]["id"], made[3]["id"]])
    assert [one["person"]["records"][0]["values"]["name"] for one in read] == ["N", "N"]


@pytest.mark.parametrize(
    "changed", [{"purpose": "provide", "reason": "integration"}, {"reason": "rights-request"}, {"reference": "CASE-7"}]
)
def test_a_batch_under_a_used_key_is_the_same_in_what_it_is_for(caller: Caller, changed: Body) -> None:
    """Otherwise it is answered as done for a purpose that the token may not have, and no entry says so."""
    client, key = caller("verifier", compartments=["account"]), {"Idempotency-Key": str(uuid4())}
    body = {**LEGAL, "people": [{"dataset": "account", "values": values(f"{uuid4().hex}@org.example")}]}
    first = client.post("/v1/people/batch", json=body, headers=key)
    assert first.json()["results"][0]["status"] == 201
    assert client.post("/v1/people/batch", json=body, headers=key).json() == first.json()
    answer = client.post("/v1/people/batch", json={**body, **changed}, headers=key)
    assert [one["problem"]["type"] for one in answer.json()["results"]] == ["urn:armonika:problem:idempotency-key-reused"]
    single = {**LEGAL, **body["people"][0]}
    assert client.post("/v1/people", json=single, headers=key).json()["type"].endswith("idempotency-key-reused")


@pytest.mark.parametrize("narrow", [{"operations": ["read"]}, {"purposes": ["provide"]}, {"compartments": ["prospects"]}])
def test_a_request_sent_again_tells_nothing_to_a_token_that_was_narrowed_since(
    admin: psycopg.Connection[Any], dsn: str, live: Live, narrow: dict[str, list[str]]
) -> None:
    token, key = issue_token(dsn, "verifier"), {"Idempotency-Key": str(uuid4())}
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    body = {**LEGAL, "dataset": "account", "values": values(f"{uuid4().hex}@org.example")}
    made = client.post("/v1/people", json=body, headers=key)
    assert client.post("/v1/people", json=body, headers=key).json() == made.json()
    bounds = [narrow.get(name) for name in ("compartments", "purposes", "operations")]
    admin.execute("SELECT vault.narrow_token(sha256(%s), %s::text[], %s::text[], %s::text[])", (token.encode(), *bounds))
    answer = client.post("/v1/people", json=body, headers=key)
    assert answer.status_code >= 400
    assert made.json()["id"] not in answer.text
