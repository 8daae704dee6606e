"""Partitions of the audit log, made ahead of need. 25 million entries each, cut by number, which is the order of time."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

WIDTH = 25_000_000
AHEAD = 2
"""Whole empty partitions that must stand before the log: at the fastest measured rate more than half an hour each."""


def extend(connection: psycopg.Connection[Any]) -> int:
    """Makes what is missing; returns how many were made. Safe on a live system: attaching takes no lock that a reader or writer waits for.

    For the administrator. An entry beyond the last partition would be refused, and with it what it stands for: nothing goes unlogged.
    """
    made = 0
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '4s'")
        # One at a time, by what attaching locks anyway; no door's role may lock it.
        connection.execute("LOCK TABLE ONLY vault.audit IN SHARE UPDATE EXCLUSIVE MODE")
        row = connection.execute(
            "SELECT max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''?([0-9]+)'))[1]::bigint), greatest((SELECT last_value FROM vault.audit_number), (SELECT max(audit_id) FROM vault.audit)) "
            "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'vault.audit'::regclass"
        ).fetchone()
        assert row is not None
        end, number = int(row[0]), int(row[1])
        while end < number + AHEAD * WIDTH:
            name = sql.Identifier("vault", f"audit_{end // WIDTH:06d}")
            connection.execute(
                sql.SQL("CREATE TABLE {} (LIKE vault.audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(name)
            )
            # As the grants would do at the next start: until then it would be the only table of the log that belongs to the administrator.
            connection.execute(sql.SQL("ALTER TABLE {} OWNER TO armonika_store").format(name))
            connection.execute(
                sql.SQL(
                    "CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION vault.keep()"
                ).format(name)
            )
            connection.execute(
                sql.SQL("ALTER TABLE vault.audit ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                    name, sql.Literal(end), sql.Literal(end + WIDTH)
                )
            )
            end += WIDTH
            made += 1
    return made
