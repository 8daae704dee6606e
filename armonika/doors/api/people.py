"""People: create, read, correct, erase, restrict, look up. Every answer is of one token's actor, for a purpose and a reason."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.params import Parameter

from armonika.doors.api import once
from armonika.doors.api.bodies import decoded
from armonika.doors.api.conditions import known, seen, unconditional
from armonika.doors.api.creations import Creations
from armonika.doors.api.gather import Gatherer
from armonika.doors.api.tokens import Tokens, token_of
from armonika.trust.crypto import sha256
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Duplicate, Refused, VersionConflict
from armonika.trust.vault.types import Ask, Created, Find, NewRecord, Record

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[a-z_][a-z0-9_-]*$")]
Value = Annotated[str, msgspec.Meta(min_length=1, max_length=65536)]
Values = Annotated[dict[str, Value], msgspec.Meta(min_length=1, max_length=62)]
Reference = Annotated[str, msgspec.Meta(pattern="^[A-Z]{1,8}-?[0-9]{1,12}$")]


class Use(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """For what: a declared purpose and reason, and an optional reference of the case."""

    purpose: Name
    reason: Name
    reference: Reference | None = None


class CreatePerson(Use, forbid_unknown_fields=True, kw_only=True):
    """A new person with one record."""

    dataset: Name
    values: Values
    organisation: UUID | None = None


class CorrectPerson(Use, forbid_unknown_fields=True, kw_only=True):
    """New values of one record."""

    dataset: Name
    record: UUID
    values: Values


Email = Annotated[str, msgspec.Meta(min_length=3, max_length=320)]


class LookUp(Use, forbid_unknown_fields=True, kw_only=True):
    """An exact e-mail address, in the body and never in an address."""

    dataset: Name
    email: Email
    fields: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=62)]


class PersonMade(msgspec.Struct):
    """The ids of what was made."""

    id: UUID
    record: UUID
    entry: int


class RecordOut(msgspec.Struct):
    """One record in clear. `entry` is the audit entry of this very read."""

    record: UUID
    dataset: str
    values: Mapping[str, str]
    versions: Mapping[str, int]
    entry: int


class PersonOut(msgspec.Struct, omit_defaults=True):
    """A person with the records that were asked for. `etag` is for If-Match, where the answer holds several people and so has no ETag of its own."""

    id: UUID
    records: list[RecordOut]
    etag: str | None = None


class Found(msgspec.Struct):
    """The person with this address, if any."""

    people: list[PersonOut]


class Done(msgspec.Struct):
    """What was done, with its audit entry."""

    entry: int
    erased: int = 0
    kept: int = 0


class PolicyOut(msgspec.Struct):
    """The policy in force: the fields of each dataset, and the purposes and reasons that exist."""

    version: str
    sha256: str
    datasets: dict[str, list[str]]
    purposes: list[str]
    reasons: list[str]


_ENCODE = msgspec.json.Encoder().encode


def shown(subject: UUID, records: Sequence[Record]) -> PersonOut:
    """A person as JSON."""
    return PersonOut(subject, [RecordOut(r.record, r.dataset, r.values, r.versions, r.ticket) for r in records])


def tagged(subject: UUID, records: Sequence[Record]) -> PersonOut:
    """A person among others: with its validator."""
    out = shown(subject, records)
    out.etag = etag(records)
    return out


def etag(records: Sequence[Record]) -> str:
    """A strong validator (RFC 9110 §8.8.3) that names the versions of what was read: `record:field=version,…;…`."""
    return (
        '"'
        + ";".join(
            f"{r.record.bytes.hex()}:" + ",".join(f"{name}={version}" for name, version in r.versions.items()) for r in records
        )
        + '"'
    )


@post("/v1/people", status_code=201, summary="Create a person")
async def create_person(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """Stores a new person with one record. 409 when a unique value is taken.

    With an `Idempotency-Key` the same request may be sent again: it makes nobody twice and gets the first answer; another body under the same key
    is 422.
    """
    vault: AsyncVault = state.vault
    secret, data = token_of(request), decoded(body, CreatePerson)
    key = once.key_of(request)
    new = once.chosen(
        NewRecord(data.dataset, data.values, "organisation", kind="customer_user", org=data.organisation), secret, key, data
    )
    creations: Creations = state.creations
    try:
        made = await creations.create(secret, data.purpose, data.reason, data.reference, new)
    except (Duplicate, Refused) as error:
        (made,) = await once.before(vault, secret, [new], key, error)
    return person_made(made)


def person_made(made: Created) -> Response[bytes]:
    """The answer to a creation, the first time and when it is sent again."""
    body = _ENCODE(PersonMade(made.subject, made.record, made.audit_id))
    return Response(body, media_type="application/json", status_code=201, headers={"Location": f"/v1/people/{made.subject}"})


@get("/v1/people/{person:uuid}", summary="Read a person")
async def read_person(
    request: Request[Any, Any, State], person: UUID, state: State, dataset: Annotated[str, Parameter(max_length=64)], fields: Annotated[str, Parameter(max_length=4096)],
    purpose: Annotated[str, Parameter(max_length=64)], reason: Annotated[str, Parameter(max_length=64)],
    reference: Annotated[str | None, Parameter(pattern="^[A-Z]{1,8}-?[0-9]{1,12}$")] = None,
) -> Response[bytes]:  # fmt: skip
    """The records of one person in one dataset: `fields` is a list with commas. Audited before anything is answered."""
    gatherer: Gatherer[Ask] = state.gatherer
    records = await gatherer.read(Ask(token_of(request), person, dataset, fields.split(","), purpose, reason, reference))
    if not records:
        raise Refused("nothing here")
    return Response(_ENCODE(shown(person, records)), media_type="application/json", headers={"ETag": etag(records)})


@patch("/v1/people/{person:uuid}", summary="Correct a person's record")
async def correct_person(request: Request[Any, Any, State], person: UUID, body: bytes, state: State) -> Response[bytes]:
    """Corrects values of one record. 409 when a unique value is taken; 412 when a value changed since the read whose ETag is sent as If-Match, or when
    it is still that of the read whose ETag is sent as If-None-Match."""
    vault: AsyncVault = state.vault
    data = decoded(body, CorrectPerson)
    correct = partial(
        vault.correct,
        token_of(request),
        person,
        data.record,
        data.values,
        data.purpose,
        data.reason,
        data.reference,
        dataset=data.dataset,
        origin="organisation",
    )
    alternatives = seen(request.headers.getall("if-match", []), data.record, data.values)
    unlike = known(request.headers.getall("if-none-match", []), data.record, data.values)
    if unlike is None:
        alternatives = [dict.fromkeys(data.values, -1)]
    elif unlike:
        correct = partial(correct, unlike=unlike)
    *others, last = (None,) if alternatives is None else alternatives
    for expected in others:
        with contextlib.suppress(VersionConflict):
            number = await correct(expected=expected)
            break
    else:
        number = await correct(expected=last)
    return Response(_ENCODE(Done(number)), media_type="application/json")


@delete("/v1/people/{person:uuid}", status_code=200, summary="Erase a person")
async def erase_person(
    request: Request[Any, Any, State], person: UUID, state: State, purpose: Annotated[str, Parameter(max_length=64)], reason: Annotated[str, Parameter(max_length=64)],
) -> Response[bytes]:  # fmt: skip
    """Destroys the keys and records of a person. 404 when there is nobody; 412 for a condition other than `If-Match: *`: a person as a whole has no version."""
    vault: AsyncVault = state.vault
    secret = token_of(request)
    conditions = [request.headers.getall(name, []) for name in ("if-match", "if-none-match")]
    if any(conditions):
        tokens: Tokens = state.tokens
        await tokens.check(secret)
    unconditional(*conditions)
    ((_, entry, erased, kept),) = await vault.erase(secret, [person], purpose, reason)
    return Response(_ENCODE(Done(entry, erased, kept)), media_type="application/json")


@put("/v1/people/{person:uuid}/restriction", status_code=200, summary="Restrict the processing of a person")
async def restrict_person(request: Request[Any, Any, State], person: UUID, body: bytes, state: State) -> Response[bytes]:
    """From now on only the purposes that the policy leaves may read this person."""
    return await _restriction(request, person, decoded(body, Use), state, True)


@post("/v1/people/{person:uuid}/restriction/lift", status_code=200, summary="Lift the restriction")
async def lift_restriction(request: Request[Any, Any, State], person: UUID, body: bytes, state: State) -> Response[bytes]:
    """Ends the restriction."""
    return await _restriction(request, person, decoded(body, Use), state, False)


async def _restriction(request: Request[Any, Any, State], person: UUID, data: Use, state: State, on: bool) -> Response[bytes]:
    vault: AsyncVault = state.vault
    secret = token_of(request)
    unconditional(request.headers.getall("if-match", []), request.headers.getall("if-none-match", []))
    number = await vault.restrict(secret, person, on, data.purpose, data.reason, data.reference)
    return Response(_ENCODE(Done(number)), media_type="application/json")


@post("/v1/lookups", status_code=200, summary="Find a person by exact e-mail")
async def look_up(request: Request[Any, Any, State], body: bytes, state: State) -> Response[bytes]:
    """The person with exactly this address, in any letter case, or an empty list. Audited either way."""
    gatherer: Gatherer[Find] = state.finder
    data = decoded(body, LookUp)
    records = await gatherer.read(
        Find(token_of(request), data.dataset, "email", data.email, data.fields, data.purpose, data.reason, data.reference)
    )
    people = [tagged(records[0].subject, records)] if records else []
    return Response(_ENCODE(Found(people)), media_type="application/json")


@get("/v1/policy", summary="The policy in force")
async def policy(state: State) -> Response[bytes]:
    """Version, hash, and the names that may be used. No token is needed."""
    vault: AsyncVault = state.vault
    catalogue = await vault.catalogue()
    datasets = {dataset.name: sorted(dataset.ordinals, key=dataset.ordinals.__getitem__) for dataset in catalogue.by_id.values()}
    body = _ENCODE(PolicyOut(catalogue.version, catalogue.sha256, datasets, catalogue.purposes(), catalogue.reasons()))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-cache", "ETag": f'"{sha256(body).hex()}"'})


@get("/healthz", include_in_schema=False)
async def healthz(state: State) -> Response[bytes]:
    """Whether this door reaches its vault."""
    vault: AsyncVault = state.vault
    await vault.catalogue()
    return Response(b"ok", media_type="text/plain")


HANDLERS = [create_person, read_person, correct_person, erase_person, restrict_person, lift_restriction, look_up, policy, healthz]
__all__ = ["HANDLERS"]
