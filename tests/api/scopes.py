"""Every operation of the description with a request that is good but for its token, and every bound that a token may have."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import httpx


class Who(NamedTuple):
    """Somebody that a request is about: there, restricted, erased, or unknown."""

    person: str
    record: str
    email: str


Body = dict[str, Any]
Caller = Callable[..., httpx.Client]
"""Makes clients with tokens of given bounds."""
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


def create(client: httpx.Client, cell: Cell, count: int) -> list[Who]:
    """So many new people, in one request."""
    emails = [f"{uuid4().hex}@org.example" for _ in range(count)]
    people = [{"dataset": cell.dataset, "values": values(email)} for email in emails]
    answer = client.post("/v1/people/batch", json={**cell.use, "people": people})
    made = [result["made"] for result in answer.json()["results"]]
    return [Who(one["id"], one["record"], email) for one, email in zip(made, emails, strict=True)]
