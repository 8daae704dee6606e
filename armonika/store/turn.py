"""One at a time: who changes a database's schema waits for who does so already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

TURN_SECONDS = 60
"""How long a start waits for another that changes the same database."""
FIRST_START = 0x41524D4F
"""The advisory lock of a first start: `ARMO`."""


class MigrationError(Exception):
    """The database cannot be brought to this release; the message says why and what to do. Nothing was changed."""


@contextmanager
def turn(admin_dsn: str) -> Iterator[None]:
    """One migration at a time: a connection of its own holds a lock that only the table's owner can take (any role could hold an advisory one). Who waits
    asks again and again: a session that waits inside the server has a snapshot, and the one before would wait for it while it makes an index."""
    with psycopg.connect(admin_dsn, autocommit=True) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        make_table(holder)
        end = time.monotonic() + TURN_SECONDS
        with ExitStack() as held:
            while True:
                try:
                    with ExitStack() as trying:
                        trying.enter_context(holder.transaction())
                        holder.execute("LOCK TABLE armonika_meta.migration IN SHARE UPDATE EXCLUSIVE MODE NOWAIT")
                        held.push(trying.pop_all())
                    break
                except psycopg.errors.LockNotAvailable:
                    if time.monotonic() > end:
                        raise MigrationError(
                            f"Another start has been changing this database for more than {TURN_SECONDS} s. Nothing was changed; start again when it is ready."
                        ) from None
                    time.sleep(0.1)
            yield


def make_table(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """The table of migrations. Before it is there an advisory lock gives the turn: no door has a role yet that could hold it, and later none may. `CREATE … IF
    NOT EXISTS` alone does not: of two at once, one fails with whichever name of the catalogue it meets first."""
    if connection.execute("SELECT to_regclass('armonika_meta.migration')").fetchone() != (None,):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (FIRST_START,))
        connection.execute("CREATE SCHEMA IF NOT EXISTS armonika_meta")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS armonika_meta.migration "
            "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
