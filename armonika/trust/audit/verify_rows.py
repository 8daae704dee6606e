"""The database's side of a verification. It asks the tables themselves, with names of its own choice alone: a function of the database says what its
owner likes, and so does a search path."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.rows import dict_row

# Times come as text: a superuser can write some that no calendar of ours has. Lengths are bounded for the same reason.
_ROWS = """SELECT l.leaf_no, l.leaf_hash, a.audit_id, coalesce(to_char(a.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), a.at::text) AS at,
    left(o.name, 1000) AS operation, CASE WHEN a.granted THEN 'granted' ELSE 'refused' END AS outcome, left(a.door, 1000) AS door, a.actor, left(r.name, 1000) AS actor_role,
    a.subject, a.record, left(d.name, 1000) AS dataset,
    ARRAY(SELECT left(f.name, 1000) FROM vault.field f WHERE f.dataset = a.dataset AND (a.fields >> (f.ordinal - 1)) & 1 = 1 ORDER BY f.ordinal) AS fields,
    left(p.name, 1000) AS purpose, left(c.name, 1000) AS reason, left(a.reference, 1000) AS reference, left(v.sha256, 1000) AS policy
    FROM (SELECT * FROM vault.leaf WHERE leaf_no >= %s AND leaf_no < %s ORDER BY leaf_no LIMIT %s) l LEFT JOIN vault.audit a ON a.audit_id = l.audit_id
    LEFT JOIN vault.operation o ON o.id = a.operation LEFT JOIN vault.role r ON r.id = a.role LEFT JOIN vault.policy_version v ON v.policy_id = a.policy_id
    LEFT JOIN vault.dataset d ON d.id = a.dataset LEFT JOIN vault.purpose p ON p.id = a.purpose LEFT JOIN vault.reason c ON c.id = a.reason
    ORDER BY l.leaf_no, l.audit_id LIMIT %s"""
# What was settled, or written ten minutes before the checkpoint was looked at, must have a leaf: of the tree as the database has it, and the older rows
# of the signed log. A leaf number anywhere else is none.
_STRAYS = """SELECT min(x.audit_id) AS audit_id, count(*) AS strays FROM (SELECT a.audit_id, CASE WHEN a.at < %(looked)s THEN %(size)s ELSE %(top)s END AS bound
        FROM vault.audit a WHERE a.audit_id <= %(settled)s OR a.at < %(looked)s) x
    WHERE NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = x.audit_id AND l.leaf_no >= 0 AND l.leaf_no < x.bound)"""
_NUMBERS = """SELECT n.top, l.leaf_no, l.audit_id FROM (SELECT %(size)s::bigint + count(*) AS top FROM vault.leaf WHERE leaf_no >= %(size)s) n
    LEFT JOIN LATERAL (SELECT * FROM (SELECT * FROM vault.leaf WHERE leaf_no < 0 LIMIT 1) low UNION ALL SELECT * FROM (SELECT * FROM vault.leaf WHERE leaf_no >= n.top LIMIT 1) high) l
    ON true ORDER BY l.leaf_no LIMIT 1"""

_PARTITIONS = (
    "SELECT pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'vault.audit'::regclass AND NOT i.inhdetachpending"
)
_BOUND = re.compile(r"FOR VALUES FROM \((?:MINVALUE|'?(\d+)'?)\) TO \('?(\d+)'?\)")


class DatabaseRows:
    """The rows that a log is compared with. Make it before the checkpoint is read. Raises psycopg.Error, where no installation's tables are there too."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor(row_factory=dict_row)
        self._cursor.execute("SELECT set_config('search_path', 'pg_catalog', false)")
        state = self._one(
            "SELECT max(settled) AS settled, clock_timestamp() - interval '10 minutes' AS looked FROM vault.seal_state"
        )
        self._settled, self._looked = state["settled"], state["looked"]

    def rows(self, first: int, count: int) -> list[dict[str, Any]]:
        """Rows of leaves [first, first + count), in order, at most one too many: with two of one number that one is among them."""
        return self._cursor.execute(_ROWS, (first, first + count, count + 1, count + 1)).fetchall()

    def beyond(self, size: int) -> str | None:
        """What stands in the database and not in the signed log of `size` entries, though it should; None when nothing does."""
        if self._settled is None:
            return "vault.seal_state is empty: nobody can say which rows should have been sealed"
        leaves = self._one(_NUMBERS, {"size": size})
        if leaves["leaf_no"] is not None:
            return f"audit {leaves['audit_id']} has the leaf number {leaves['leaf_no']} in the database: there is no such entry in the log"
        found = self._one(_STRAYS, {"looked": self._looked, "settled": self._settled, "size": size, "top": leaves["top"]})
        if found["strays"]:
            return f"audit {found['audit_id']} stands in the database and not in the log: inserted after its time was sealed ({found['strays']} in all)"
        return None

    def gaps(self) -> list[str]:
        """Numbers of sealed entries that no partition of the table takes: somebody detached or dropped it."""
        end = self._one("SELECT coalesce(max(audit_id), -1) + 1 AS sealed FROM vault.leaf")["sealed"]
        rows = self._cursor.execute(_PARTITIONS).fetchall()
        bounds = sorted((int(found.group(1) or 0), int(found.group(2))) for row in rows if (found := _BOUND.fullmatch(row["bound"] or "")))  # fmt: skip
        told, at = [], 0
        for first, upto in [*bounds, (end, end)]:
            if at < min(first, end):
                told.append(
                    f"the numbers {at} to {min(first, end) - 1} are in no partition of vault.audit: it was detached or dropped"
                )
            at = max(at, upto)
        return told

    def _one(self, statement: str, parameters: Any = ()) -> dict[str, Any]:
        row = self._cursor.execute(statement.encode(), parameters).fetchone()
        assert row is not None
        return row
