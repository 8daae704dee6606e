"""The second factor of staff at the vault (docs/security/access.md; RFC 6238).

Its value is a field of the person's record, read for the purpose `secure` alone. The database counts every try before the value is read, compares a proof
made from the value, accepts each step once, and opens the session: this door cannot skip one of them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from armonika.rules import one_time_code
from armonika.trust import crypto
from armonika.trust.vault import codec
from armonika.trust.vault.errors import KeyUnavailable, Refused, SessionEnded, Throttled
from armonika.trust.vault.reader import secret_hash
from armonika.trust.vault.types import SecretHash
from armonika.trust.vault.vault import Vault, new_secret

DATASET, FIELD, PURPOSE, REASON = "staff", "second_factor", "secure", "second-factor"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a member of staff stands. `fresh`: proven in the last ten minutes. `step`: the present 30 seconds by the database's clock."""

    enrolled: bool
    proven: bool
    fresh: bool
    may_enrol: bool
    codes_left: int
    step: int
    record: UUID | None


def standing(vault: Vault, secret: SecretHash) -> Standing:
    """The state of the session's owner. Raises SessionEnded, Refused for anybody but staff."""
    return Standing(
        *vault._store.rows(
            "SELECT enrolled, proven, fresh, may_enrol, codes_left, step, record FROM vault.second_state($1::bytea)", [secret]
        )[0]
    )


def codes(key: bytes, step: int) -> dict[str, int]:
    """The codes that count now, each with its step; of two that are the same by chance the later step, so that it cannot be used again."""
    steps = sorted(one_time_code.steps_around(step))
    return {one_time_code.code(crypto.hmac_sha1(key, one_time_code.counter(at))): at for at in steps}


def matching_step(key: bytes, step: int, code: str) -> int | None:
    """The step whose code this is, or None. Every code is compared, in constant time."""
    found = None
    for expected, at in codes(key, step).items():
        if crypto.constant_time_equal(expected.encode(), code.encode()):
            found = at
    return found


def enrol(vault: Vault, secret: SecretHash, actor: UUID, key: bytes, code: str, recovery: Sequence[str], ttl_seconds: int) -> str:
    """Enrols `key` after a right code of it, with these recovery codes; returns the secret of the proven session. Raises Refused for a wrong code,
    for a factor that is there and was not proven lately, and for a password older than 14 days; then nothing is stored."""
    now = standing(vault, secret)
    step = matching_step(key, now.step, code)
    if step is None or now.record is None or not now.may_enrol:
        raise Refused("the code is not right")
    record, opened = now.record, new_secret()

    def work() -> None:
        parameters = vault._correction(
            vault.service, actor, record, {FIELD: base64.b32encode(key).decode()}, PURPOSE, REASON, None, DATASET, None, "system"
        )
        try:
            with vault._store.connection() as connection, connection.transaction():
                vault._store.value(codec.CORRECT, parameters, connection)
                vault._store.rows(
                    "SELECT vault.second_enrol($1::bytea, $2::bytea, $3::bigint, $4::bytea[], $5::bytea, $6::int)",
                    [secret, crypto.sha256(_proof(vault, actor, key)), step, _hashes(vault, actor, recovery), secret_hash(opened), ttl_seconds],
                    connection,
                )  # fmt: skip
        except psycopg.Error as error:
            raise codec.error_of(error.sqlstate) from None

    vault._again(work)
    return opened


def prove(vault: Vault, secret: SecretHash, actor: UUID, code: str | None, ttl_seconds: int) -> str:
    """Proves the factor by a code of six digits (None: what was typed is none, and counts as a try); returns the secret of the session that takes the place
    of this one. Raises Refused for a wrong or used code, Throttled, SessionEnded after eight tries."""
    ((wait, step),) = vault._store.rows("SELECT wait, step FROM vault.second_begin($1::bytea)", [secret])
    if wait is None:
        raise SessionEnded("too many tries: sign in again")
    if wait > 0:
        raise Throttled("too many tries; wait a moment", float(wait))
    found = vault.read(vault.service, actor, DATASET, [FIELD], PURPOSE, REASON)
    key = base64.b32decode(found[0].values[FIELD]) if found and FIELD in found[0].values else None
    shown = matching_step(key, int(step), code) if key is not None and code is not None else None
    opened = new_secret()
    right = _opened(
        vault,
        "SELECT vault.second_prove($1::bytea, $2::bytea, $3::bigint, $4::bytea, $5::int)",
        [
            secret,
            _proof(vault, actor, key) if key is not None and shown is not None else None,
            shown,
            secret_hash(opened),
            ttl_seconds,
        ],
    )
    if not right:
        raise Refused("the code is not right")
    return opened


def recover(vault: Vault, secret: SecretHash, actor: UUID, recovery: str | None, ttl_seconds: int) -> str:
    """As `prove`, by one of the person's own recovery codes, which then is used up. Raises Refused, SessionEnded after too many tries."""
    opened = new_secret()
    proof = _recovery_proof(vault, actor, recovery or "")
    right = _opened(
        vault,
        "SELECT vault.second_recover($1::bytea, $2::bytea, $3::bytea, $4::int)",
        [secret, proof, secret_hash(opened), ttl_seconds],
    )
    if right is None:
        raise SessionEnded("too many tries: sign in again")
    if not right:
        raise Refused("the code is not right")
    return opened


def renew_codes(vault: Vault, secret: SecretHash, actor: UUID, recovery: Sequence[str]) -> None:
    """Other recovery codes in the place of all earlier ones. Raises SessionEnded unless the factor was proven in the last ten minutes."""
    vault._store.rows("SELECT vault.second_codes($1::bytea, $2::bytea[])", [secret, _hashes(vault, actor, recovery)])


def new_recovery_codes() -> list[str]:
    """Ten codes of 80 bits."""
    return [
        one_time_code.recovery_from(crypto.random_bytes(one_time_code.RECOVERY_CHARACTERS))
        for _ in range(one_time_code.RECOVERY_CODES)
    ]


def candidate(vault: Vault, session_secret: str) -> bytes:
    """The key that this session may enrol: always the same one, so that it need not be kept anywhere before it is confirmed. It is made from the session's
    own secret, of which nothing but a hash is stored, under the pepper."""
    return crypto.hmac_sha256(_pepper(vault), b"armonika/second-factor/candidate/1\0" + session_secret.encode())[
        : one_time_code.KEY_BYTES
    ]


def _opened(vault: Vault, statement: str, parameters: Sequence[Any]) -> bool | None:
    answer = vault._store.value(statement, parameters)
    return None if answer is None else bool(answer)


def _pepper(vault: Vault) -> bytes:
    if vault._credentials.pepper is None:
        raise KeyUnavailable("this door cannot sign anybody in")
    return vault._credentials.pepper


def _proof(vault: Vault, actor: UUID, key: bytes) -> bytes:
    return crypto.hmac_sha256(_pepper(vault), b"armonika/second-factor/1\0" + actor.bytes + key)


def _recovery_proof(vault: Vault, actor: UUID, code: str) -> bytes:
    return crypto.hmac_sha256(_pepper(vault), b"armonika/recovery-code/1\0" + actor.bytes + code.encode())


def _hashes(vault: Vault, actor: UUID, recovery: Sequence[str]) -> list[bytes]:
    return [crypto.sha256(_recovery_proof(vault, actor, code)) for code in recovery]
