"""Who of staff may do what, at the vault: the list and its review for whom the policy names, resets and ends for the operator (claim 7a.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg

from armonika.trust.vault import codec
from armonika.trust.vault.types import SecretHash
from armonika.trust.vault.vault import Vault

PURPOSE, REASON = "secure", "access-review"


@dataclass(frozen=True, slots=True)
class Account:
    """One account of staff, without a name. `codes_left`: unused recovery codes."""

    subject: UUID
    role: str
    since: datetime
    last_sign_in: datetime | None
    second_factor: bool
    codes_left: int


@dataclass(frozen=True, slots=True)
class AccessList:
    """What a review is of. `digest` names exactly these accounts and the policy in force."""

    accounts: list[Account]
    digest: bytes
    reviewed_at: datetime | None


def consult(vault: Vault, secret: SecretHash) -> int:
    """The entry that opens a list to who may review it, and is its ticket. Raises SessionEnded, Refused."""
    catalogue = vault.catalogue
    return int(
        vault._store.value(
            "SELECT vault.consult_staff($1::bytea, $2::smallint, $3::smallint)",
            [secret, catalogue.purpose(PURPOSE), catalogue.reason(REASON)],
        )
    )


def accounts(vault: Vault, secret: SecretHash) -> AccessList:
    """Every account of staff, for who may review access. Raises SessionEnded, Refused."""
    rows = vault._store.rows(
        "SELECT subject, role, since, last_sign_in, second_factor, codes_left, digest, reviewed_at FROM vault.staff_accounts($1::bytea, $2::bigint)",
        [secret, consult(vault, secret)],
    )
    *_, digest, reviewed_at = next(iter(rows), (b"", None))
    return AccessList([Account(*row[:6]) for row in rows], bytes(digest), reviewed_at)


def record_review(vault: Vault, secret: SecretHash, digest: bytes) -> int:
    """Records the review of exactly this list; returns the audit row's number. Raises VersionConflict when the accounts changed since, Refused."""
    catalogue = vault.catalogue
    return int(
        vault._store.value(
            "SELECT vault.record_review($1::bytea, $2::smallint, $3::smallint, $4::bytea)",
            [secret, catalogue.purpose(PURPOSE), catalogue.reason(REASON), digest],
        )
    )


def appoint(admin_dsn: str, subject: UUID) -> int:
    """Confirms an appointment: from now on they sign in. Returns the audit row's number. Raises Refused when no appointment waits for it."""
    return _administer(admin_dsn, "SELECT vault.staff_appoint(%s)", (subject,))


def reset(vault: Vault, admin_dsn: str, subject: UUID, password: str) -> int:
    """A new password, no second factor, no session. `vault` is the console's. Raises Refused when this is no member of staff."""
    return _administer(admin_dsn, "SELECT vault.staff_reset(%s, %s, %s, %s)", (subject, *vault._credential(password)))


def end(admin_dsn: str, subject: UUID) -> int:
    """Ends an appointment at once. Raises Refused when this is no member of staff."""
    return _administer(admin_dsn, "SELECT vault.staff_end(%s)", (subject,))


def _administer(admin_dsn: str, statement: str, parameters: tuple[object, ...]) -> int:
    try:
        with psycopg.connect(admin_dsn) as connection:
            row = connection.execute(statement.encode(), parameters).fetchone()
    except psycopg.DatabaseError as error:
        raise codec.error_of(error.sqlstate) from None
    assert row is not None
    return int(str(row[0]))
