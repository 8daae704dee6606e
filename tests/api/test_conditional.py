"""If-None-Match and If-Match (RFC 9110 §13): what a read is spared, what a change is kept from, and what is looked at first."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.store.embedded import Embedded
from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.api.test_hostile import issued
from tests.live import Live


def entries(live: Live, person: str) -> list[Any]:
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn) as admin:
        return admin.execute(
            "SELECT o.name, a.granted, a.fields, a.purpose, a.reason FROM vault.audit a JOIN vault.operation o ON o.id = a.operation WHERE a.subject = %s ORDER BY a.audit_id",
            (person,),
        ).fetchall()


@pytest.mark.parametrize("short", [True, False])
def test_what_the_caller_has_is_304_and_its_read_is_entered_all_the_same(live: Live, api: httpx.Client, short: bool) -> None:  # noqa: F811
    made = create(api)
    person = f"/v1/people/{made['id']}"
    params = READ if short else {**READ, "reference": "CASE-1"}
    whole = api.get(person, params=params)
    etag = whole.headers["etag"]
    before = entries(live, made["id"])
    for value in (etag, f"W/{etag}", f'"other", {etag}', "*", f",,{etag}"):
        answer = api.get(person, params=params, headers={"If-None-Match": value})
        assert (answer.status_code, answer.content) == (304, b""), value
        assert answer.headers["etag"] == etag
        assert answer.headers["cache-control"] == "no-store"
        assert {"ratelimit", "date"} <= set(answer.headers)
        assert not {"content-type", "content-encoding"} & set(answer.headers)
    after = entries(live, made["id"])
    assert after[len(before) :] == [before[-1]] * 5, "the entry of a read"
    assert api.head(person, params=params, headers={"If-None-Match": etag}).status_code == 304
    for value in ('"other"', "", f"{etag[:-1]}", f"{etag} x"):
        again = api.get(person, params=params, headers={"If-None-Match": value})
        assert again.status_code == 200, value
        assert again.json()["records"][0]["values"] == whole.json()["records"][0]["values"]
    body = {"dataset": "account", "record": made["record"], "values": {"name": "M"}, **USE}
    assert api.patch(person, json=body).status_code == 200
    assert api.get(person, params=params, headers={"If-None-Match": etag}).status_code == 200


def test_a_refused_read_is_refused_whatever_its_condition(live: Live, api: httpx.Client) -> None:  # noqa: F811
    """RFC 9110 §13.2.1: a condition counts only where the answer would be 2xx."""
    made = create(api)
    person = f"/v1/people/{made['id']}"
    etag = api.get(person, params=READ).headers["etag"]
    for headers in ({"If-None-Match": etag}, {"If-None-Match": "*"}, {"If-Match": '"x"'}):
        problem(api.get(f"/v1/people/{uuid4()}", params=READ, headers=headers), 404)
        problem(api.get(person, params={**READ, "purpose": "improve"}, headers=headers), 403)
        problem(httpx.get(live.api + person, params=READ, headers=headers), 401)
    for answer in (
        httpx.patch(live.api + person, json={}, headers={"If-Match": '"x"'}),
        httpx.delete(live.api + person, params=USE, headers={"If-Match": '"x"'}),
    ):
        problem(answer, 401)
    stranger = {"Authorization": "Bearer " + "x" * 43}
    for name in ("If-Match", "If-None-Match"):
        problem(httpx.delete(live.api + person, params=USE, headers=stranger | {name: '"x"'}), 401)
    reader = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {issued(live, operations=['read'])}"})  # type: ignore[arg-type]
    body = {"dataset": "account", "record": made["record"], "values": {"name": "M"}, **USE}
    for headers in ({"If-Match": '"x"'}, {"If-None-Match": "*"}, {"If-None-Match": etag}):
        problem(api.patch(f"/v1/people/{uuid4()}", json=body, headers=headers), 404)
        problem(reader.patch(person, json=body, headers=headers), 403)
        problem(api.patch(person, json={**body, "values": {"nothing": "x"}}, headers=headers), 422)


def test_a_read_of_another_version_than_expected_is_412(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    etag = api.get(person, params=READ).headers["etag"]
    for value in (etag, "*", f'"x", {etag}'):
        assert api.get(person, params=READ, headers={"If-Match": value}).status_code == 200
    for value in ('"x"', f"W/{etag}", "", f"{etag}x"):
        answer = api.get(person, params=READ, headers={"If-Match": value})
        assert problem(answer, 412)["status"] == 412
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers
        assert "values" not in answer.text
    # §13.2.2: If-Match first, and then If-None-Match.
    problem(api.get(person, params=READ, headers={"If-Match": '"x"', "If-None-Match": etag}), 412)
    assert api.get(person, params=READ, headers={"If-Match": etag, "If-None-Match": etag}).status_code == 304


def test_a_correction_of_what_must_have_changed_is_412_while_it_has_not(api: httpx.Client) -> None:  # noqa: F811
    made = create(api)
    person = f"/v1/people/{made['id']}"
    body = {"dataset": "account", "record": made["record"], "values": {"name": "M"}, **USE}
    old = api.get(person, params=READ).headers["etag"]
    for value in (old, f"W/{old}", "*", f'"x", {old}', "nonsense", ""):
        problem(api.patch(person, json=body, headers={"If-None-Match": value}), 412)
    problem(api.patch(person, json=body, headers={"If-Match": old, "If-None-Match": old}), 412)
    problem(api.patch(person, json=body, headers={"If-Match": old, "If-None-Match": "*"}), 412)
    assert api.get(person, params=READ, headers={"If-None-Match": old}).status_code == 304, "nothing was changed"
    assert api.patch(person, json=body, headers={"If-Match": old, "If-None-Match": '"x"'}).status_code == 200
    assert api.patch(person, json=body, headers={"If-None-Match": old}).status_code == 200, "it has changed"


def test_what_has_no_version_is_not_done_under_either_condition(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    etag = api.get(person, params=READ).headers["etag"]
    for value in ("*", etag, '"x"'):
        headers = {"If-None-Match": value}
        problem(api.delete(person, params=USE, headers=headers), 412)
        problem(api.put(f"{person}/restriction", json=USE, headers=headers), 412)
        problem(api.post(f"{person}/restriction/lift", json=USE, headers=headers), 412)
    ids = {"people": [person[-36:]]}
    for path, body in (
        ("people/erase", ids),
        ("people/restrict", {**ids, "restricted": True}),
        ("people/correct", {}),
        ("people/batch", {}),
        ("people", {}),
    ):
        for value in ("*", etag):
            problem(api.post(f"/v1/{path}", json={**USE, **body}, headers={"If-Match": value}), 412)
    assert api.get(person, params=READ).status_code == 200


@pytest.mark.parametrize("path", ["/v1/policy", "/log/log.vkey", "/log/witness.vkey"])
def test_open_answers_have_a_validator_too(api: httpx.Client, path: str) -> None:  # noqa: F811
    answer = api.get(path)
    etag = answer.headers["etag"]
    assert answer.headers["cache-control"] == "no-cache"
    known = api.get(path, headers={"If-None-Match": etag})
    assert (known.status_code, known.content, known.headers["etag"], known.headers["cache-control"]) == (
        304,
        b"",
        etag,
        "no-cache",
    )
    assert api.get(path, headers={"If-None-Match": '"x"'}).content == answer.content
    # Nothing of a body may stand where the next answer of the connection begins.
    assert api.get(path).content == answer.content
