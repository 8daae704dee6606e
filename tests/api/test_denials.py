"""A denial tells nothing: for people who are there, restricted, erased or never were, the same status, headers, body and entry, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.store.embedded import Embedded
from armonika.trust.keys.provision import issue_token
from tests.api.test_api import READ, USE, api, create  # noqa: F401 (a fixture)
from tests.live import Live

Call = Callable[[httpx.Client, str, str], httpx.Response]
CHANGES = {"dataset": "account", "values": {"name": "M"}}
CALLS: dict[str, Call] = {
    "read": lambda c, person, _: c.get(f"/v1/people/{person}", params=READ),
    "read with a reference": lambda c, person, _: c.get(f"/v1/people/{person}", params={**READ, "reference": "A-1"}),
    "read of many": lambda c, person, _: c.post("/v1/people/read", json={**USE, "dataset": "account", "fields": ["name"], "people": [person]}),
    "export": lambda c, person, _: c.get(f"/v1/people/{person}/export", params=USE),
    "correct": lambda c, person, record: c.patch(f"/v1/people/{person}", json={**USE, **CHANGES, "record": record}),
    "correct of many": lambda c, person, record: c.post("/v1/people/correct", json={**USE, "corrections": [{**CHANGES, "person": person, "record": record}]}),
    "erase": lambda c, person, _: c.delete(f"/v1/people/{person}", params=USE),
    "erase of many": lambda c, person, _: c.post("/v1/people/erase", json={**USE, "people": [person]}),
    "restrict": lambda c, person, _: c.put(f"/v1/people/{person}/restriction", json=USE),
    "lift": lambda c, person, _: c.post(f"/v1/people/{person}/restriction/lift", json=USE),
    "restrict of many": lambda c, person, _: c.post("/v1/people/restrict", json={**USE, "restricted": True, "people": [person]}),
}  # fmt: skip
READS = ["read", "read with a reference", "read of many", "export"]
STATE = "SELECT array[{}]".format(
    ", ".join(
        f"(SELECT count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM vault.{table} t)"
        for table in ("subject", "record", "data_key", "lookup", "tombstone", "credential", "organisation")
    )
)


@pytest.fixture(scope="module")
def people(live: Live) -> dict[str, tuple[str, str]]:
    """(person, record) of each kind."""
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}, timeout=20)
    made = {kind: create(client) for kind in ("there", "restricted", "erased")}
    assert client.put(f"/v1/people/{made['restricted']['id']}/restriction", json=USE).status_code == 200
    assert client.delete(f"/v1/people/{made['erased']['id']}", params=USE).status_code == 200
    return {kind: (one["id"], one["record"]) for kind, one in made.items()} | {"unknown": (str(uuid4()), str(uuid4()))}


def state_of(admin: psycopg.Connection[Any]) -> Any:
    """What every table holds."""
    row = admin.execute(STATE.encode()).fetchone()
    assert row
    return row[0]


def told(admin: psycopg.Connection[Any], client: httpx.Client, call: Call, person: str, record: str) -> tuple[Any, ...]:
    """What a caller sees, and what the log keeps of it."""
    before = admin.execute("SELECT max(audit_id) FROM vault.audit").fetchone()
    assert before
    answer = call(client, person, record)
    entries = admin.execute(
        "SELECT operation, granted, door, role, subject = %s, record = %s, dataset, fields, purpose, reason, reference "
        "FROM vault.audit WHERE audit_id > %s AND actor = (SELECT actor FROM vault.session WHERE secret_hash = sha256(%s)) ORDER BY audit_id",
        (person, record, before[0], client.headers["authorization"][7:].encode()),
    ).fetchall()
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "ratelimit")}
    assert person not in answer.text
    return answer.status_code, headers, answer.content, entries


def seen(admin: psycopg.Connection[Any], client: httpx.Client, call: Call, person: str, record: str) -> tuple[Any, ...]:
    """The same of what must change nothing."""
    before = state_of(admin)
    found = told(admin, client, call, person, record)
    assert state_of(admin) == before, "a denial changed something"
    return found


@pytest.mark.parametrize("name", CALLS)
def test_erased_and_unknown_people_are_one_case(
    live: Live, admin: psycopg.Connection[Any], people: dict[str, Any], name: str
) -> None:
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}, timeout=20)
    erased, unknown = (seen(admin, client, CALLS[name], *people[kind]) for kind in ("erased", "unknown"))
    assert erased == unknown
    assert erased[0] == 404 or b'"status":404' in erased[2]
    assert erased[3], "a denial has its entry"
    assert not any(granted for _, granted, *_ in erased[3])


@pytest.mark.parametrize("name", CALLS)
def test_who_may_not_learns_of_nobody(live: Live, admin: psycopg.Connection[Any], people: dict[str, Any], name: str) -> None:
    bounds = ["create"] if name in READS else ["read"]
    token = issue_token(Embedded(live.home / "postgres", live.home / "keys").admin_dsn, operations=bounds)
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    first, *others = (seen(admin, client, CALLS[name], *one) for one in people.values())
    assert all(other == first for other in others)
    assert first[0] in (403, 404) or b'"status":40' in first[2]
    assert first[3], "a denial has its entry"
    assert not any(granted for _, granted, *_ in first[3])


def test_the_comparison_sees_a_difference(live: Live, admin: psycopg.Connection[Any], people: dict[str, Any]) -> None:
    """The control: who may read sees four kinds of people in three ways, and what is done shows in the state."""
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}, timeout=20)
    assert len({seen(admin, client, CALLS["read"], *people[kind])[0] for kind in ("restricted", "unknown")}) == 2
    with pytest.raises(AssertionError, match="changed something"):
        seen(admin, client, CALLS["restrict"], *people["there"])
    client.post(f"/v1/people/{people['there'][0]}/restriction/lift", json=USE)
