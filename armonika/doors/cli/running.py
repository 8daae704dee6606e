"""The running installation that a command speaks to."""

from __future__ import annotations

import sys

import psycopg

from armonika.policy import Policy
from armonika.policy.compile import catalogue
from armonika.settings import Settings
from armonika.store.private_files import KeyFileError
from armonika.supervisor import certificates
from armonika.supervisor.database import admin_dsn, door_dsn, dsn_of
from armonika.trust.keys import Keyring
from armonika.trust.vault import Vault


def not_reached(error: KeyFileError | psycopg.OperationalError) -> int:
    """Says why a command could not reach the installation; its exit status. A server's own words are those of a connection
    that it refused (a password, an address), and name nobody of whom data is kept."""
    if isinstance(error, KeyFileError):
        print(f"armonika: {error}", file=sys.stderr)
    else:
        said = str(error).strip().splitlines()
        print(
            f"armonika: the database does not answer ({said[0].strip() if said else 'no word of it'}). "
            "Start the system (`armonika serve`, with the same ARMONIKA_HOME), then give the command again.",
            file=sys.stderr,
        )
    return 2


def reach(dsn: str) -> None:
    """Asks the server for one connection before a pool does, which would try for seconds and tell each try. Raises psycopg.OperationalError."""
    psycopg.connect(dsn, autocommit=True, connect_timeout=20).close()


def aside(text: str) -> None:
    """A line beside a report, on standard error."""
    print(text, file=sys.stderr)


def door_address(config: Settings, ring: Keyring, door: str) -> str:
    """The database's address for a command that acts as `door`, with a certificate of its own where the server asks for one. Raises KeyFileError."""
    own = config.credentials / ".commands" / door
    address = door_dsn(dsn_of(admin_dsn(config)), own)
    if str(own) in address:
        own.mkdir(parents=True, mode=0o700, exist_ok=True)
        certificates.hand_out(ring.authority(), door, own, None)
    return address


def open_door(config: Settings, policy: Policy, door: str) -> Vault:
    """The vault as `door`, by the keys in `config.home`: for commands of the operator that act through a door. Raises KeyFileError,
    psycopg.OperationalError."""
    reach(admin_dsn(config))
    held = {entry["compartment"]: entry["mode"] for entry in catalogue(policy)["doors"] if entry["door"] == door}
    ring = Keyring.open(config.keys)
    return Vault.open(ring.credentials(door, held), door_address(config, ring, door), size=2)
