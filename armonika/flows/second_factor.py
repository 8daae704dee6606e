"""Staff enrol and prove a second factor (docs/security/access.md). Until it is proven the database opens nothing to their session."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from armonika.flows.sign_in import SESSION_SECONDS
from armonika.policy import Policy
from armonika.rules import one_time_code
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault import second_factor as factor
from armonika.trust.vault.errors import Refused
from armonika.trust.vault.second_factor import Standing, standing
from armonika.trust.vault.types import Actor, SecretHash


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator program needs: the address in the QR code, and the same key in groups to type."""

    uri: str
    key: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The secret of the proven session, and the recovery codes, shown once."""

    secret: str
    codes: list[str]


def enrolment(vault: Vault, policy: Policy, session: str, actor: Actor) -> Enrolment:
    """The key that this session may enrol. Names nobody: the account stands there by role and the first letters of its pseudonym."""
    key = base64.b32encode(factor.candidate(vault, session)).decode()
    issuer = policy.controller.name
    label = quote(f"{issuer}:{actor.role}-{str(actor.actor_id)[:8]}", safe=":")
    query = urlencode(
        {"secret": key, "issuer": issuer, "algorithm": "SHA1", "digits": one_time_code.DIGITS, "period": one_time_code.SECONDS}
    )
    return Enrolment(f"otpauth://totp/{label}?{query}", one_time_code.grouped(key))


def enrol(vault: Vault, session: str, actor: Actor, typed: str) -> Enrolled:
    """Enrols the session's key after a right code. Raises Refused, Throttled."""
    vault.throttle(b"second-factor/enrol/" + actor.actor_id.bytes, 10, 10)
    code = one_time_code.typed_code(typed)
    if code is None:
        raise Refused("the code is not right")
    codes = factor.new_recovery_codes()
    key = factor.candidate(vault, session)
    opened = factor.enrol(vault, secret_hash(session), actor.actor_id, key, code, codes, SESSION_SECONDS)
    return Enrolled(opened, codes)


def prove(vault: Vault, secret: SecretHash, actor: Actor, typed: str) -> str:
    """The secret of the proven session. Raises Refused, Throttled, SessionEnded."""
    return factor.prove(vault, secret, actor.actor_id, one_time_code.typed_code(typed), SESSION_SECONDS)


def recover(vault: Vault, secret: SecretHash, actor: Actor, typed: str) -> str:
    """The same by a recovery code. Raises Refused, SessionEnded."""
    return factor.recover(vault, secret, actor.actor_id, one_time_code.typed_recovery(typed), SESSION_SECONDS)


def renew_codes(vault: Vault, secret: SecretHash, actor: Actor) -> list[str]:
    """Other recovery codes, shown once; the earlier ones end. Raises SessionEnded unless the factor was proven in the last ten minutes."""
    codes = factor.new_recovery_codes()
    factor.renew_codes(vault, secret, actor.actor_id, codes)
    return codes


__all__ = ["Enrolled", "Enrolment", "Standing", "enrol", "enrolment", "prove", "recover", "renew_codes", "standing"]
