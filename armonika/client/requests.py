"""Every call of the API as plain data, with the meaning of its answer. No input or output happens here: both clients share this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec

from armonika.client.answers import (
    Answer,
    Asked,
    checkpoint_of,
    decode,
    done_of,
    found_in,
    made_once,
    outcomes,
    person_in,
    person_of,
)
from armonika.client.types import Checkpoint, Correction, Done, Erased, Made, NewPerson, Outcome, Person, Policy, Use

MOST = 1000
"""People in one batch."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and what its answer means. `repeatable`: sent twice it does no more than sent once. `status` and `media` are those of the one answer
    that is a success: any other, a part of one (206) too, is not what was asked for."""

    method: str
    path: str
    parse: Callable[[Answer], T]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False
    status: int = 200
    media: str = "application/json"


def create(new: NewPerson, use: Use, key: str | None) -> Call[Made]:
    """POST /v1/people."""
    call = _post("/v1/people", {**_of(use), **_item(new)}, lambda answer: decode(answer, Made))
    return replace(_keyed(call, key), status=201)


def read(person: UUID, dataset: str, fields: Iterable[str], use: Use) -> Call[Person]:
    """GET /v1/people/{person}."""
    named = list(fields)
    params = {"dataset": dataset, "fields": ",".join(named), **_of(use)}
    asked = Asked(dataset, frozenset(named), (UUID(str(person)),))
    return Call("GET", _person(person) + _query(params), lambda answer: person_of(answer, asked), repeatable=True)


def correct(person: Person, values: Mapping[str, str], use: Use, record: UUID | None, overwrite: bool) -> Call[Done]:
    """PATCH /v1/people/{person} with If-Match (RFC 9110 §13.1.1). Raises ValueError when the person names no one record or no version."""
    held = [one for one in person.records if record is None or one.record == record]
    if len(held) != 1:
        raise ValueError("name the one record of this person that is corrected")
    if person.etag is None and not overwrite:
        raise ValueError("no version of this person is known: read it first, or pass overwrite=True")
    body = {**_of(use), "dataset": held[0].dataset, "record": held[0].record, "values": dict(values)}
    call = _send("PATCH", _person(person.id), body, lambda answer: decode(answer, Done))
    return call if overwrite or person.etag is None else replace(call, headers={**call.headers, "If-Match": person.etag})


def erase(person: UUID, use: Use) -> Call[Erased]:
    """DELETE /v1/people/{person}. Raises ValueError for a use with a reference, which this operation of the API does not take."""
    if use.reference is not None:
        raise ValueError("an erasure of one person takes no reference; erase_people does")
    return Call("DELETE", _person(person) + _query(_of(use)), lambda answer: decode(answer, Erased))


def restriction(person: UUID, use: Use, on: bool) -> Call[Done]:
    """PUT /v1/people/{person}/restriction, or POST …/lift."""
    path = f"{_person(person)}/restriction" + ("" if on else "/lift")
    return _send("PUT" if on else "POST", path, _of(use), lambda answer: decode(answer, Done))


def look_up(email: str, dataset: str, fields: Iterable[str], use: Use) -> Call[Person | None]:
    """POST /v1/lookups: a read, with the address in the body."""
    named = list(fields)
    body = {**_of(use), "dataset": dataset, "email": email, "fields": named}
    asked = Asked(dataset, frozenset(named))
    return replace(_post("/v1/lookups", body, lambda answer: found_in(answer, asked)), repeatable=True)


def policy() -> Call[Policy]:
    """GET /v1/policy."""
    return Call("GET", "/v1/policy", lambda answer: decode(answer, Policy), repeatable=True)


def create_people(people: Sequence[NewPerson], use: Use, key: str | None) -> Call[list[Outcome[Made]]]:
    """POST /v1/people/batch."""
    body = {**_of(use), "people": [_item(new) for new in _within(people)]}
    return _keyed(_batch("/v1/people/batch", body, len(people), made_once), key)


def read_people(people: Sequence[UUID], dataset: str, fields: Iterable[str], use: Use) -> Call[list[Outcome[Person]]]:
    """POST /v1/people/read."""
    named, whom = list(fields), list(_within(people))
    body = {**_of(use), "dataset": dataset, "fields": named, "people": whom}
    asked = Asked(dataset, frozenset(named), tuple(UUID(str(person)) for person in whom))
    return replace(_batch("/v1/people/read", body, len(whom), lambda: person_in(asked)), repeatable=True)


def erase_people(people: Sequence[UUID], use: Use) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/erase."""
    body = {**_of(use), "people": list(_within(people))}
    return _batch("/v1/people/erase", body, len(people), lambda: done_of)


