"""Partitions of the log that somebody with a superuser's rights detached or dropped: what goes on, what stops, and what is said. In a database of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.store import partitions
from armonika.store.partitions import WIDTH, Gap, PartitionError
from armonika.store.turn import MigrationError
from armonika.supervisor.rounds import Rounds
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.keys.provision import issue_token, provision
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.errors import Unavailable
from armonika.trust.vault.types import Created, NewRecord, SecretHash

NAME = "armonika_parts"


@dataclass
class Place:
    """A database of this release with a token."""

    admin: psycopg.Connection[Any]
    api: Vault
    verifier: Vault
    token: SecretHash
    again: Any

    def person(self) -> Created:
        values = {"name": "N", "email": f"u{self.last()}@org.example", "company": "C", "role": "R"}
        return self.api.create(self.token, "provide", "integration", [NewRecord("account", values, "organisation", kind="customer_user")])[0]  # fmt: skip

    def last(self) -> int:
        return int(self.rows("SELECT last_value FROM vault.audit_number")[0][0])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        done = self.admin.execute(statement.encode())
        return done.fetchall() if done.description else []

    def attached(self) -> set[str]:
        return {name for (name,) in self.rows("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'vault.audit'::regclass")}  # fmt: skip

    def sealed(self) -> None:
        """As if the sealer had been here."""
        self.rows("INSERT INTO vault.leaf SELECT row_number() OVER (ORDER BY audit_id) - 1, audit_id, sha256('') FROM vault.audit ON CONFLICT DO NOTHING")  # fmt: skip

    def found(self) -> list[str]:
        """What `audit verify` says of the partitions."""
        with self.admin.transaction():
            return DatabaseRows(self.admin).gaps()


@pytest.fixture
def place(server: Any) -> Iterator[Place]:
    keys, other = server.home / "keys", make_conninfo(server.admin_dsn, dbname=NAME)
    with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {NAME}".encode())
    try:
        held = provision(keys, other, catalogue(policy.load()))
        jobs.install(other)
        token = secret_hash(issue_token(other))
        vault, verifier = (
            Vault.open(held.credentials(door), make_conninfo(server.dsn, dbname=NAME), size=2) for door in ("api", "verifier")
        )
        with psycopg.connect(other, autocommit=True) as admin:
            yield Place(admin, vault, verifier, token, lambda: provision(keys, other, catalogue(policy.load())))
        vault.close()
        verifier.close()
    finally:
        with psycopg.connect(server.admin_dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)".encode())


def way_out(words: str) -> str:
    found = re.search(r"ALTER TABLE [^;]+;", words)
    assert found, words
    return found.group()


def test_one_that_is_written_and_stands_beside_stops_everything_with_a_way_out(place: Place) -> None:
    made, before, newest = place.person(), place.attached(), place.last()
    place.sealed()
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old")
    with pytest.raises(Unavailable):
        place.api.read(place.token, made.subject, "account", ["name"], "provide", "integration")
    for call in (lambda: partitions.extend(place.admin), place.again):
        with pytest.raises(PartitionError, match=r"nothing done: .* vault\.audit_old") as told:
            call()
    assert isinstance(told.value, MigrationError), "as `serve` tells every fault of its database"
    assert place.attached() == before - {"audit_old"}, "nothing was changed"
    assert place.found() == [f"the numbers 0 to {newest} are in no partition of vault.audit: it was detached or dropped"]
    place.rows(way_out(str(told.value)))
    assert place.attached() == before
    assert place.found() == []
    assert partitions.gaps(place.admin) == []
    assert place.again()
    assert place.api.read(place.token, made.subject, "account", ["name"], "provide", "integration")


def test_one_that_is_written_and_was_dropped_is_made_anew(place: Place) -> None:
    """The entries are gone from the table and stay in the sealed log: that is a finding there. What is done from here on has its entry."""
    made = place.person()
    place.sealed()
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old; DROP TABLE vault.audit_old")
    with pytest.raises(Unavailable):
        place.person()
    last = place.last()
    assert place.again()
    assert {"audit_000000", "audit_000001"} <= place.attached()
    assert place.api.read(place.token, made.subject, "account", ["name"], "provide", "integration")
    assert place.rows("SELECT min(audit_id) FROM vault.audit")[0][0] > last - 1
    ((guards,),) = place.rows(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'vault.audit_000000'::regclass AND tgname = 'keep'"
    )
    assert guards == 1
    assert place.rows("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'vault.audit_000000'::regclass") == [("armonika_store",)]  # fmt: skip
    with place.admin.transaction():
        (first,) = DatabaseRows(place.admin).rows(0, 1)[:1]
    assert first["audit_id"] is None, "what `audit verify` then names as missing"


def test_an_older_one_that_is_missing_stops_nothing_and_is_said(place: Place) -> None:
    made = place.person()
    place.rows(f"SELECT setval('vault.audit_number', {2 * WIDTH + 7})")
    place.person()
    place.sealed()
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old")
    assert partitions.extend(place.admin) >= 1, "room is made ahead as always"
    assert place.again()
    assert place.person()
    held = place.verifier.describe(place.verifier.service, made.subject, "legal", "verification")
    assert [(one.field, one.written_at) for one in held] == [(name, None) for name in ("name", "email", "company", "role")]
    (gap,) = partitions.gaps(place.admin)
    assert gap == Gap(0, 2 * WIDTH, "audit_old")
    (said,) = place.found()
    assert said.startswith(f"the numbers 0 to {2 * WIDTH - 1} are in no partition")
    place.rows(way_out(gap.words()))
    assert partitions.gaps(place.admin) == []
    assert place.found() == []
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old; DROP TABLE vault.audit_old")
    assert [one.beside for one in partitions.gaps(place.admin)] == [None, None]
    assert "dropped" in partitions.gaps(place.admin)[0].words()
    assert partitions.extend(place.admin) == 0, "nothing is put where nothing is written"


def test_all_of_them_and_one_in_the_middle(place: Place) -> None:
    place.person()
    for number in (2 * WIDTH + 5, 3 * WIDTH + 5):
        place.rows(f"SELECT setval('vault.audit_number', {number})")
        partitions.extend(place.admin)
        place.person()
    names = sorted(place.attached())
    for name in names:
        place.rows(f"ALTER TABLE vault.audit DETACH PARTITION vault.{name}")
    assert [(gap.first, gap.end, gap.beside) for gap in partitions.gaps(place.admin)] == [
        (0, 2 * WIDTH, "audit_old"),
        (2 * WIDTH, 3 * WIDTH, "audit_000002"),
        (3 * WIDTH, 4 * WIDTH, "audit_000003"),
    ]
    with pytest.raises(PartitionError, match="nothing done"):
        partitions.extend(place.admin)
    for gap in partitions.gaps(place.admin):
        place.rows(way_out(gap.words()))
    partitions.extend(place.admin)
    assert partitions.gaps(place.admin) == []
    assert place.rows("SELECT count(*) FROM vault.audit WHERE operation = 4 AND granted AND door = 'api'") == [(3,)]
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_000002")
    assert [gap.beside for gap in partitions.gaps(place.admin)] == ["audit_000002"]
    assert place.person()


def test_empty_ones_ahead_are_made_anew_beside_what_stands_there(place: Place) -> None:
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_000002")
    with pytest.raises(psycopg.errors.CheckViolation), place.admin.transaction():
        place.rows(f"INSERT INTO vault.audit SELECT {2 * WIDTH + 1}, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id FROM vault.audit LIMIT 1")  # fmt: skip
    assert partitions.extend(place.admin) == 1
    assert "audit_000002_2" in place.attached()
    assert place.rows("SELECT to_regclass('vault.audit_000002') IS NOT NULL") == [(True,)], "what somebody left stays as it is"


def test_what_else_is_wrong_with_the_table_is_typed(place: Place) -> None:
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_000002; DROP TABLE vault.audit_000002")
    place.rows("CREATE TABLE vault.audit_rest PARTITION OF vault.audit DEFAULT")
    place.rows(f"INSERT INTO vault.audit SELECT {2 * WIDTH + 1}, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id FROM vault.audit LIMIT 1")  # fmt: skip
    with pytest.raises(PartitionError, match="cannot be looked after"):
        partitions.extend(place.admin)
    place.rows("DROP TABLE vault.audit CASCADE")
    for call in (lambda: partitions.extend(place.admin), lambda: partitions.gaps(place.admin)):
        with pytest.raises(PartitionError, match="does not exist"):
            call()
    with pytest.raises(MigrationError, match="is gone"):
        place.again()


def test_the_rounds_say_it_once_and_go_on(place: Place) -> None:
    said: list[str] = []
    rounds = Rounds(cast("Any", SimpleNamespace()), said.append)
    rounds._room(place.admin)
    assert said == []
    place.rows("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old")
    for _ in range(3):
        rounds._room(place.admin)
    (words,) = said
    assert "No entry can be written" in words
    place.rows(way_out(words))
    rounds._room(place.admin)
    assert said[1:] == ["armonika: The audit log is in its partitions again."]
