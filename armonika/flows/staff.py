"""Staff find a person by exact e-mail, for a purpose and a reason of their role; every try is in the person's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from armonika.policy import Policy
from armonika.trust.vault import Vault
from armonika.trust.vault.types import Actor, SecretHash

EXCHANGE = "demo-follow-up"
"""Who looks a request up to answer it exchanges a word with the person: from there on it is kept anew (class demo_year)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One purpose with the reasons and datasets that a role has for looking somebody up."""

    purpose: str
    reasons: Sequence[str]
    datasets: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Found:
    subject: UUID
    dataset: str
    values: Mapping[str, str]
    entry: int


def choices(policy: Policy, role: str) -> list[Choice]:
    """What the policy lets this role look up, and for what."""
    made = []
    for purpose in policy.purposes:
        datasets: dict[str, list[str]] = {}
        for rule in policy.rules:
            if (
                role in rule.roles
                and rule.purpose == purpose.name
                and rule.scope == "all"
                and {"find", "read"} <= set(rule.operations)
            ):
                names = [field.name for field in policy.dataset(rule.dataset).fields]
                datasets[rule.dataset] = names if "*" in rule.fields else [name for name in names if name in rule.fields]
        if datasets:
            reasons = [
                reason.name
                for reason in policy.reasons
                if purpose.name in reason.purposes
                and reason.name
                not in (
                    "own-view",
                    "verification",
                    "staff-appointment",
                    "law-09-04",
                    "key-rotation",
                    "retention",
                    "period-begins",
                    "second-factor",
                    "access-review",
                )
            ]
            made.append(Choice(purpose.name, reasons, datasets))
    return made


def find(
    vault: Vault, policy: Policy, secret: SecretHash, actor: Actor, email: str, purpose: str, reason: str, reference: str | None
) -> list[Found]:
    """The people with exactly this address in the datasets of the role. Raises Forbidden, Undeclared, Invalid, Throttled."""
    vault.throttle(b"find/" + actor.actor_id.bytes, 30, 20)
    found = []
    role_may_tell = _tells(policy, actor.role, purpose)
    for choice in choices(policy, actor.role):
        if choice.purpose == purpose:
            for dataset, fields in choice.datasets.items():
                for record in vault.find(secret, dataset, "email", email, fields, purpose, reason, reference):
                    found.append(Found(record.subject, dataset, record.values, record.ticket))
                    if reason == EXCHANGE and dataset in role_may_tell:
                        vault.event(secret, record.subject, record.record, purpose, reason, reference)
    return found


def _tells(policy: Policy, role: str, purpose: str) -> set[str]:
    return {
        rule.dataset
        for rule in policy.rules
        if role in rule.roles and rule.purpose == purpose and "event" in rule.operations and rule.scope == "all"
    }
