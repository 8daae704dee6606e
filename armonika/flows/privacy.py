"""The privacy centre: everything held about a person, seen, corrected, erased by that person (Law 18-07 art. 34-35)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from armonika.flows.errors import Faults
from armonika.flows.fields import checked
from armonika.policy import Policy
from armonika.trust.audit import proofs
from armonika.trust.audit.tree import ProofError
from armonika.trust.vault import Vault
from armonika.trust.vault.types import Access, Actor, SecretHash


@dataclass(frozen=True, slots=True)
class HeldField:
    """One field as its owner sees it."""

    dataset: str
    dataset_label: str
    name: str
    label: str
    value: str
    version: int
    record: UUID
    purposes: Sequence[str]
    bases: Sequence[str]
    origin: str
    written_at: datetime | None
    retention: str
    correctable: bool


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did: records destroyed, records kept by law, and the audit entry that proves it."""

    destroyed: int
    kept: int
    entry: int


def overview(vault: Vault, policy: Policy, secret: SecretHash, actor: Actor, language: str) -> list[HeldField]:
    """Every field held about the actor, with value, purposes, bases, origin and retention."""
    held = vault.describe(secret, actor.actor_id, "legal", "rights-request")
    values: dict[tuple[UUID, str], str] = {}
    for dataset in dict.fromkeys(row.dataset for row in held):
        fields = list(dict.fromkeys(row.field for row in held if row.dataset == dataset))
        for record in vault.read(secret, actor.actor_id, dataset, fields, "legal", "rights-request"):
            values |= {(record.record, name): value for name, value in record.values.items()}
    rows = []
    for row in held:
        declared = policy.dataset(row.dataset)
        field = declared.field(row.field)
        rows.append(
            HeldField(
                row.dataset, declared.label[language], field.name, field.label[language], values.get((row.record, row.field), ""), row.version, row.record,
                [policy.purpose(name).label[language] for name in field.purposes],
                list(dict.fromkeys(policy.basis_of(name).label[language] for name in field.purposes)),
                row.origin, row.written_at, policy.retention_of(field).label[language], row.dataset == "account",
            )
        )  # fmt: skip
    return rows


def who_read(vault: Vault, secret: SecretHash, actor: Actor, before: int | None = None, limit: int = 50) -> list[Access]:
    """Who used the actor's data, newest first. The actor's own looks at this very list are left out."""
    rows = vault.accesses(secret, actor.actor_id, limit, before)
    return [row for row in rows if not (row.operation == "accesses" and row.reader == actor.actor_id)]


def correct(
    vault: Vault,
    policy: Policy,
    secret: SecretHash,
    actor: Actor,
    record: UUID,
    typed: Mapping[str, str],
    expected: Mapping[str, int],
) -> list[str]:
    """Corrects what differs; returns the names of the corrected fields. Raises Faults, VersionConflict, Duplicate. Claim 8a.2."""
    values = checked(policy, "account", typed)
    (present,) = vault.read(
        secret,
        actor.actor_id,
        "account",
        [f.name for f in policy.dataset("account").fields],
        "provide",
        "own-correction",
        record=record,
    )
    changes = {name: value for name, value in values.items() if present.values.get(name) != value}
    if "email" in changes:
        raise Faults({"email": "fixed"})
    if changes:
        vault.correct(
            secret,
            actor.actor_id,
            record,
            changes,
            "provide",
            "own-correction",
            expected={name: expected.get(name, 0) for name in changes},
        )
    return list(changes)


def erase(vault: Vault, secret: SecretHash, actor: Actor, password: str) -> Erased:
    """Erases the actor after their password. Raises Refused for a wrong password, Throttled. Claim 8a.3."""
    vault.throttle(b"erase/" + actor.actor_id.bytes, 5, 5)
    vault.prove_again(secret, password)
    ((_, entry, destroyed, kept),) = vault.erase(secret, [actor.actor_id], "legal", "rights-request")
    return Erased(destroyed, kept, entry)


def proof(vault: Vault, log: Path, secret: SecretHash, actor: Actor, number: int) -> str:
    """A proof file for one entry about the actor. Raises Refused for another's or unknown entry, ProofError while it is not sealed yet."""
    leaf, content = vault.access_entry(secret, actor.actor_id, number)
    fetch = proofs.folder(log)
    checkpoint = fetch("checkpoint")
    if leaf is None or checkpoint is None:
        raise ProofError("the entry is not sealed yet: try again in a second")
    return proofs.proof_file(content, leaf, checkpoint, fetch)