def correct_people(corrections: Sequence[Correction], use: Use) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/correct."""
    items = [
        {
            "person": item.person, "record": item.record.record, "dataset": item.record.dataset, "values": dict(item.values),
            **({} if item.overwrite else {"versions": {name: item.record.versions[name] for name in item.values if name in item.record.versions}}),
        }
        for item in _within(corrections)
    ]  # fmt: skip
    return _batch("/v1/people/correct", {**_of(use), "corrections": items}, len(items), lambda: done_of)


def restrict_people(people: Sequence[UUID], use: Use, on: bool) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/restrict."""
    body = {**_of(use), "restricted": on, "people": list(_within(people))}
    return _batch("/v1/people/restrict", body, len(people), lambda: done_of)


def look_up_people(emails: Sequence[str], dataset: str, fields: Iterable[str], use: Use) -> Call[list[Outcome[Person]]]:
    """POST /v1/lookups/batch: a read, with the addresses in the body."""
    named = list(fields)
    body = {**_of(use), "dataset": dataset, "fields": named, "emails": list(_within(emails))}
    asked = Asked(dataset, frozenset(named))
    return replace(_batch("/v1/lookups/batch", body, len(emails), lambda: person_in(asked)), repeatable=True)


def export(person: UUID, use: Use) -> Call[None]:
    """GET /v1/people/{person}/export. The body is a stream of lines (`Export`), read by the client."""
    if use.reference is not None:
        raise ValueError("an export takes no reference")
    return Call(
        "GET", f"{_person(person)}/export{_query(_of(use))}", lambda answer: None, repeatable=True, media="application/x-ndjson"
    )


def checkpoint() -> Call[Checkpoint]:
    """GET /log/checkpoint."""
    return Call("GET", "/log/checkpoint", checkpoint_of, repeatable=True, media="text/plain")


def _person(person: UUID) -> str:
    """A path; whatever is no UUID raises ValueError, so that nothing else ever becomes a part of an address."""
    return f"/v1/people/{UUID(str(person))}"


def _of(use: Use) -> dict[str, str]:
    asked = {"purpose": use.purpose, "reason": use.reason}
    return asked if use.reference is None else {**asked, "reference": use.reference}


def _item(new: NewPerson) -> dict[str, Any]:
    item = {"dataset": new.dataset, "values": dict(new.values)}
    return item if new.organisation is None else {**item, "organisation": new.organisation}


def _within(people: Sequence[T]) -> Sequence[T]:
    if not 1 <= len(people) <= MOST:
        raise ValueError(f"a batch has 1 to {MOST} people, this one {len(people)}")
    return people


def _query(params: Mapping[str, str]) -> str:
    """Commas stay as they are: the API has a short way for reads in this plain form."""
    return "?" + urlencode(params, safe=",")


def _send(method: str, path: str, body: Mapping[str, Any], parse: Callable[[Answer], T]) -> Call[T]:
    try:
        content = msgspec.json.encode(body)
    except UnicodeEncodeError:  # (it holds the value)
        raise ValueError("a value is no text: it holds half of a surrogate pair") from None
    return Call(method, path, parse, headers={"Content-Type": "application/json"}, body=content)


def _post(path: str, body: Mapping[str, Any], parse: Callable[[Answer], T]) -> Call[T]:
    return _send("POST", path, body, parse)


def _batch(
    path: str, body: Mapping[str, Any], count: int, value_of: Callable[[], Callable[[Any, int], T | None]]
) -> Call[list[Outcome[T]]]:
    """A batch; what takes the results of an answer is made for each answer anew."""
    call: Call[list[Outcome[T]]] = _post(path, body, lambda answer: [])
    return replace(call, parse=lambda answer: outcomes(answer, count, value_of()))


def _keyed(call: Call[T], key: str | None) -> Call[T]:
    """With an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header), a random one by default: the server does it once however often it comes.
    Raises ValueError for a key that no header can hold."""
    if key is not None and not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise ValueError("an Idempotency-Key has 1 to 255 printable ASCII characters")
    return replace(call, headers={**call.headers, "Idempotency-Key": f'"{uuid4()}"' if key is None else key}, repeatable=True)
