"""Partitions of the audit log, made ahead of need. 25 million entries each, cut by number, which is the order of time.

Somebody with a superuser's rights can detach or drop one. Where nothing is written any more the service goes on, and it is said (`gaps`). Where the next
entries go, one that is gone is made anew, and one that still stands beside the log stops everything until somebody has looked at it: nothing is done without
its entry, and no table of entries is put in the place of another (docs/security/audit-log.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from armonika.store.turn import MigrationError

WIDTH = 25_000_000
AHEAD = 2
"""Whole empty partitions that must stand before the log: at the fastest measured rate more than half an hour each."""
FIRST = "audit_old"
"""The partition that was the whole log before it was partitioned: it takes every number below its end."""
_ATTACHED = (
    "SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''?([0-9]+)'))[1]::bigint, (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''?([0-9]+)'))[1]::bigint "
    "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'vault.audit'::regclass AND NOT i.inhdetachpending"
)
_NUMBER = "SELECT greatest((SELECT last_value FROM vault.audit_number), (SELECT max(audit_id) FROM vault.audit), (SELECT max(audit_id) FROM vault.leaf))"
_BESIDE = (
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'audit\\_%' "
    "AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT i.inhdetachpending) "
    "AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'audit_id' AND NOT a.attisdropped) ORDER BY 1"
)


class PartitionError(MigrationError):
    """No entry can be written, for a partition of the log is not attached; the message says which, and the way out. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers [first, end) that no partition takes. `beside`: a table of the log that holds some of them and is not attached."""

    first: int
    end: int
    beside: str | None

    def words(self) -> str:
        """What an operator should know of it."""
        found = f"the numbers {self.first} to {self.end - 1} of the audit log are in no partition"
        if self.beside is None:
            return f"{found}, and no table beside it holds them: it was dropped. Its entries are in the sealed log and in the backups"
        return (
            f"{found}: vault.{self.beside}, which holds some of them, is not attached. Find out who detached it, then as a superuser: "
            f"ALTER TABLE vault.audit ATTACH PARTITION vault.{self.beside} FOR VALUES FROM ({self.first or 'MINVALUE'}) TO ({self.end}); and `armonika audit verify`"
        )


def gaps(connection: psycopg.Connection[Any]) -> list[Gap]:
    """What is missing of the log up to its newest number, oldest first. For the administrator. Raises PartitionError as `extend`."""
    with _typed():
        number = _number(connection)
        return [gap for gap in _gaps(connection, (number // WIDTH + 1) * WIDTH) if gap.first <= number]


def extend(connection: psycopg.Connection[Any]) -> int:
    """Makes what is missing from the next entry on; returns how many were made. Safe on a live system: attaching takes no lock that a reader or writer waits for.

    For the administrator. An entry beyond the last partition would be refused, and with it what it stands for: nothing goes unlogged. Raises PartitionError
    when the next entry has no place and somebody must look first.
    """
    made = 0
    with _typed(), connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '4s'")
        # One at a time, by what attaching locks anyway; no door's role may lock it.
        connection.execute("LOCK TABLE ONLY vault.audit IN SHARE UPDATE EXCLUSIVE MODE")
        number = _number(connection)
        for gap in _gaps(connection, -(-(number + AHEAD * WIDTH) // WIDTH) * WIDTH):
            if gap.end <= number + 1:
                continue
            if gap.beside is None:
                _make(connection, gap.first, gap.end)
                made += 1
            elif gap.first <= number + 1:
                raise PartitionError(f"No entry can be written, and so nothing done: {gap.words()}.")
    return made


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.DatabaseError as error:
        raise PartitionError(
            f"The partitions of the audit log cannot be looked after: {error.diag.message_primary}. Somebody changed vault.audit or what belongs to it: "
            "put back what is named, or restore a backup (docs/operate.md). Nothing was changed."
        ) from None


def _number(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(_NUMBER).fetchone()
    assert row is not None
    return int(row[0])


def _gaps(connection: psycopg.Connection[Any], until: int) -> list[Gap]:
    """The numbers below `until` that no attached partition takes, in pieces as partitions are cut. The first partition begins below every number."""
    bounds = sorted((int(first or 0), int(end)) for first, end in connection.execute(_ATTACHED).fetchall() if end)
    missing, at = [], 0
    for first, end in [*bounds, (until, until)]:
        if at < min(first, until):
            missing.append((at, min(first, until)))
        at = max(at, end)
    if not missing:
        return []
    beside = [str(name) for (name,) in connection.execute(_BESIDE).fetchall()]
    pieces = []
    for first, end in missing:
        if first == 0 and (_held(connection, [FIRST] if FIRST in beside else [], 0, end)):
            named = [int(found.group(1)) * WIDTH for name in beside if (found := re.fullmatch("audit_([0-9]{6,})", name))]
            first = min([end, *named])
            pieces.append(Gap(0, first, FIRST))
        for begin in range(first // WIDTH * WIDTH, end, WIDTH):
            piece = max(begin, first), min(begin + WIDTH, end)
            pieces.append(Gap(*piece, _held(connection, beside, *piece)))
    return pieces


def _held(connection: psycopg.Connection[Any], beside: list[str], first: int, end: int) -> str | None:
    """The first of these tables that holds an entry of the range."""
    for name in beside:
        asked = sql.SQL("SELECT 1 FROM {} WHERE audit_id >= %s AND audit_id < %s LIMIT 1").format(sql.Identifier("vault", name))
        if connection.execute(asked, (first, end)).fetchone():
            return name
    return None


def _make(connection: psycopg.Connection[Any], first: int, end: int) -> None:
    base, again = f"audit_{first // WIDTH:06d}", 1
    label = base
    # What somebody left under the name stays as it is.
    while connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"vault.{label}",)).fetchone() == (True,):
        again += 1
        label = f"{base}_{again}"
    name = sql.Identifier("vault", label)
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE vault.audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(name))
    # As the grants would do at the next start: until then it would be the only table of the log that belongs to the administrator.
    connection.execute(sql.SQL("ALTER TABLE {} OWNER TO armonika_store").format(name))
    connection.execute(
        sql.SQL(
            "CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION vault.keep()"
        ).format(name)
    )
    connection.execute(
        sql.SQL("ALTER TABLE vault.audit ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            name, sql.Literal(first) if first else sql.SQL("MINVALUE"), sql.Literal(end)
        )
    )
