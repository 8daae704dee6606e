"""Where the server is, in asyncpg's words. libpq's connection strings are the one form in which a server is named everywhere."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

_KEPT = (
    "host",
    "port",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslnegotiation",
    "target_session_attrs",
)


def asyncpg_address(conninfo: str) -> str:
    """A URI for asyncpg with the same servers, database, TLS and `target_session_attrs` as `conninfo`, without user or password.

    Several hosts are tried in turn; with `target_session_attrs=read-write` only the one that takes writes is used (libpq, "Specifying Multiple
    Hosts"). Raises psycopg.ProgrammingError for what is no connection string.
    """
    parts: dict[str, Any] = conninfo_to_dict(conninfo)
    return "postgresql://?" + urlencode({name: str(parts[name]) for name in _KEPT if parts.get(name) is not None})
