"""One server for all mutants of a run: each child opens its own connections to it and shares nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest


@dataclass(frozen=True)
class Place:
    """Where the server is: plain text and numbers, so that a child can make everything anew from it."""

    home: Path
    dsn: str
    admin_dsn: str


@contextmanager
def place() -> Iterator[Place]:
    """A server of its own, ready."""
    from armonika import policy
    from armonika.flows import jobs
    from armonika.policy.compile import catalogue
    from armonika.store.embedded import Embedded
    from armonika.store.users import user_for
    from armonika.trust.keys.provision import provision

    home = Path(tempfile.mkdtemp(prefix="armonika-mutants-", dir="/var/tmp"))
    home.chmod(0o755)
    embedded = Embedded(home / "postgres", home / "keys", user_for("postgres") if os.geteuid() == 0 else None)
    embedded.prepare()
    embedded.start(home / "logs" / "postgres.log")
    try:
        provision(home / "keys", embedded.admin_dsn, catalogue(policy.load()))
        jobs.install(embedded.admin_dsn)
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as admin:
            # What a mutant run needs is speed; nothing of it is kept.
            admin.execute("ALTER SYSTEM SET fsync = off")
            admin.execute("ALTER SYSTEM SET full_page_writes = off")
            admin.execute("SELECT pg_reload_conf()")
        yield Place(home, embedded.dsn, embedded.admin_dsn)
    finally:
        embedded.stop()
        shutil.rmtree(home, ignore_errors=True)


class Shared:
    """The fixtures `server` and `doors` for tests that run without their conftest."""

    def __init__(self, where: Place) -> None:
        self.where = where

    @pytest.fixture(scope="session")
    def server(self) -> Any:
        from armonika import policy
        from armonika.policy.compile import catalogue
        from armonika.trust.keys import Keyring
        from armonika.trust.keys.provision import Provisioned

        held: dict[str, dict[str, str]] = {}
        for entry in catalogue(policy.load())["doors"]:
            held.setdefault(entry["door"], {})[entry["compartment"]] = entry["mode"]
        provisioned = Provisioned(Keyring.open(self.where.home / "keys"), None, 0, held)  # type: ignore[arg-type]
        return SimpleNamespace(
            home=self.where.home, dsn=self.where.dsn, admin_dsn=self.where.admin_dsn, provisioned=provisioned, embedded=None
        )

    @pytest.fixture(scope="session")
    def doors(self, server: Any) -> Iterator[Any]:
        from armonika.trust.keys.provision import issue_token
        from armonika.trust.vault import Vault, secret_hash
        from tests.doors import Doors

        vaults = [
            Vault.open(server.provisioned.credentials(door), server.dsn, size=2)
            for door in ("site", "console", "api", "verifier")
        ]
        yield Doors(server, *vaults, secret_hash(issue_token(server.admin_dsn, label="mutants")))
        for vault in vaults:
            vault.close()

    @pytest.fixture
    def stage(self, doors: Any) -> Iterator[Any]:
        from tests.vault.stage import Stage

        made = Stage(doors, doors.admin())
        yield made
        made.close()

    @pytest.fixture
    def rounds(self, stage: Any) -> Iterator[Any]:
        from tests.vault.ground import Rounds

        made = Rounds(stage)
        yield made
        made.close()
