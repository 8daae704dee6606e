"""Conditions, HEAD and OPTIONS as RFC 9110 has them, against the running system; and a batch that is sent again."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.doors.api.conditions import MOST_SEEN, NEWEST, seen
from armonika.trust.vault.errors import VersionConflict
from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.api.test_batches import people
from tests.api.test_hostile import status, talk
from tests.live import Live


def test_any_tag_of_a_list_may_hold(api: httpx.Client) -> None:  # noqa: F811
    """RFC 9110 §13.1.1 step 2; a list may have spaces, tabs and empty members (§5.6.1)."""
    made = create(api)
    person = f"/v1/people/{made['id']}"
    body = {"dataset": "account", "record": made["record"], "values": {"name": "N"}, **USE}

    def tag() -> str:
        return api.get(person, params=READ).headers["etag"]

    old = tag()
    assert api.patch(person, json=body, headers={"If-Match": old}).status_code == 200
    for form in ("{old}, {now}", "{now}, {old}", '"x" ,\t{now}', ",, {now},", "{old},{now}", 'W/"y",{now}'):
        headers = {"If-Match": form.format(old=old, now=tag())}
        assert api.patch(person, json=body, headers=headers).status_code == 200, form
    assert api.patch(person, json=body, headers=[("If-Match", old), ("If-Match", tag())]).status_code == 200
    for form in ("{old}, {old}", "W/{now}", "{now} x", "{now}{now}", "*, {now}", ""):
        problem(api.patch(person, json=body, headers={"If-Match": form.format(old=old, now=tag())}), 412)


def test_a_version_that_no_value_can_have_is_412(api: httpx.Client) -> None:  # noqa: F811
    made = create(api)
    person, record = f"/v1/people/{made['id']}", made["record"].replace("-", "")
    body = {"dataset": "account", "record": made["record"], "values": {"name": "M"}, **USE}
    for version in (str(NEWEST + 1), "9" * 20, "9" * 5000, "0" * 5000 + "1", "-1", "\xb9"):
        headers = {b"If-Match": f'"{record}:name={version}"'.encode("latin-1")}
        problem(api.patch(person, json=body, headers=headers), 412)
    item = {"person": made["id"], "record": made["record"], "dataset": "account", "values": {"name": "M"}}
    for number in (NEWEST + 1, 2**63 - 1, 2**63, 10**30):
        whole = {**USE, "corrections": [{**item, "versions": {"name": number}}]}
        problem(api.post("/v1/people/correct", content=json.dumps(whole), headers={"Content-Type": "application/json"}), 400)
    told = api.post("/v1/people/correct", json={**USE, "corrections": [{**item, "versions": {"name": NEWEST}}]}).json()
    assert told["results"][0]["status"] == 412


def test_only_so_many_versions_are_tried() -> None:
    record = uuid4()
    tags = [f'"{record.hex}:name={number}"' for number in range(1, MOST_SEEN + 2)]
    assert seen([", ".join(tags[:-1] * 3)], record, {"name": ""}) == [{"name": number} for number in range(1, MOST_SEEN + 1)]
    with pytest.raises(VersionConflict):
        seen(tags, record, {"name": ""})


def test_what_has_no_version_is_not_done_under_a_condition(api: httpx.Client) -> None:  # noqa: F811
    """An erasure cannot be taken back: a condition that is not looked at must not count as one that holds."""
    person = f"/v1/people/{create(api)['id']}"
    for headers in ({"If-Match": '"other"'}, {"If-Match": api.get(person, params=READ).headers["etag"]}):
        problem(api.delete(person, params=USE, headers=headers), 412)
        problem(api.put(f"{person}/restriction", json=USE, headers=headers), 412)
        problem(api.post(f"{person}/restriction/lift", json=USE, headers=headers), 412)
    assert api.get(person, params=READ).status_code == 200
    assert api.delete(person, params=USE, headers={"If-Match": "*"}).status_code == 200


def test_head_is_get_without_its_body(live: Live, api: httpx.Client) -> None:  # noqa: F811
    """RFC 9110 §9.1: GET and HEAD must be there; §9.3.2: the same fields."""
    person = f"/v1/people/{create(api)['id']}"
    for path, params in ((person, READ), (f"{person}/export", USE), ("/v1/policy", {}), ("/log/log.vkey", {}), ("/healthz", {}), ("/schema/openapi.json", {}), ("/v1/no", {})):  # fmt: skip
        got, told = api.get(path, params=params), api.head(path, params=params)
        assert told.status_code == got.status_code, path
        assert told.content == b""
        changing = ("date", "ratelimit", "content-length", "transfer-encoding")
        assert {name for name in told.headers if name not in changing} == {name for name in got.headers if name not in changing}
        assert (
            got.status_code == 404
            or "entry" in got.text
            or told.headers.get("content-length") == got.headers.get("content-length")
        )
    assert httpx.head(f"{live.api}{person}", params=READ).status_code == 401
    # Nothing of a body may stand where the next answer of the connection begins.
    assert [api.head("/v1/policy").status_code, api.get("/v1/policy").status_code] == [200, 200]


def test_options_names_what_405_names(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{uuid4()}"
    for path, allowed in ((person, {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}), ("/v1/people", {"POST", "OPTIONS"}), ("/log/checkpoint", {"GET", "HEAD", "OPTIONS"})):  # fmt: skip
        asked, refused = api.options(path), api.request("TRACE", path)
        assert asked.status_code == 204
        assert "content-length" not in asked.headers
        assert set(asked.headers["allow"].split(", ")) == set(refused.headers["allow"].split(", ")) == allowed
        problem(refused, 405)
    assert api.options("/v1/nothing").status_code == 404


def test_no_cache_keeps_that_a_tile_was_not_there(live: Live) -> None:
    """RFC 9110 §15.5.5: a 404 may be kept otherwise."""
    for name in ("tile/0/999", "tile/63/000", "nothing"):
        assert httpx.get(f"{live.api}/log/{name}").headers["cache-control"] == "no-store"


def test_a_batch_that_is_sent_again_is_looked_up_and_not_made_again(api: httpx.Client, admin: psycopg.Connection[Any]) -> None:  # noqa: F811
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    batch = {**USE, "people": people(1000)}
    first = api.post("/v1/people/batch", json=batch, headers=key).json()

    def taken_back() -> int:
        row = admin.execute("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row
        return int(row[0])

    before = taken_back()
    assert api.post("/v1/people/batch", json=batch, headers=key).json() == first
    # All were tried once more, together: not in halves, down to each.
    assert taken_back() - before < 100
    # Some that are there, one with another body, and more that are new.
    mixed = {**USE, "people": [batch["people"][0], people(1)[0], *people(0), batch["people"][2], *people(2)]}
    mixed["people"] += [{**people(1)[0], "dataset": "nothing"}]
    answer = api.post("/v1/people/batch", json=mixed, headers=key).json()["results"]
    assert [result["status"] for result in answer] == [201, 422, 201, 422, 422, 422]
    assert [answer[0], answer[2]] == [first["results"][0], first["results"][2]]
    more = {**USE, "people": [*batch["people"][:3], *people(2)]}
    assert [result["status"] for result in api.post("/v1/people/batch", json=more, headers={"Idempotency-Key": f'"{uuid4()}"'}).json()["results"]] == [409, 409, 409, 201, 201]  # fmt: skip


def test_a_request_has_one_host(live: Live) -> None:
    """RFC 9112 §3.2: 400 for a request of HTTP/1.1 that lacks it or has it twice. HTTP/1.0 had none."""
    for hosts, version, wanted in ((1, b"1.1", 200), (0, b"1.1", 400), (2, b"1.1", 400), (0, b"1.0", 200)):
        for verb in (b"GET", b"HEAD", b"OPTIONS"):
            lines = b"Connection: close\r\n" + b"Host: localhost\r\n" * hosts
            said = status(talk(live, verb + b" /v1/policy HTTP/" + version + b"\r\n" + lines + b"\r\n"))
            if version == b"1.1":
                assert said == (204 if verb == b"OPTIONS" and wanted == 200 else wanted)
            else:
                assert said == 0, "answered as HTTP/1.0"


def test_a_dataset_of_another_door_fails_alone(api: httpx.Client) -> None:  # noqa: F811
    other = {"dataset": "applicant", "values": {"name": "N"}}
    answer = api.post("/v1/people/batch", json={**USE, "people": [people(1)[0], other, people(1)[0]]})
    assert answer.status_code == 200, answer.text
    first, refused, last = (result["status"] for result in answer.json()["results"])
    assert (first, refused, last) == (201, 403, 201)
    answer = api.post("/v1/people/batch", json={**USE, "people": [other, other]})
    assert [result["status"] for result in answer.json()["results"]] == [403, 403]


def test_what_an_export_answers_is_described(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    assert api.put(f"{person}/restriction", json=USE).status_code == 200
    problem(api.get(f"{person}/export", params=USE), 423)
    operation = api.get("/schema/openapi.json").json()["paths"]["/v1/people/{person}/export"]["get"]
    assert "423" in operation["responses"]
