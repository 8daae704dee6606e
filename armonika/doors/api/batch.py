"""Batches of up to 1,000 people, with a result or an error for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State

from armonika.doors.api import once
from armonika.doors.api.batch_creations import BatchCreation
from armonika.doors.api.bodies import decoded
from armonika.doors.api.conditions import NEWEST
from armonika.doors.api.gather import Gatherer
from armonika.doors.api.meter import count_items
from armonika.doors.api.people import Email, Name, PersonMade, PersonOut, Use, Values, tagged
from armonika.doors.api.problems import content_of
from armonika.doors.api.tokens import token_of
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Refused, VaultError
from armonika.trust.vault.types import Ask, Created, Find, NewRecord, Outcome

MOST = 1000
_LANES = 4


class NewPerson(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One person of a batch."""

    dataset: Name
    values: Values
    organisation: UUID | None = None


class CreatePeople(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 new people for one purpose."""

    people: Annotated[list[NewPerson], msgspec.Meta(min_length=1, max_length=MOST)]


class ReadPeople(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 people to read, the same fields of each."""

    dataset: Name
    fields: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=62)]
    people: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST)]


class ErasePeople(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 people to erase."""

    people: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST)]


class LookUps(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 exact e-mail addresses."""

    dataset: Name
    emails: Annotated[list[Email], msgspec.Meta(min_length=1, max_length=MOST)]
    fields: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=62)]


