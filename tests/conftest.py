"""One real server for the whole run: embedded PostgreSQL (or ARMONIKA_TEST_DATABASE_URL), migrated, with the policy installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.store.embedded import Embedded
from armonika.store.users import user_for
from armonika.trust.keys.provision import Provisioned, issue_token, provision
from armonika.trust.vault import Vault, secret_hash
from tests import folders
from tests.doors import Doors
from tests.live import Live, running

settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=20000, deadline=None)
settings.load_profile(os.environ.get("ARMONIKA_HYPOTHESIS", "ci"))


@dataclass
class Server:
    """A server that is ready: `dsn` names it without a user, `admin_dsn` is the administrator's."""

    home: Path
    dsn: str
    admin_dsn: str
    provisioned: Provisioned
    embedded: Embedded | None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with folders.folder("test") as home:
        yield from _served(home)


def _served(home: Path) -> Iterator[Server]:
    url = os.environ.get("ARMONIKA_TEST_DATABASE_URL")
    embedded = None
    if url:
        name = f"armonika_test_{os.getpid()}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name}".encode())
        admin = make_conninfo(url, dbname=name)
        dsn = make_conninfo(**{key: value for key, value in conninfo_to_dict(admin).items() if key in ("host", "port", "dbname")})
    else:
        embedded = Embedded(home / "postgres", home / "keys", user_for("postgres") if os.geteuid() == 0 else None)
        embedded.prepare()
        embedded.start(home / "logs" / "postgres.log")
        admin, dsn = embedded.admin_dsn, embedded.dsn
    try:
        provisioned = provision(home / "keys", admin, catalogue(policy.load()))
        jobs.install(admin)
        yield Server(home, dsn, admin, provisioned, embedded)
    finally:
        if embedded:
            embedded.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the users of processes reach."""
    with folders.folder("here") as made:
        yield made


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    """A whole running system with sample data, shared by the run."""
    with running() as system:
        yield system


@pytest.fixture(scope="session")
def doors(server: object) -> Iterator[Doors]:
    provisioned, dsn = server.provisioned, server.dsn  # type: ignore[attr-defined]
    vaults = [Vault.open(provisioned.credentials(door), dsn, size=4) for door in ("site", "console", "api", "verifier")]
    token = secret_hash(issue_token(server.admin_dsn, label="vault-tests"))  # type: ignore[attr-defined]
    yield Doors(server, *vaults, token)
    for vault in vaults:
        vault.close()
