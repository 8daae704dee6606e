"""The job's hand in the database: it may end what is due, and can neither name nor read anything else (claim 6a.6).

Its role has EXECUTE on five functions. Which records are due, and whether the clock is to be trusted, is decided there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from armonika.trust.keys.credentials import Credentials
from armonika.trust.vault.reader import Store, secret_hash

PAGE = 500
"""Records a transaction: a crash loses at most one page of work, and nobody waits long."""
PURGE_PAGE = 10_000
"""Rows that nobody collects. Each page goes past what those before it left behind, so that small ones would cost the square of how many there are."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One record that ended, and the entry that says so."""

    subject: UUID
    record: UUID
    entry: int


@dataclass(frozen=True, slots=True)
class Progress:
    """One dataset: `due` records have ended by their period and are still there, `overdue` for more than a day, the oldest since `oldest`.
    Without a class its records never end."""

    dataset: str
    class_: str | None
    days: int | None
    starts: str | None
    locked: bool | None
    due: int
    overdue: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Clock:
    """When the job was last at work, and why it does not trust the clock (None: it does)."""

    ran_at: datetime
    fault: str | None


class Expirer:
    """One job at the database. Two at once do no harm: they take turns."""

    def __init__(self, credentials: Credentials, dsn: str) -> None:
        self._store = Store(credentials, dsn, 1)
        self._service = secret_hash(credentials.service_secret)

    def expire(self, most: int = PAGE) -> list[Ended]:
        """Ends a page of what is due; an empty list: nothing is. Raises ClockUntrusted, SessionEnded, Unavailable; nothing is then ended."""
        rows = self._store.rows("SELECT subject, record, audit_id FROM vault.expire($1::bytea, $2::int)", [self._service, most])
        return [Ended(*row) for row in rows]

    def end_empty(self, most: int = PAGE) -> int:
        """Tombstones for people of whom no record is left; returns how many. Raises as `expire`."""
        return int(self._store.value("SELECT vault.end_empty($1::bytea, $2::int)", [self._service, most]))

    def purge(self, most: int = PURGE_PAGE) -> Mapping[str, int]:
        """One page of what nobody collects: how many rows of each kind went. Raises as `expire`."""
        return dict(self._store.rows("SELECT what, gone FROM vault.purge_stale($1::bytea, $2::int)", [self._service, most]))

    def progress(self) -> list[Progress]:
        """Every dataset that has a class or records."""
        statement = "SELECT dataset, class, days, starts, locked, due, overdue, oldest FROM vault.retention_progress()"
        return [Progress(*row) for row in self._store.rows(statement)]

    def clock(self) -> Clock:
        """Whether the database would end anything now."""
        return Clock(*self._store.rows("SELECT ran_at, fault FROM vault.retention_clock()")[0])

    def close(self) -> None:
        """Closes the connection."""
        self._store.close()
