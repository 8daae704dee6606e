"""Every call of the API as plain data, with the meaning of its answer. No input or output happens here: both clients share this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from armonika.client.answers import Asked, checkpoint_of, decode, found_in, person_of
from armonika.client.calls import Call, asked_for, batch_of, item_of, keyed, place_of, posting, query_of, sending, within_bounds
from armonika.client.items import done_of, made_once, person_in
from armonika.client.types import Checkpoint, Correction, Done, Erased, Made, NewPerson, Outcome, Person, Policy, Use

T = TypeVar("T")


def create(new: NewPerson, use: Use, key: str | None) -> Call[Made]:
    """POST /v1/people."""
    call = posting("/v1/people", {**asked_for(use), **item_of(new)}, lambda answer: decode(answer, Made))
    return replace(keyed(call, key), status=201)


def read(person: UUID, dataset: str, fields: Iterable[str], use: Use) -> Call[Person]:
    """GET /v1/people/{person}."""
    named = list(fields)
    params = {"dataset": dataset, "fields": ",".join(named), **asked_for(use)}
    asked = Asked(dataset, frozenset(named), (UUID(str(person)),))
    return Call("GET", place_of(person) + query_of(params), lambda answer: person_of(answer, asked), repeatable=True)


def correct(person: Person, values: Mapping[str, str], use: Use, record: UUID | None, overwrite: bool) -> Call[Done]:
    """PATCH /v1/people/{person} with If-Match (RFC 9110 §13.1.1). Raises ValueError when the person names no one record or no version."""
    held = [one for one in person.records if record is None or one.record == record]
    if len(held) != 1:
        raise ValueError("name the one record of this person that is corrected")
    if person.etag is None and not overwrite:
        raise ValueError("no version of this person is known: read it first, or pass overwrite=True")
    body = {**asked_for(use), "dataset": held[0].dataset, "record": held[0].record, "values": dict(values)}
    call = sending("PATCH", place_of(person.id), body, lambda answer: decode(answer, Done))
    return call if overwrite or person.etag is None else replace(call, headers={**call.headers, "If-Match": person.etag})


def erase(person: UUID, use: Use) -> Call[Erased]:
    """DELETE /v1/people/{person}. Raises ValueError for a use with a reference, which this operation of the API does not take."""
    if use.reference is not None:
        raise ValueError("an erasure of one person takes no reference; erase_people does")
    return Call("DELETE", place_of(person) + query_of(asked_for(use)), lambda answer: decode(answer, Erased))


def restriction(person: UUID, use: Use, on: bool) -> Call[Done]:
    """PUT /v1/people/{person}/restriction, or POST …/lift."""
    path = f"{place_of(person)}/restriction" + ("" if on else "/lift")
    return sending("PUT" if on else "POST", path, asked_for(use), lambda answer: decode(answer, Done))


def look_up(email: str, dataset: str, fields: Iterable[str], use: Use) -> Call[Person | None]:
    """POST /v1/lookups: a read, with the address in the body."""
    named = list(fields)
    body = {**asked_for(use), "dataset": dataset, "email": email, "fields": named}
    asked = Asked(dataset, frozenset(named))
    return replace(posting("/v1/lookups", body, lambda answer: found_in(answer, asked)), repeatable=True)


def policy() -> Call[Policy]:
    """GET /v1/policy."""
    return Call("GET", "/v1/policy", lambda answer: decode(answer, Policy), repeatable=True)


def create_people(people: Sequence[NewPerson], use: Use, key: str | None) -> Call[list[Outcome[Made]]]:
    """POST /v1/people/batch."""
    body = {**asked_for(use), "people": [item_of(new) for new in within_bounds(people)]}
    return keyed(batch_of("/v1/people/batch", body, len(people), made_once), key)


def read_people(people: Sequence[UUID], dataset: str, fields: Iterable[str], use: Use) -> Call[list[Outcome[Person]]]:
    """POST /v1/people/read."""
    named, whom = list(fields), list(within_bounds(people))
    body = {**asked_for(use), "dataset": dataset, "fields": named, "people": whom}
    asked = Asked(dataset, frozenset(named), tuple(UUID(str(person)) for person in whom))
    return replace(batch_of("/v1/people/read", body, len(whom), lambda: person_in(asked)), repeatable=True)


def erase_people(people: Sequence[UUID], use: Use) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/erase."""
    body = {**asked_for(use), "people": list(within_bounds(people))}
    return batch_of("/v1/people/erase", body, len(people), lambda: done_of)


def correct_people(corrections: Sequence[Correction], use: Use) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/correct."""
    items = [
        {
            "person": item.person, "record": item.record.record, "dataset": item.record.dataset, "values": dict(item.values),
            **({} if item.overwrite else {"versions": {name: item.record.versions[name] for name in item.values if name in item.record.versions}}),
        }
        for item in within_bounds(corrections)
    ]  # fmt: skip
    return batch_of("/v1/people/correct", {**asked_for(use), "corrections": items}, len(items), lambda: done_of)


def restrict_people(people: Sequence[UUID], use: Use, on: bool) -> Call[list[Outcome[Done]]]:
    """POST /v1/people/restrict."""
    body = {**asked_for(use), "restricted": on, "people": list(within_bounds(people))}
    return batch_of("/v1/people/restrict", body, len(people), lambda: done_of)


def look_up_people(emails: Sequence[str], dataset: str, fields: Iterable[str], use: Use) -> Call[list[Outcome[Person]]]:
    """POST /v1/lookups/batch: a read, with the addresses in the body."""
    named = list(fields)
    body = {**asked_for(use), "dataset": dataset, "fields": named, "emails": list(within_bounds(emails))}
    asked = Asked(dataset, frozenset(named))
    return replace(batch_of("/v1/lookups/batch", body, len(emails), lambda: person_in(asked)), repeatable=True)


def export(person: UUID, use: Use) -> Call[None]:
    """GET /v1/people/{person}/export. The body is a stream of lines (`Export`), read by the client."""
    if use.reference is not None:
        raise ValueError("an export takes no reference")
    return Call(
        "GET",
        f"{place_of(person)}/export{query_of(asked_for(use))}",
        lambda answer: None,
        repeatable=True,
        media="application/x-ndjson",
    )


def checkpoint() -> Call[Checkpoint]:
    """GET /log/checkpoint."""
    return Call("GET", "/log/checkpoint", checkpoint_of, repeatable=True, media="text/plain")
