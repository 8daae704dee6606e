"""Every operation of the description × every bound of a token: what lies outside is denied in one way, whoever is asked for, and nothing comes of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.store.embedded import Embedded
from armonika.trust.keys.provision import issue_token
from tests.api.test_denials import state_of, told
from tests.live import Live


class Who(NamedTuple):
    """Somebody that a request is about: there, restricted, erased, or unknown."""

    person: str
    record: str
    email: str


Body = dict[str, Any]
Call = Callable[[httpx.Client, Body, str, Who], httpx.Response]
"""(client, use, dataset, whom)"""


@dataclass(frozen=True)
class Row:
    """One operation of the description: what a token must be for, and a request that is good but for its token."""

    operation: str
    call: Call
    whole: bool = False
    """It is about a person in every dataset that the token may read."""


def post(path: str, body: Callable[[str, Who], Body]) -> Call:
    return lambda client, use, dataset, who: client.post(path, json={**use, **body(dataset, who)})


def values(email: str) -> Body:
    return {"name": "N", "email": email, "company": "C", "role": "R"}


def change(dataset: str, who: Who) -> Body:
    return {"dataset": dataset, "record": who.record, "values": {"name": "M"}}


def asked(dataset: str) -> Body:
    return {"dataset": dataset, "fields": ["name"]}


ROWS: dict[str, Row] = {
    "create_person": Row("create", post("/v1/people", lambda d, w: {"dataset": d, "values": values(w.email)})),
    "read_person": Row("read", lambda c, use, d, w: c.get(f"/v1/people/{w.person}", params={**use, "dataset": d, "fields": "name"})),
    "correct_person": Row("correct", lambda c, use, d, w: c.patch(f"/v1/people/{w.person}", json={**use, **change(d, w)})),
    "erase_person": Row("erase", lambda c, use, d, w: c.delete(f"/v1/people/{w.person}", params=use)),
    "restrict_person": Row("restrict", lambda c, use, d, w: c.put(f"/v1/people/{w.person}/restriction", json=use)),
    "lift_restriction": Row("restrict", lambda c, use, d, w: c.post(f"/v1/people/{w.person}/restriction/lift", json=use)),
    "look_up": Row("find", post("/v1/lookups", lambda d, w: {**asked(d), "email": w.email})),
    "create_people": Row("create", post("/v1/people/batch", lambda d, w: {"people": [{"dataset": d, "values": values(w.email)}] * 2})),
    "read_people": Row("read", post("/v1/people/read", lambda d, w: {**asked(d), "people": [w.person]})),
    "erase_people": Row("erase", post("/v1/people/erase", lambda d, w: {"people": [w.person]})),
    "correct_people": Row("correct", post("/v1/people/correct", lambda d, w: {"corrections": [{**change(d, w), "person": w.person}]})),
    "restrict_people": Row("restrict", post("/v1/people/restrict", lambda d, w: {"restricted": True, "people": [w.person]})),
    "look_up_people": Row("find", post("/v1/lookups/batch", lambda d, w: {**asked(d), "emails": [w.email]})),
    "export_person": Row("read", lambda c, use, d, w: c.get(f"/v1/people/{w.person}/export", params=use), whole=True),
}  # fmt: skip
OPEN = {"policy", "log_file"}
"""Operations that need no token: what they show is everybody's."""

Bounds = tuple[object, object, object]
BOUNDS: list[Bounds] = list(itertools.product((None, True, False), (None, True, False), (None, True, False, "none")))
"""Bounds of a token in compartment, purpose and operation: none, one that holds what is asked, one that does not; and no operation at all."""
ONE_WRONG = [bounds for bounds in BOUNDS if bounds.count(None) == 2 or (None not in bounds and bounds.count(True) >= 2)]
OTHERS = {"create": "read", "read": "create", "correct": "create", "erase": "read", "restrict": "erase", "find": "read"}
"""What comes nearest to the operation that is asked."""


class Cell(NamedTuple):
    """What a role may be given a token for; the policy in force names no more for machines."""

    role: str
    dataset: str
    compartment: str
    purpose: str
    reason: str
    operations: frozenset[str]

    @property
    def use(self) -> Body:
        return {"purpose": self.purpose, "reason": self.reason}


_ALL = frozenset(("find", "read", "create", "correct", "erase"))
CELLS = (
    Cell("integration", "account", "account", "provide", "integration", _ALL | {"restrict"}),
    Cell("verifier", "account", "account", "legal", "verification", _ALL),
    Cell("verifier", "demo", "prospects", "legal", "verification", _ALL),
)
WRONG = {"account": ["prospects", "billing"], "prospects": ["account", "support"], "provide": ["legal"], "legal": ["provide", "secure"]}  # fmt: skip


