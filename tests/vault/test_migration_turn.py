"""Migrations take turns by a lock that no door's role can hold, and say what keeps them waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.store import partitions, turn
from armonika.store.migrate import SQL, migrate
from armonika.store.turn import MigrationError
from armonika.trust.keys import Keyring
from armonika.trust.keys.provision import provision
from tests.doors import Doors


def again(doors: Doors) -> object:
    return provision(doors.server.home / "keys", doors.server.admin_dsn, catalogue(policy.load()))  # type: ignore[attr-defined]


def as_door(doors: Doors, door: str) -> psycopg.Connection[tuple[object, ...]]:
    held = doors.server.provisioned.credentials(door)  # type: ignore[attr-defined]
    return psycopg.connect(make_conninfo(doors.server.dsn, user=held.database_user, password=held.database_password))  # type: ignore[attr-defined]


def test_no_role_of_a_door_can_hold_up_a_migration(doors: Doors) -> None:
    with as_door(doors, "site") as held, pytest.raises(psycopg.errors.InsufficientPrivilege):
        held.execute("SELECT pg_advisory_lock(x'41524D4F'::int)")
    assert again(doors)
    assert jobs.install(doors.server.admin_dsn) is False  # type: ignore[attr-defined]
    with doors.admin() as admin:
        assert partitions.extend(admin) == 0
    for door in ("site", "console", "api", "worker", "sealer", "verifier", "keeper", "timpani", "retention"):
        for table in ("armonika_meta.migration", "vault.audit", "jobs.procrastinate_jobs"):
            for mode in ("SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"):
                if (door, table) == ("worker", "jobs.procrastinate_jobs"):
                    continue
                with as_door(doors, door) as one, pytest.raises(psycopg.errors.InsufficientPrivilege):
                    one.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())


def test_migrations_at_once_take_turns(doors: Doors) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: again(doors), range(4)))


def test_an_older_release_puts_nothing_into_the_database_of_a_newer_one(doors: Doors) -> None:
    with doors.admin() as admin:
        state = "SELECT name, sha256, applied_at FROM armonika_meta.migration ORDER BY name"
        admin.execute("INSERT INTO armonika_meta.migration (name, sha256) VALUES ('9999_of_tomorrow', 'x')")
        try:
            before = admin.execute(state).fetchall()
            with pytest.raises(MigrationError, match=r"newer release \(9999_of_tomorrow\)"):
                again(doors)
            assert admin.execute(state).fetchall() == before
        finally:
            admin.execute("DELETE FROM armonika_meta.migration WHERE name = '9999_of_tomorrow'")
    assert again(doors)


def test_two_first_starts_at_once_make_one_database(doors: Doors) -> None:
    """Of a database without anything in it: both try to make the table by which they take turns."""
    server = doors.server
    other = make_conninfo(server.admin_dsn, dbname="armonika_twice")  # type: ignore[attr-defined]
    ring = Keyring.open(server.home / "keys")  # type: ignore[attr-defined]
    with doors.admin() as admin:
        admin.execute("DROP DATABASE IF EXISTS armonika_twice WITH (FORCE)")
        admin.execute("CREATE DATABASE armonika_twice")
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: migrate(other, ring.database_passwords(), ring.keyring_id), range(4)))
        assert sorted(bool(one.applied) for one in done) == [False, False, False, True]
    finally:
        with doors.admin() as admin:
            admin.execute("DROP DATABASE IF EXISTS armonika_twice WITH (FORCE)")


def test_the_table_of_turns_is_made_once_by_eight_at_the_same_moment(doors: Doors) -> None:
    """Rounds, because only one in eight hits the moment between the server's look for the table and its look for the table's type."""
    server, together = doors.server, Barrier(8)
    other = make_conninfo(server.admin_dsn, dbname="armonika_eight")  # type: ignore[attr-defined]

    def first(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        together.wait(30)
        turn.make_table(connection)

    for _ in range(16):
        with doors.admin() as admin:
            admin.execute("DROP DATABASE IF EXISTS armonika_eight WITH (FORCE)")
            admin.execute("CREATE DATABASE armonika_eight")
        with ExitStack() as held, ThreadPoolExecutor(8) as pool:
            list(pool.map(first, [held.enter_context(psycopg.connect(other, autocommit=True)) for _ in range(8)]))
    with doors.admin() as admin:
        admin.execute("DROP DATABASE armonika_eight WITH (FORCE)")


def test_who_waits_in_vain_is_told_why(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "TURN_SECONDS", 1)
    with psycopg.connect(doors.server.admin_dsn) as other:  # type: ignore[attr-defined]
        other.execute("LOCK TABLE armonika_meta.migration IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(MigrationError, match="Another start"):
            again(doors)
        other.rollback()
        other.execute("LOCK TABLE ONLY vault.audit IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(MigrationError, match="stays open"):
            again(doors)
    assert again(doors)


def test_a_start_holds_no_table_that_is_as_it_should_be(doors: Doors) -> None:
    """Whoever uses or analyses a table is not waited for, and so cannot wait for the start in turn."""
    with doors.admin() as admin, admin.transaction(force_rollback=True):
        admin.execute("SET LOCAL check_function_bodies = off")
        admin.execute((SQL / "functions" / "grants.sql").read_bytes())
        held = admin.execute("SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock' AND relation::regclass::text LIKE 'vault.%'").fetchall()  # fmt: skip
        assert held == []
        admin.execute(
            "GRANT SELECT ON vault.session TO PUBLIC; ALTER TABLE vault.subject OWNER TO CURRENT_USER; DROP TABLE pg_temp.door_grant"
        )
        admin.execute((SQL / "functions" / "grants.sql").read_bytes())
        owner = admin.execute("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'vault.subject'::regclass").fetchone()
        public = admin.execute("SELECT count(*) FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = 'vault.session'::regclass AND x.grantee = 0").fetchone()  # fmt: skip
        assert (owner, public) == (("armonika_store",), (0,))
