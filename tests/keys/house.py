"""An installation of its own for tests that change keys: server, keyring, and doors that read their credentials from files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psycopg

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.settings import Settings
from armonika.store.embedded import Embedded
from armonika.store.users import user_for
from armonika.supervisor.key_desk import KeyDesk
from armonika.trust.keys import credentials
from armonika.trust.keys.epochs import now
from armonika.trust.keys.provision import Provisioned, issue_token, provision
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.keeper import Keeper
from armonika.trust.vault.types import Created, NewRecord
from tests.folders import folder

DOORS = ("api", "console", "site", "worker", "sealer", "keeper", "timpani", "retention")


@dataclass
class House:
    """One installation that a test may change as it likes. `later` moves the desk's clock."""

    config: Settings
    embedded: Embedded
    provisioned: Provisioned
    token: bytes = b""
    later: datetime | None = None
    opened: list[Vault] = field(default_factory=list)

    @property
    def desk(self) -> KeyDesk:
        return KeyDesk(self.config, policy.load(), self.embedded.admin_dsn, lambda: self.later or now())

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.embedded.admin_dsn, autocommit=True)

    def value(self, statement: str) -> object:
        with self.admin() as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def vault(self, door: str = "api") -> Vault:
        made = Vault.open(credentials.load(door, self.config.credentials / door), self.embedded.dsn, size=4)
        self.opened.append(made)
        return made

    def keeper(self, door: str = "keeper") -> Keeper:
        made = Keeper(credentials.load(door, self.config.credentials / door), self.embedded.dsn, size=2)
        self.opened.append(made)  # type: ignore[arg-type]
        return made

    def people(self, vault: Vault, count: int = 1, **values: str) -> list[Created]:
        made = [
            NewRecord("account", {"name": "N", "email": f"u{uuid4().hex}@org.example", "company": "C", "role": "R"} | values, "organisation", kind="customer_user", org=uuid4())
            for _ in range(count)
        ]  # fmt: skip
        return vault.create(self.token, "provide", "integration", made)

    def read(
        self, vault: Vault, made: Created, dataset: str = "account", fields: tuple[str, ...] = ("name", "email")
    ) -> dict[str, str]:
        (record,) = vault.read(self.token, made.subject, dataset, fields, "provide", "integration")
        return dict(record.values)

    def finish_rotation(self) -> None:
        for keeper in (self.keeper(), self.keeper("timpani")):
            for _ in range(10_000):
                if not keeper.step() and not keeper.rotation().retiring:
                    break
            else:
                raise AssertionError(f"the rotation does not end: {keeper.rotation()}")


@contextmanager
def house() -> Iterator[House]:
    with folder("keys") as home:
        yield from _in(home)


def _in(home: Path) -> Iterator[House]:
    config = Settings(home=home, port=8000, database_url=None)
    embedded = Embedded(config.postgres, config.keys, user_for("postgres") if os.geteuid() == 0 else None)
    embedded.prepare()
    embedded.start(config.logs / "postgres.log")
    made: House | None = None
    try:
        provisioned = provision(config.keys, embedded.admin_dsn, catalogue(policy.load()))
        jobs.install(embedded.admin_dsn)
        for door in DOORS:
            folder = config.credentials / door
            folder.mkdir(parents=True, mode=0o700)
            provisioned.write_credentials(door, folder)
        made = House(config, embedded, provisioned)
        made.token = secret_hash(issue_token(embedded.admin_dsn, label="house"))
        yield made
    finally:
        for vault in made.opened if made else []:
            vault.close()
        embedded.stop()
        shutil.rmtree(config.credentials, ignore_errors=True)
