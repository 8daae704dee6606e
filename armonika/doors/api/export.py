"""The export of one person as a stream of lines, with a last one that says that nothing was cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.response import Stream

from armonika.doors.api.people import shown
from armonika.doors.api.tokens import Tokens, token_of
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Refused
from armonika.trust.vault.types import Ask, Record, SecretHash

_LINES = 100
_ENCODE = msgspec.json.Encoder().encode


class ExportEnd(msgspec.Struct):
    """The last line. Without it the export was cut off: not every way over HTTP tells (to HTTP/1.0 the end of the connection is the end of the answer)."""

    end: bool
    person: UUID
    records: int


@get("/v1/people/{person:uuid}/export", summary="Export a person as lines")
async def export_person(request: Request[Any, Any, State], person: UUID, state: State, purpose: Annotated[str, Parameter(max_length=64)],
                        reason: Annotated[str, Parameter(max_length=64)]) -> Stream:  # fmt: skip
    """Every record that this token may read, one JSON object a line (application/x-ndjson), each with its entry in the log. The last line,
    `{"end":true,"person":…,"records":…}`, counts them: an export without it was cut off."""
    secret = token_of(request)
    found = await everything(state.vault, secret, person, purpose, reason)
    if not found:
        raise Refused("nothing here")
    return Stream(lines(person, found, secret, state.tokens), media_type="application/x-ndjson")


async def everything(vault: AsyncVault, secret: SecretHash, person: UUID, purpose: str, reason: str) -> list[Record]:
    """Every record of a person that the secret's actor may read here. Raises the error of any that is there and cannot be given: an export without it
    would pass for the whole."""
    # All datasets in one ask: a person's export is one commit and one answer, however many there are.
    asks = [
        Ask(secret, person, dataset.name, list(dataset.ordinals), purpose, reason)
        for dataset in (await vault.catalogue()).by_id.values()
    ]
    found: list[Record] = []
    for outcome in await vault.read_many(asks):
        if outcome.error is None:
            found += outcome.records
        elif not isinstance(outcome.error, Refused):
            raise outcome.error
    return found


async def lines(person: UUID, found: list[Record], secret: SecretHash, tokens: Tokens) -> AsyncIterator[bytes]:
    """The lines, some at a time. A reader may take its time: what is left of an answer is not for a token that ended meanwhile. Raises SessionEnded and
    Unavailable, which cut the answer off before its last line."""
    for at in range(0, len(found), _LINES):
        if at:
            await tokens.check(secret)
        yield b"".join(_ENCODE(one) + b"\n" for one in shown(person, found[at : at + _LINES]).records)
    yield _ENCODE(ExportEnd(True, person, len(found))) + b"\n"