def bounded(cell: Cell, row: Row, bounds: Bounds) -> dict[str, Any]:
    """The bounds by their names."""
    right = (cell.compartment, cell.purpose, row.operation)
    # To find somebody is to read what is found.
    held = [row.operation, "read"] if row.operation == "find" else [row.operation]
    wrong = (["billing", "support"] if row.whole else WRONG[right[0]], WRONG[right[1]], [OTHERS[row.operation]])
    names: list[Any] = [
        None
        if bound is None
        else []
        if bound == "none"
        else wrong[number]
        if bound is False
        else held
        if number == 2
        else [right[number]]
        for number, bound in enumerate(bounds)
    ]
    return dict(zip(("compartments", "purposes", "operations"), names, strict=True))


@pytest.fixture(scope="module")
def dsn(live: Live) -> str:
    return Embedded(live.home / "postgres", live.home / "keys").admin_dsn


@pytest.fixture(scope="module")
def admin(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


Caller = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def caller(live: Live, dsn: str) -> Iterator[Caller]:
    """Clients with tokens of given bounds; the same bounds, the same client."""
    made: dict[str, httpx.Client] = {}

    def client(role: str = "integration", **bounds: Any) -> httpx.Client:
        key = json.dumps([role, bounds])
        if key not in made:
            token = issue_token(dsn, role, **bounds)
            made[key] = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20)
        return made[key]

    yield client
    for each in made.values():
        each.close()


def create(client: httpx.Client, cell: Cell) -> Who:
    email = f"{uuid4().hex}@org.example"
    answer = client.post("/v1/people", json={**cell.use, "dataset": cell.dataset, "values": values(email)})
    assert answer.status_code == 201, answer.text
    return Who(answer.json()["id"], answer.json()["record"], email)


People = Callable[[Cell], dict[str, Who]]


@pytest.fixture(scope="module")
def people(caller: Caller, admin: psycopg.Connection[Any]) -> People:
    """Those whom a cell's requests are about. They are made once: nothing that is denied changes them."""
    made: dict[Cell, dict[str, Who]] = {}

    def of(cell: Cell) -> dict[str, Who]:
        if cell not in made:
            own = caller(cell.role)
            kinds = {kind: create(own, cell) for kind in ("there", "restricted", "erased")}
            assert own.delete(f"/v1/people/{kinds['erased'].person}", params=cell.use).status_code == 200
            # Whoever may do so of this cell: not every role may restrict.
            admin.execute("UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", (kinds["restricted"].person,))
            made[cell] = kinds | {"unknown": Who(str(uuid4()), str(uuid4()), f"{uuid4().hex}@org.example")}
        return made[cell]

    return of


def test_every_operation_of_the_description_has_a_row(live: Live) -> None:
    described = httpx.get(f"{live.api}/schema/openapi.json").json()
    named = {
        operation["operationId"]: operation.get("security") for item in described["paths"].values() for operation in item.values()
    }
    assert {name for name, security in named.items() if security == []} == OPEN
    assert set(named) - OPEN == set(ROWS), "a new operation needs a row here"


def granted(answer: httpx.Response) -> bool:
    """Whether all of what was asked was done."""
    if answer.status_code >= 300:
        return False
    found = answer.json() if answer.headers["content-type"] == "application/json" else {}
    return all(result["status"] < 300 or result["status"] == 409 for result in found.get("results", ()))


def denied(cell: Cell, row: Row, bounds: Bounds) -> bool:
    return False in bounds or "none" in bounds or row.operation not in cell.operations


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.role}-{cell.dataset}")
def test_a_token_does_what_is_inside_its_bounds_and_nothing_else(
    admin: psycopg.Connection[Any], caller: Caller, people: People, cell: Cell, name: str
) -> None:
    row, kinds = ROWS[name], people(cell)
    of = {who.person: who for who in kinds.values()}
    every = BOUNDS if cell.role == "integration" else ONE_WRONG
    before = state_of(admin)
    for bounds in every:
        if not denied(cell, row, bounds):
            continue
        client = caller(cell.role, **bounded(cell, row, bounds))
        first, *others = (
            told(admin, client, lambda c, person, _: row.call(c, cell.use, cell.dataset, of[person]), who.person, who.record)
            for who in kinds.values()
        )
        assert all(other == first for other in others), (bounds, first, others)
        assert first[0] in (403, 404) or (first[0] == 200 and b'"status":40' in first[2]), (bounds, first)
        assert b'"status":2' not in first[2], (bounds, first)
        assert first[3], "a denial has its entry"
        assert not any(entry[1] for entry in first[3])
    assert state_of(admin) == before, "a denial changed something"
    for bounds in every:
        if denied(cell, row, bounds):
            continue
        fresh = create(caller(cell.role), cell)
        if row.operation == "create":
            fresh = fresh._replace(email=f"{uuid4().hex}@org.example")
        answer = row.call(caller(cell.role, **bounded(cell, row, bounds)), cell.use, cell.dataset, fresh)
        assert granted(answer), (bounds, answer.text)


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
