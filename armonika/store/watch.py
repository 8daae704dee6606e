"""Transactions of doors that stay open: they hold rows, keep the dead from being swept and the log from being settled. No setting binds a role that means harm,
for every session may change its own; so somebody has to look."""

from __future__ import annotations

from typing import Any

import psycopg

MOST_SECONDS = 600
"""Far beyond the longest page of a sealing after an outage or of the retention job."""
KEEPER_SECONDS = 3600
"""A keeper that retires an epoch takes its look-ups away in one transaction, as many as there are."""


def end_held(connection: psycopg.Connection[Any], most: float = MOST_SECONDS, keeper: float = KEEPER_SECONDS) -> list[str]:
    """Ends the sessions of door roles whose transaction, in any database of the server, is older than that. Returns the names of their roles, one a session.

    For the administrator.
    """
    found = connection.execute(
        "SELECT usename, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'armonika\\_%%' "
        "AND xact_start < clock_timestamp() - make_interval(secs => CASE WHEN usename IN ('armonika_keeper', 'armonika_timpani') THEN %s ELSE %s END) ORDER BY usename",
        (float(keeper), float(most)),
    ).fetchall()
    return [str(name) for name, ended in found if ended]
