"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) without a table: the key chooses the ids of what is made.

The id of a new person comes from token and key, that of its record from the body too. A request that is sent again meets its own person in the
database, in whatever process and after whatever crash, and is answered as the first was, also when the person was erased since; there is no time after
which it would be done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request

from armonika.trust import crypto
from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Undeclared, VaultError
from armonika.trust.vault.types import Created, NewRecord, SecretHash

_PRINTABLE = frozenset(range(0x21, 0x7F)) | {0x20}


class KeyReused(Undeclared):
    """The Idempotency-Key was used for another request before."""

    code = "idempotency-key-reused"


def key_of(request: Request[Any, Any, Any]) -> bytes | None:
    """The key of a request, of 1 to 255 printable characters, or None. Raises Undeclared for another form."""
    values = request.headers.getall("idempotency-key", [])
    if not values:
        return None
    key = values[0].encode("latin-1", "replace")
    if len(values) != 1 or not 1 <= len(key) <= 255 or not _PRINTABLE.issuperset(key):
        raise Undeclared("an Idempotency-Key is sent once, with 1 to 255 printable characters")
    return key


def chosen(new: NewRecord, secret: SecretHash, key: bytes | None, body: Any, number: int = 0) -> NewRecord:
    """The same record with the ids that key and body choose; unchanged without a key. `body` is all that was asked of this one, what for too; `number` is
    its place in a batch."""
    if key is None:
        return new
    place = b"armonika/once/1\0" + secret + len(key).to_bytes(2, "big") + key + number.to_bytes(4, "big")
    whole = msgspec.json.encode(body, order="deterministic")
    return replace(new, new_subject=_id(place), new_record=_id(place + b"body" + crypto.sha256(whole)))


async def before(
    vault: AsyncVault, secret: SecretHash, records: Sequence[NewRecord], key: bytes | None, error: VaultError
) -> list[Created]:
    """What the first request with this key made, though `error` refused to make it again: a unique value is taken, by what it made itself; a person is
    gone, whom it made. Raises `error` when there was none, KeyReused when it had another body."""
    made = []
    for new in records:
        number = await vault.made(secret, new.new_subject, new.new_record) if key and new.new_subject and new.new_record else None
        if number is None:
            raise error
        if number < 0:
            raise KeyReused("this Idempotency-Key was used for another request: take a new one")
        assert new.new_subject is not None
        assert new.new_record is not None
        made.append(Created(new.new_subject, new.new_record, number))
    return made


def _id(content: bytes) -> UUID:
    return UUID(bytes=crypto.sha256(content)[:16], version=4)
