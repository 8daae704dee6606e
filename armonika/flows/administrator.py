"""What was done with the administrator's rights, as those see it who look after it (claim 7a.4, docs/security/access.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from armonika.flows.access import may_review
from armonika.policy import Policy
from armonika.trust.keys import journal
from armonika.trust.vault import Vault, administrator, staff
from armonika.trust.vault.administrator import Act
from armonika.trust.vault.types import Actor, Ask, SecretHash

PAGE = 40
_OF_STAFF = ("credential", "second-factor", "staff-end")


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry, with the address of the member of staff that it is about; empty where it is about none, or nothing is left of them. `done`: when it was
    done, of what was done with the keys' files and is told afterwards."""

    act: Act
    email: str
    done: datetime | None = None


def unseen(vault: Vault, policy: Policy, secret: SecretHash, actor: Actor) -> int:
    """How much this person has not seen; 0 for a role that does not look after it. Raises SessionEnded."""
    return administrator.unseen(vault, secret) if may_review(policy, actor) else 0


def acts(vault: Vault, secret: SecretHash, before: int | None = None) -> list[Shown]:
    """A page of entries, newest first, `before` an entry number. Each address that is opened is in that person's log. Raises Refused, SessionEnded."""
    found = administrator.acts(vault, secret, PAGE, before)
    subjects = sorted({one.subject for one in found if one.subject is not None and one.operation in _OF_STAFF}, key=str)
    asks = [Ask(secret, subject, "staff", ["email"], staff.PURPOSE, staff.REASON) for subject in subjects]
    emails = {
        subject: outcome.records[0].values.get("email", "")
        for subject, outcome in zip(subjects, vault.read_many(asks) if asks else (), strict=True)
        if outcome.records
    }
    return [
        Shown(
            one,
            emails.get(one.subject, "") if one.subject else "",
            journal.moment(one.reference or "") if one.operation in journal.ACTS else None,
        )
        for one in found
    ]


def see(vault: Vault, secret: SecretHash, numbers: Sequence[int]) -> int | None:
    """Records that exactly these were looked at; returns the entry, None when they had been. Raises Undeclared, Refused, SessionEnded."""
    return administrator.see(vault, secret, numbers)
