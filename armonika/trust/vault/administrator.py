"""What is done with the administrator's rights, for those who look after it (docs/security/access.md). The policy's operation `review` says who that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from armonika.trust.vault.staff import PURPOSE, REASON, consult
from armonika.trust.vault.types import SecretHash
from armonika.trust.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Act:
    """One entry of the administrator. `actor` and `role` are of the service in whose name it is, or of the token or service that got a secret; `subject` is a
    pseudonym, `reference` of the log's narrow form. `leaf` is None until it is sealed. `fresh`: whoever asks has not seen it. `seen`: role and time of
    each person who has, oldest first."""

    audit_id: int
    at: datetime
    operation: str
    granted: bool
    actor: UUID
    role: str | None
    subject: UUID | None
    reference: str | None
    leaf: int | None
    fresh: bool
    seen: Sequence[tuple[str, datetime]]


def unseen(vault: Vault, secret: SecretHash) -> int:
    """How many entries this person has not seen. Raises SessionEnded, Refused for a role without `review`."""
    return int(
        vault._store.value(
            "SELECT vault.administrator_unseen($1::bytea, $2::smallint, $3::smallint)",
            [secret, vault.catalogue.purpose(PURPOSE), vault.catalogue.reason(REASON)],
        )
    )


def acts(vault: Vault, secret: SecretHash, most: int, before: int | None = None) -> list[Act]:
    """A page of at most `most` (1000) entries, newest first, `before` an entry number; each look is an entry. Raises SessionEnded, Refused."""
    rows = vault._store.rows(
        "SELECT audit_id, at, operation, granted, actor, role, subject, reference, leaf_no, fresh, seen_roles, seen_at "
        "FROM vault.administrator_entries($1::bytea, $2::bigint, $3::int, $4::bigint)",
        [secret, consult(vault, secret), most, before],
    )
    return [Act(*(*row[:10], list(zip(row[10], row[11], strict=True)))) for row in rows]


def see(vault: Vault, secret: SecretHash, numbers: Sequence[int]) -> int | None:
    """Records that this person looked at these entries (1 to 1000). Returns the entry that says so, None when they had been seen already. Raises Undeclared
    for numbers that are no entries of the administrator, Refused, SessionEnded; nothing is then recorded."""
    made = vault._store.value(
        "SELECT vault.administrator_see($1::bytea, $2::smallint, $3::smallint, $4::bigint[])",
        [secret, vault.catalogue.purpose(PURPOSE), vault.catalogue.reason(REASON), list(numbers)],
    )
    return None if made is None else int(made)
