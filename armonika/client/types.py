"""What goes to the API and comes back. Values of people are left out of every `repr`, so that no log line shows them by accident."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from armonika.client.errors import ArmonikaError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Use:
    """For what: a declared purpose and reason, and the reference of the case (`CASE-123`), if any. It stands in the audit log."""

    purpose: str
    reason: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class NewPerson:
    """One person to create, with one record of one dataset."""

    dataset: str
    values: Mapping[str, str] = field(repr=False)
    organisation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The ids of a new person: the pseudonym, the record, and the entry of the audit log."""

    id: UUID
    record: UUID
    entry: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record in clear. `entry` is the audit entry of this very read."""

    record: UUID
    dataset: str
    values: dict[str, str] = field(repr=False)
    versions: dict[str, int]
    entry: int


@dataclass(frozen=True, slots=True)
class Person:
    """A person with the records that were asked for. `etag` names the versions that were read (RFC 9110 §8.8.3)."""

    id: UUID
    records: tuple[Record, ...]
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """New values of one record of a person as it was read: refused when one of them changed since. `overwrite` does not look."""

    person: UUID
    record: Record
    values: Mapping[str, str] = field(repr=False)
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The audit entry of what was done."""

    entry: int


@dataclass(frozen=True, slots=True)
class Erased:
    """The audit entry of an erasure, with the number of records destroyed and of those that stay: a legal duty keeps them, or they are not this token's to
    erase."""

    entry: int
    erased: int
    kept: int


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy in force and the names that may be used: the fields of each dataset, purposes, reasons."""

    version: str
    sha256: str
    datasets: dict[str, tuple[str, ...]]
    purposes: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The signed size and root of the audit log (C2SP tlog-checkpoint). Its signatures are not verified here: `text` is what a verifier needs."""

    origin: str
    size: int
    root: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of one item of a batch: `value`, or the `error` that the single call would have raised."""

    value: T | None = None
    error: ArmonikaError | None = None

    def get(self) -> T:
        """The value. Raises the item's own error."""
        if self.error is not None:
            raise self.error
        assert self.value is not None
        return self.value
