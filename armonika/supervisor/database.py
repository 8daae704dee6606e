"""How the database is reached: by a Unix socket, or by TLS with its name checked (docs/security/transport.md)."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from armonika.gates.channel import OWN
from armonika.settings import Settings
from armonika.store.embedded import DatabaseError, Embedded

_NOT_FOR_DOORS = ("user", "password", "passfile")


def admin_dsn(config: Settings) -> str:
    """The administrator's DSN of the installation in `config.home`. Raises KeyFileError when there is none."""
    return config.database_url or Embedded(config.postgres, config.keys).admin_dsn


def dsn_of(admin_dsn: str) -> str:
    """The same server and database without user and password."""
    parts = conninfo_to_dict(admin_dsn)
    return make_conninfo(**{key: str(value) for key, value in parts.items() if key not in _NOT_FOR_DOORS})


def door_dsn(dsn: str, folder: Path, own: str = OWN) -> str:
    """`dsn` for the process whose credentials are in `folder`: where the administrator shows a certificate, so does each process, its own."""
    if not conninfo_to_dict(dsn).get("sslcert"):
        return dsn
    return make_conninfo(dsn, sslcert=str(folder / own), sslkey=str(folder / own))


def check_transport(admin_dsn: str) -> None:
    """Raises DatabaseError when a server beyond this machine would be reached without TLS, or without a look at its name."""
    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(admin_dsn).items()}
    except psycopg.ProgrammingError:
        raise DatabaseError(
            "ARMONIKA_DATABASE_URL is no address of PostgreSQL: write postgresql://user@host/database or host=… dbname=…."
        ) from None
    # What the address leaves out, libpq takes from the environment.
    given = parts.get("hostaddr") or parts.get("host") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or "/"
    service = parts.get("service") or os.environ.get("PGSERVICE")
    far = [f"what the service {service} names"] if service else [host for host in given.split(",") if not _near(host)]
    if far and parts.get("sslmode") != "verify-full":
        raise DatabaseError(
            f"ARMONIKA_DATABASE_URL reaches {far[0]} without a look at its certificate. Add sslmode=verify-full and sslrootcert=… (docs/operate.md), "
            "or name a Unix socket. Nothing was changed."
        )


def _near(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
