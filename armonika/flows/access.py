"""Who of staff may do what: the matrix of the policy, the accounts, and the review that the policy asks for every 90 days (claim 7a.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from armonika.policy import Policy
from armonika.trust.vault import Vault, staff
from armonika.trust.vault.staff import Account
from armonika.trust.vault.types import Actor, Ask, SecretHash

REVIEW_DAYS = 90


@dataclass(frozen=True, slots=True)
class Right:
    """One cell of what a role may do: operations on a dataset for a purpose, in a scope, with these fields."""

    purpose: str
    dataset: str
    operations: Sequence[str]
    scope: str
    fields: Sequence[str]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The accounts with their addresses, as the reviewer sees them; `digest` names exactly this list."""

    rows: list[tuple[Account, str]]
    digest: bytes
    reviewed_at: datetime | None


def matrix(policy: Policy, kind: str = "staff") -> Mapping[str, list[Right]]:
    """Roles of a kind x purposes x datasets x operations, from the policy."""
    made: dict[str, list[Right]] = {role.name: [] for role in policy.roles if role.kind == kind}
    for rule in policy.rules:
        names = [field.name for field in policy.dataset(rule.dataset).fields]
        right = Right(
            rule.purpose, rule.dataset, rule.operations, rule.scope, names if "*" in rule.fields else [name for name in names if name in rule.fields]
        )  # fmt: skip
        for role in rule.roles:
            if role in made:
                made[role].append(right)
    return made


def may_review(policy: Policy, actor: Actor) -> bool:
    """Whether the policy lets this role review access. The database decides again."""
    return any(actor.role in rule.roles and "review" in rule.operations for rule in policy.rules)


def accounts(vault: Vault, secret: SecretHash) -> Reviewed:
    """Every account of staff with its address; each look is in that person's log. Raises Refused."""
    found = staff.accounts(vault, secret)
    asks = [Ask(secret, account.subject, "staff", ["email"], staff.PURPOSE, staff.REASON) for account in found.accounts]
    rows = []
    for account, outcome in zip(found.accounts, vault.read_many(asks), strict=True):
        rows.append((account, outcome.records[0].values.get("email", "") if outcome.records else ""))
    return Reviewed(rows, found.digest, found.reviewed_at)


def record(vault: Vault, secret: SecretHash, digest: bytes) -> int:
    """Records the review of exactly this list; returns its entry. Raises VersionConflict, Refused."""
    return staff.record_review(vault, secret, digest)


def overdue(reviewed_at: datetime | None, started: datetime, now: datetime) -> bool:
    """Whether the last review, or without one the start of the installation, is more than 90 days ago."""
    return now - (reviewed_at or started) > timedelta(days=REVIEW_DAYS)
