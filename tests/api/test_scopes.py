"""Every operation of the description × every bound of a token: what lies outside is denied in one way, whoever is asked for, and nothing comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.api.scopes import BOUNDS, CELLS, ONE_WRONG, OPEN, ROWS, Bounds, Caller, Cell, Row, Who, bounded, create
from tests.api.test_denials import state_of, told
from tests.live import Live

People = Callable[[Cell], dict[str, Who]]


@pytest.fixture(scope="module")
def people(caller: Caller, admin: psycopg.Connection[Any]) -> People:
    """Those whom a cell's requests are about. They are made once: nothing that is denied changes them."""
    made: dict[Cell, dict[str, Who]] = {}

    def of(cell: Cell) -> dict[str, Who]:
        if cell not in made:
            own = caller(cell.role)
            kinds = dict(zip(("there", "restricted", "erased"), create(own, cell, 3), strict=True))
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
        # Each kind for one bound that is wrong, in one cell; elsewhere who is there and who never was.
        each = cell is CELLS[0] and bounds in ONE_WRONG
        about = kinds.values() if each else (kinds["there"], kinds["unknown"])
        first, *others = (
            told(admin, client, lambda c, person, _: row.call(c, cell.use, cell.dataset, of[person]), who.person, who.record)
            for who in about
        )
        assert all(other == first for other in others), (bounds, first, others)
        assert first[0] in (403, 404) or (first[0] == 200 and b'"status":40' in first[2]), (bounds, first)
        assert b'"status":2' not in first[2], (bounds, first)
        assert first[3], "a denial has its entry"
        assert not any(entry[1] for entry in first[3])
    assert state_of(admin) == before, "a denial changed something"
    allowed = [bounds for bounds in every if not denied(cell, row, bounds)]
    for bounds, fresh in zip(allowed, create(caller(cell.role), cell, len(allowed)) if allowed else (), strict=True):
        if row.operation == "create":
            fresh = fresh._replace(email=f"{uuid4().hex}@org.example")
        answer = row.call(caller(cell.role, **bounded(cell, row, bounds)), cell.use, cell.dataset, fresh)
        assert granted(answer), (bounds, answer.text)


@pytest.mark.parametrize("name", ROWS)
def test_a_condition_or_a_key_tells_nothing_to_who_may_not(
    live: Live, admin: psycopg.Connection[Any], caller: Caller, people: People, name: str
) -> None:
    cell, row = CELLS[0], ROWS[name]
    kinds = people(cell)
    of = {who.person: who for who in kinds.values()}
    token = caller(cell.role, **bounded(cell, row, (None, None, False))).headers["authorization"]
    before = state_of(admin)
    for header, value in (
        ("If-Match", "*"),
        ("If-Match", '"x"'),
        ("If-None-Match", "*"),
        ("If-None-Match", '"x"'),
        ("Idempotency-Key", '"one"'),
    ):
        with httpx.Client(base_url=live.api, headers={"Authorization": token, header: value}, timeout=20, verify=False) as client:
            first, *others = (
                told(admin, client, lambda c, person, _: row.call(c, cell.use, cell.dataset, of[person]), who.person, who.record)
                for who in kinds.values()
            )
        assert all(other == first for other in others), (header, value)
        assert first[0] in (403, 404, 412) or b'"status":40' in first[2]
        assert not any(entry[1] for entry in first[3])
    assert state_of(admin) == before