class Correction(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """New values of one record. `versions` are those that the caller read, by field: 412 when one has changed since; a field that is not named was absent."""

    person: UUID
    record: UUID
    dataset: Name
    values: Values
    versions: dict[Name, Annotated[int, msgspec.Meta(ge=1, le=NEWEST)]] | None = None


class CorrectPeople(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 records to correct."""

    corrections: Annotated[list[Correction], msgspec.Meta(min_length=1, max_length=MOST)]


class RestrictPeople(Use, forbid_unknown_fields=True, kw_only=True):
    """Up to 1,000 people to restrict, or whose restriction is lifted."""

    restricted: bool
    people: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=MOST)]


class Result(msgspec.Struct, omit_defaults=True):
    """What became of one item, in the order of the request: `status` is that of the single call, with its answer or its problem (RFC 9457)."""

    status: int
    made: PersonMade | None = None
    person: PersonOut | None = None
    entry: int | None = None
    problem: msgspec.Raw | None = None


class Results(msgspec.Struct):
    """Results in the order of the request."""

    results: list[Result]


_ENCODE = msgspec.json.Encoder().encode


def _failed(error: Exception) -> Result:
    if not isinstance(error, VaultError):
        raise error
    status, body, _ = content_of(error)
    return Result(status, problem=msgspec.Raw(body))


def _answer(results: list[Result]) -> Response[bytes]:
    return Response(_ENCODE(Results(results)), status_code=200, media_type="application/json")


@post("/v1/people/batch", status_code=200, summary="Create up to 1,000 people")
async def create_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """Each person is stored or refused alone; those of one dataset that can be are stored in one transaction. `Idempotency-Key` as for one person."""
    data = decoded(body, CreatePeople)
    count_items(request, len(data.people))
    vault: AsyncVault = state.vault
    secret, key = token_of(request), once.key_of(request)
    news = [
        once.chosen(
            NewRecord(item.dataset, item.values, "organisation", kind="customer_user", org=item.organisation),
            secret,
            key,
            (data.purpose, data.reason, data.reference, item),
            number,
        )
        for number, item in enumerate(data.people)
    ]
    asked = BatchCreation(vault, secret, data.purpose, data.reason, data.reference, key)
    return _answer([_made_or_not(one) for one in await asked.run(news)])


def _made_or_not(one: Created | VaultError) -> Result:
    if isinstance(one, VaultError):
        return _failed(one)
    return Result(201, made=PersonMade(one.subject, one.record, one.audit_id))


@post("/v1/people/read", status_code=200, summary="Read up to 1,000 people")
async def read_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """One entry in the log for each person, before anything is answered."""
    data = decoded(body, ReadPeople)
    count_items(request, len(data.people))
    secret = token_of(request)
    asks = [Ask(secret, person, data.dataset, data.fields, data.purpose, data.reason, data.reference) for person in data.people]
    batches: Gatherer[Ask] = state.batches
    return _answer([_shown(outcome) for outcome in await batches.read_all(asks)])


@post("/v1/people/erase", status_code=200, summary="Erase up to 1,000 people")
async def erase_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """All that may be are erased in one transaction; the others are refused alone."""
    data = decoded(body, ErasePeople)
    count_items(request, len(data.people))
    vault: AsyncVault = state.vault
    try:
        done = await vault.erase(token_of(request), data.people, data.purpose, data.reason, data.reference)
    except Refused as error:
        return _answer([_failed(error) for _ in data.people])
    entries = {subject: entry for subject, entry, _, _ in done}
    return _answer(
        [Result(200, entry=entries[person]) if person in entries else _failed(Refused("nothing here")) for person in data.people]
    )


@post("/v1/people/correct", status_code=200, summary="Correct up to 1,000 records")
async def correct_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """Each record is corrected or refused alone."""
    data = decoded(body, CorrectPeople)
    count_items(request, len(data.corrections))
    vault: AsyncVault = state.vault
    secret = token_of(request)

    async def one(item: Correction) -> int:
        expected = None if item.versions is None else {name: item.versions.get(name, 0) for name in item.values}
        return await vault.correct(
            secret, item.person, item.record, item.values, data.purpose, data.reason, data.reference, dataset=item.dataset, expected=expected,
            origin="organisation",
        )  # fmt: skip

    return _answer(await _each([(item.person, partial(one, item)) for item in data.corrections]))


@post("/v1/people/restrict", status_code=200, summary="Restrict up to 1,000 people, or lift it")
async def restrict_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """Each person is restricted (or not any longer) or refused alone."""
    data = decoded(body, RestrictPeople)
    count_items(request, len(data.people))
    vault: AsyncVault = state.vault
    secret = token_of(request)
    return _answer(
        await _each(
            [
                (person, partial(vault.restrict, secret, person, data.restricted, data.purpose, data.reason, data.reference))
                for person in data.people
            ]
        )
    )


async def _each(calls: Sequence[tuple[UUID, Callable[[], Awaitable[int]]]]) -> list[Result]:
    """The entry, or the error, of each person's call; a few are under way at a time, those of one person one after the other, in the order given."""
    results = [Result(0)] * len(calls)
    of_person: dict[UUID, list[int]] = {}
    for number, (person, _) in enumerate(calls):
        of_person.setdefault(person, []).append(number)
    waiting = iter(of_person.values())

    async def lane() -> None:
        for numbers in waiting:
            for number in numbers:
                try:
                    results[number] = Result(200, entry=await calls[number][1]())
                except VaultError as error:
                    results[number] = _failed(error)

    await asyncio.gather(*(lane() for _ in range(_LANES)))
    return results


@post("/v1/lookups/batch", status_code=200, summary="Find up to 1,000 people by exact e-mail")
async def look_up_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """The person with each address, or 404 for it. One entry in the log for each address, whether or not anybody has it."""
    data = decoded(body, LookUps)
    count_items(request, len(data.emails))
    vault: AsyncVault = state.vault
    secret = token_of(request)
    finds = [
        Find(secret, data.dataset, "email", email, data.fields, data.purpose, data.reason, data.reference)
        for email in data.emails
    ]
    return _answer([_shown(outcome) for outcome in await vault.find_many(finds)])


def _shown(outcome: Outcome) -> Result:
    if outcome.error is not None:
        return _failed(outcome.error)
    if not outcome.records:
        return _failed(Refused("nothing here"))
    return Result(200, person=tagged(outcome.records[0].subject, outcome.records))


HANDLERS = [create_people, read_people, correct_people, erase_people, restrict_people, look_up_people]
