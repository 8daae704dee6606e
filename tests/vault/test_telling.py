"""What was done with the keys' files and its entries: each line once, what is missing once, one telling at a time. In a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store.private_files import KeyFileError
from armonika.trust.keys import Keyring, journal
from armonika.trust.keys import tell as told
from armonika.trust.keys.journal import AUTHORITY, BROKEN, CREDENTIALS, Journal, lacking
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.provision import issue_token, provision
from armonika.trust.keys.tell import tell

NAME = "armonika_telling"
ENTRIES = (
    "SELECT o.name, e.reference, r.name FROM vault.administrator_entry e JOIN vault.operation o ON o.id = e.operation "
    "JOIN vault.role r ON r.id = e.role WHERE o.name LIKE 'keys-%' ORDER BY e.audit_id"
)
HELD = "SELECT l.mode FROM pg_locks l WHERE l.relation = 'vault.administrator_entry'::regclass AND l.granted AND l.pid <> pg_backend_pid()"


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


@pytest.fixture(scope="module")
def made(server: Any) -> Iterator[str]:
    """A database of this release in which the operator has done something else."""
    other = make_conninfo(server.admin_dsn, dbname=NAME)
    rows(server.admin_dsn, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    rows(server.admin_dsn, f"CREATE DATABASE {NAME}")
    provision(server.home / "keys", other, catalogue(policy.load()))
    # What other tests did with the keys of their server is none of this one's business.
    rows(
        other,
        "SET session_replication_role = replica; DELETE FROM vault.administrator_entry e USING vault.operation o WHERE o.id = e.operation AND o.name LIKE 'keys-%'",
    )
    issue_token(other)
    yield NAME
    rows(server.admin_dsn, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


@pytest.fixture
def dsn(server: Any, made: str) -> Iterator[str]:
    """A copy of it for one test."""
    rows(server.admin_dsn, f"CREATE DATABASE {made}_one TEMPLATE {made}")
    yield make_conninfo(server.admin_dsn, dbname=f"{made}_one")
    rows(server.admin_dsn, f"DROP DATABASE {made}_one WITH (FORCE)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Keyring.open_or_create(tmp_path / "keys").ensure(["account"])
    return tmp_path / "keys"


def act(folder: Path, name: str, door: str | None = None) -> Keyring:
    with alone(folder):
        ring = Keyring.open(folder)
        ring.act(name, door)
        ring.save()
    return ring


def test_each_line_has_its_entry_once_in_its_order(folder: Path, dsn: str) -> None:
    assert tell(Keyring.open(folder), dsn) == 0, "nothing was done"
    act(folder, CREDENTIALS, "site")
    ring = act(folder, AUTHORITY)
    assert (tell(ring, dsn), tell(ring, dsn)) == (2, 0)
    ring = act(folder, CREDENTIALS, "api")
    assert (tell(ring, dsn), tell(ring, dsn)) == (1, 0), "what has its entry gets no other"
    first, second, third = (line.reference for line in ring.journal().lines)
    assert rows(dsn, ENTRIES) == [(CREDENTIALS, first, "site"), (AUTHORITY, second, "keeper"), (CREDENTIALS, third, "api")]


def test_what_is_missing_has_one_entry_for_all_of_it(folder: Path, dsn: str) -> None:
    for door in ("site", "api", "console"):
        ring = act(folder, CREDENTIALS, door)
    tell(ring, dsn)
    whole, lines = (folder / journal.FILE).read_bytes(), ring.journal().lines
    (folder / journal.FILE).write_bytes(b"".join(whole.splitlines(keepends=True)[:1]))
    assert (tell(ring, dsn), tell(ring, dsn)) == (1, 0)
    assert rows(dsn, ENTRIES)[3:] == [(BROKEN, lacking([line.reference for line in lines[1:]]), "keeper")]
    (folder / journal.FILE).write_bytes(whole + b"forged\n")
    assert tell(ring, dsn) == 1, "something else is wrong"
    (folder / journal.FILE).write_bytes(whole)
    assert tell(ring, dsn) == 0, "what was said of it is no line that is missing"


def test_one_tells_at_a_time_and_looks_at_the_file_when_it_is_its_turn(folder: Path, dsn: str) -> None:
    ring, seen = act(folder, CREDENTIALS, "site"), []

    class Asked:
        def journal(self) -> Journal:
            seen.extend(rows(dsn, HELD))
            return ring.journal()

    assert tell(cast("Keyring", Asked()), dsn) == 1
    assert ("ShareRowExclusiveLock",) in seen


def test_a_file_that_cannot_be_read_leaves_no_entry(folder: Path, dsn: str) -> None:
    ring = act(folder, CREDENTIALS, "site")
    (folder / journal.FILE).chmod(0o644)
    with pytest.raises(KeyFileError, match="open to others"):
        tell(ring, dsn)
    assert rows(dsn, ENTRIES) == []


def test_the_driver_is_told_how_long_to_wait_for_a_connection(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def gone(dsn: str, **how: Any) -> None:
        asked.append((dsn, how))
        raise psycopg.OperationalError("nobody there")

    monkeypatch.setattr(told.psycopg, "connect", gone)  # type: ignore[attr-defined]
    for more in ((), (3,)):
        with pytest.raises(psycopg.OperationalError):
            tell(Keyring.open(folder), "host=nowhere", *more)
    assert asked == [("host=nowhere", {"connect_timeout": 20}), ("host=nowhere", {"connect_timeout": 3})]
