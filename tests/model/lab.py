"""The real thing that is driven: one installation with its vault, keeper, desk, sealers and log, shared by all runs of a session."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from psycopg.conninfo import make_conninfo

from armonika.trust.audit import sealer
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.verify import Report, verify
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.keys.epochs import now
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Refused, Unavailable
from armonika.trust.vault.keeper import Keeper
from tests.keys.house import House, house

# NIST SP 800-57 part 1 §7, written apart from the product's own rules.
LEGAL = {
    "": {"pre-activation"}, "pre-activation": {"active", "compromised", "destroyed"}, "active": {"suspended", "deactivated", "compromised", "destroyed"},
    "suspended": {"active", "deactivated", "compromised", "destroyed"}, "deactivated": {"compromised", "destroyed"}, "compromised": {"destroyed"}, "destroyed": set(),
}  # fmt: skip


@dataclass
class Lab:
    """What the machine handles. `steps` counts every step of every run."""

    home: House
    folder: Path
    vault: Vault
    keepers: list[Keeper]
    sealer: Sealer
    connection: psycopg.Connection[Any]
    steps: int = 0
    kills: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    kept: list[bytes] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def sealing(self) -> Sealer:
        """Another sealer on the same log."""
        held = self.home.provisioned.credentials("sealer")
        assert held.log_key is not None
        made = Sealer(self.connection, self.folder, "armonika.test/model", held.log_key)
        made.load()
        return made

    def verify(self, kept: bytes | None = None, from_kept: bool = False) -> Report:
        """The log against folder and database."""
        with psycopg.connect(self.home.embedded.admin_dsn) as admin:
            return verify(
                self.folder, (self.folder / "log.vkey").read_text(), DatabaseRows(admin).rows, kept, from_kept=from_kept
            )

    def settle(self) -> None:
        """Waits until the vault answers again after a crash."""
        for _ in range(200):
            try:
                self.vault.whoami(self.home.token)
                for keeper in self.keepers:
                    keeper.rotation()
            except (Unavailable, Refused):
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the vault does not answer after a crash")

    def cut_connections(self) -> None:
        """Every connection of every door ends, in the middle of whatever it does."""
        with self.home.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'armonika %'")

    def kill_database(self) -> None:
        """kill -9 of the server, then a start, as the supervisor does it."""
        self.kills += 1
        process = self.home.embedded.process
        assert process is not None
        os.kill(int((self.home.embedded.data / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGKILL)
        process.wait(20)
        self.home.embedded.start(self.home.config.logs / "postgres.log")
        self.connection = sealer_connection(self.home)
        self.sealer = self.sealing()
        self.settle()

    def clock(self, days: float) -> None:
        """Moves the clock of the desk."""
        self.home.later = (self.home.later or now()) + timedelta(days=days)

    def at(self) -> datetime:
        return self.home.later or now()


def sealer_connection(home: House) -> psycopg.Connection[Any]:
    held = home.provisioned.credentials("sealer")
    dsn = make_conninfo(home.embedded.dsn, user=held.database_user, password=held.database_password)
    return psycopg.connect(dsn, autocommit=True)


@contextmanager
def lab() -> Iterator[Lab]:
    """Made once; takes some seconds."""
    # A long run would spend its time on reading again what it wrote.
    with house() as home, patch.object(sealer, "RECHECKED", 1000):
        connection = sealer_connection(home)
        folder = home.config.home / "model-log"
        made = Lab(home, folder, home.vault(), [home.keeper(), home.keeper("timpani")], None, connection)  # type: ignore[arg-type]
        made.sealer = made.sealing()
        yield made
        made.connection.close()
