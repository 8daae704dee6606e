"""What goes into the vault and what comes out. What a batch makes hundreds of is a struct, ten times cheaper to make than a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType
from uuid import UUID

import msgspec

SecretHash = NewType("SecretHash", bytes)
"""SHA-256 of a session secret, API token or service secret: 32 bytes. Make it with `armonika.trust.vault.secret_hash`."""

Origin = Literal["subject", "organisation", "operator", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who a secret proves, as the database resolves it (`vault.whoami`)."""

    actor_id: UUID
    role: str
    org_id: UUID | None
    kind: Literal["session", "token", "service"]
    expires_at: datetime
    auth_at: datetime
    usable: bool = True
    """False: a member of staff whose second factor is still to be proven; nothing but that is open to this session."""
    second_at: datetime | None = None


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One read: who, whom, what, for which purpose and reason. `record` narrows to one record."""

    secret: SecretHash
    subject: UUID
    dataset: str
    fields: Sequence[str]
    purpose: str
    reason: str
    reference: str | None = None
    record: UUID | None = None


class Find(msgspec.Struct, frozen=True, gc=False):
    """One look-up: who, by which exact value of which field, what of the person, for which purpose and reason."""

    secret: SecretHash
    dataset: str
    field: str
    value: str
    fields: Sequence[str]
    purpose: str
    reason: str
    reference: str | None = None


class Record(msgspec.Struct, frozen=True, gc=False):
    """A decrypted record: `values` by field name; `versions` by field name; `ticket` is the audit row's id."""

    subject: UUID
    record: UUID
    dataset: str
    values: Mapping[str, str]
    versions: Mapping[str, int]
    ticket: int


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to create. `subject` None makes a new person (`kind` and `org` say what kind and in which organisation)."""

    dataset: str
    values: Mapping[str, str]
    origin: Origin
    subject: UUID | None = None
    kind: str | None = None
    org: UUID | None = None
    new_subject: UUID | None = None
    new_record: UUID | None = None
    """Ids chosen by the caller for a new person and record: a request sent twice chooses the same ones (Idempotency-Key)."""


@dataclass(frozen=True, slots=True)
class Created:
    subject: UUID
    record: UUID
    audit_id: int


@dataclass(frozen=True, slots=True)
class Held:
    """What the vault holds of a person without opening it: one row a field (`vault.describe`). `written_at` is None where the entry that says so is gone."""

    record: UUID
    dataset: str
    field: str
    version: int
    origin: Origin
    written_at: datetime | None
    event: int


@dataclass(frozen=True, slots=True)
class Access:
    """One entry of "who read my data" (`vault.accesses`). `reader` is a pseudonym; `role` the role in which they acted."""

    audit_id: int
    at: datetime
    operation: str
    outcome: str
    reader: UUID
    role: str
    dataset: str | None
    fields: Sequence[str]
    purpose: str
    reason: str
    reference: str | None
    leaf: int | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """Result of one item of a batch: records, or the error that this item alone met."""

    records: Sequence[Record] = ()
    error: Exception | None = None
