"""Batches of up to 1,000 people, with a result or an error for each; and the export of one person as a stream of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from armonika.doors.api import once
from armonika.doors.api.bodies import decoded
from armonika.doors.api.conditions import NEWEST
from armonika.doors.api.meter import count_items
from armonika.doors.api.people import Email, Name, PersonMade, PersonOut, Use, Values, shown, tagged
from armonika.doors.api.problems import content_of
from armonika.doors.api.tokens import token_of
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Duplicate, Forbidden, Invalid, KeyUnavailable, Refused, Undeclared, VaultError
from armonika.trust.vault.types import Ask, Created, Find, NewRecord, Outcome, Record, SecretHash

MOST = 1000
_LINES = 100
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
_OWN = (Duplicate, Undeclared, Invalid)
"""What one item can spoil: a value, or a dataset that is not declared."""


def _failed(error: Exception) -> Result:
    if not isinstance(error, VaultError):
        raise error
    status, body, _ = content_of(error)
    return Result(status, problem=msgspec.Raw(body))


def _answer(results: list[Result]) -> Response[bytes]:
    return Response(_ENCODE(Results(results)), status_code=200, media_type="application/json")


@post("/v1/people/batch", status_code=200, summary="Create up to 1,000 people")
async def create_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """Each person is stored or refused alone; those that can be are stored in one transaction. `Idempotency-Key` as for one person."""
    data = decoded(body, CreatePeople)
    count_items(request, len(data.people))
    vault: AsyncVault = state.vault
    secret, key = token_of(request), once.key_of(request)
    news = [
        once.chosen(
            NewRecord(item.dataset, item.values, "organisation", kind="customer_user", org=item.organisation),
            secret,
            key,
            item,
            number,
        )
        for number, item in enumerate(data.people)
    ]
    ours = [await vault.takes_part(new.dataset) for new in news]
    done = iter(await _create_or_find(vault, secret, data, [new for new, own in zip(news, ours, strict=True) if own], key))
    return _answer([next(done) if own else await _refused(vault, secret, data, new) for new, own in zip(news, ours, strict=True)])


async def _refused(vault: AsyncVault, secret: SecretHash, use: Use, new: NewRecord) -> Result:
    """An item of another door's compartment: refused alone, with its entry, before it can spoil the others."""
    try:
        return _made(*await vault.create(secret, use.purpose, use.reason, [new], use.reference))
    except VaultError as error:
        return _failed(error)


async def _create_or_find(
    vault: AsyncVault, secret: SecretHash, use: Use, news: Sequence[NewRecord], key: bytes | None
) -> list[Result]:
    """A batch that is sent again is mostly there already: what the first one made is looked up, and only the rest is halved."""
    if not news:
        return []
    try:
        return [_made(one) for one in await vault.create(secret, use.purpose, use.reason, news, use.reference)]
    except (*_OWN, Refused) as error:
        if isinstance(error, Refused) and (key is None or isinstance(error, Forbidden)):
            raise
        if key is None or not isinstance(error, (Duplicate, Refused)):
            return await _apart(vault, secret, use, news, key, error)
        refusal = error
    results: list[Result | None] = []
    for new in news:
        try:
            results.append(_made(*await once.before(vault, secret, [new], key, refusal)))
        except (Duplicate, Refused):
            results.append(None)
        except VaultError as found:
            results.append(_failed(found))
    left = [new for new, result in zip(news, results, strict=True) if result is None]
    if len(left) == len(news) and isinstance(refusal, Refused):
        raise refusal
    rest = iter(await _create(vault, secret, use, left, key) if left else ())
    return [result or next(rest) for result in results]


async def _create(vault: AsyncVault, secret: SecretHash, use: Use, news: Sequence[NewRecord], key: bytes | None) -> list[Result]:
    """All in one transaction; when one spoils it, apart."""
    try:
        return [_made(one) for one in await vault.create(secret, use.purpose, use.reason, news, use.reference)]
    except _OWN as error:
        return await _apart(vault, secret, use, news, key, error)


async def _apart(
    vault: AsyncVault, secret: SecretHash, use: Use, news: Sequence[NewRecord], key: bytes | None, error: VaultError
) -> list[Result]:
    """What `error` spoiled, in halves, down to the one, so that every other is stored."""
    if len(news) == 1:
        try:
            made = await once.before(vault, secret, news, key, error) if isinstance(error, Duplicate) else []
        except VaultError as found:
            return [_failed(found)]
        return [_made(one) for one in made] or [_failed(error)]
    half = len(news) // 2
    first = await _create(vault, secret, use, news[:half], key)
    return first + await _create(vault, secret, use, news[half:], key)


def _made(one: Created) -> Result:
    return Result(201, made=PersonMade(one.subject, one.record, one.audit_id))


@post("/v1/people/read", status_code=200, summary="Read up to 1,000 people")
async def read_people(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """One entry in the log for each person, before anything is answered."""
    data = decoded(body, ReadPeople)
    count_items(request, len(data.people))
    vault: AsyncVault = state.vault
    secret = token_of(request)
    asks = [Ask(secret, person, data.dataset, data.fields, data.purpose, data.reason, data.reference) for person in data.people]
    return _answer([_shown(outcome) for outcome in await vault.read_many(asks)])


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


@get("/v1/people/{person:uuid}/export", summary="Export a person as lines")
async def export_person(request: Request[Any, Any, State], person: UUID, state: State, purpose: Annotated[str, Parameter(max_length=64)],
                        reason: Annotated[str, Parameter(max_length=64)]) -> Stream:  # fmt: skip
    """Every record that this token may read, one JSON object a line (application/x-ndjson), each with its entry in the log."""
    vault: AsyncVault = state.vault
    secret = token_of(request)
    # All datasets in one ask: a person's export is one commit and one answer, however many there are.
    asks = [
        Ask(secret, person, dataset.name, list(dataset.ordinals), purpose, reason)
        for dataset in (await vault.catalogue()).by_id.values()
    ]
    found: list[Record] = []
    for outcome in await vault.read_many(asks):
        if outcome.error is None:
            found += outcome.records
        elif not isinstance(outcome.error, (Refused, KeyUnavailable)):
            raise outcome.error
    if not found:
        raise Refused("nothing here")

    async def lines() -> AsyncIterator[bytes]:
        for at in range(0, len(found), _LINES):
            yield b"".join(_ENCODE(one) + b"\n" for one in shown(person, found[at : at + _LINES]).records)
            await asyncio.sleep(0)

    return Stream(lines(), media_type="application/x-ndjson")


HANDLERS = [create_people, read_people, correct_people, erase_people, restrict_people, look_up_people, export_person]
