"""The audit log in partitions: numbers stay unique, room is made ahead, and a database of the release before is moved while it holds rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store import migrate as migrations
from armonika.store import partitions
from armonika.trust.keys.provision import issue_token, provision
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors

COLUMNS = (
    "at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id"
)


def test_room_is_made_ahead_and_only_once(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    with doors.admin() as admin:
        assert partitions.extend(admin) == 0
        with admin.transaction(force_rollback=True):
            monkeypatch.setattr(partitions, "AHEAD", 8)
            assert partitions.extend(admin) >= 6
            assert partitions.extend(admin) == 0
            row = admin.execute(f"INSERT INTO vault.audit SELECT 7 * {partitions.WIDTH} + 1, {COLUMNS} FROM vault.audit LIMIT 1 RETURNING tableoid::regclass::text".encode()).fetchone()  # fmt: skip
            assert row == ("vault.audit_000007",)
            with pytest.raises(psycopg.DatabaseError, match="never changed"), admin.transaction():
                admin.execute("DELETE FROM vault.audit_000007")


def test_a_number_stands_once_in_all_partitions_and_nothing_goes_beyond_the_last(doors: Doors) -> None:
    doors.person()
    with doors.admin() as admin:
        some = f"SELECT audit_id, {COLUMNS} FROM vault.audit ORDER BY audit_id LIMIT 1"
        with pytest.raises(psycopg.errors.UniqueViolation):
            admin.execute(f"INSERT INTO vault.audit {some}".encode())
        with pytest.raises(psycopg.errors.CheckViolation):
            admin.execute(
                f"INSERT INTO vault.audit SELECT 1000::bigint * {partitions.WIDTH}, {COLUMNS} FROM vault.audit LIMIT 1".encode()
            )


def test_a_ticket_is_looked_for_in_its_partition_alone(doors: Doors) -> None:
    with doors.admin() as admin:
        admin.execute("SET plan_cache_mode = force_generic_plan")
        admin.execute("PREPARE one(bigint) AS SELECT 1 FROM vault.audit WHERE audit_id = $1")
        plan = "\n".join(
            str(line) for (line,) in admin.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE one(5)")
        )
    assert plan.count("Index") >= 1
    assert "Subplans Removed" in plan or plan.count("Scan") == 1, plan


def test_the_release_before_is_taken_over_with_its_rows(server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database whose log is not partitioned yet and has rows becomes this one; every entry is still there, and writing goes on.
    The keys, and so the doors' passwords, are those of the server's own database."""
    admin = server.admin_dsn  # type: ignore[attr-defined]
    other = make_conninfo(admin, dbname="armonika_before")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS armonika_before WITH (FORCE)")
        connection.execute("CREATE DATABASE armonika_before")
    try:
        old = tmp_path / "sql"
        (old / "migrations").mkdir(parents=True)
        for path in (migrations.SQL / "migrations").glob("*.sql"):
            if "_audit_" not in path.stem:
                shutil.copy(path, old / "migrations")
        (old / "functions").symlink_to(migrations.SQL / "functions")
        keys = server.home / "keys"  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "SQL", old)
            patch.setattr(partitions, "extend", lambda connection: 0)
            held = provision(keys, other, catalogue(policy.load()))
        token = secret_hash(issue_token(other, label="before"))
        vault = Vault.open(held.credentials("api"), make_conninfo(server.dsn, dbname="armonika_before"), size=2)  # type: ignore[attr-defined]
        new = NewRecord(
            "account",
            {"name": "N", "email": "before@org.example", "company": "C", "role": "R"},
            "organisation",
            kind="customer_user",
        )
        (made,) = vault.create(token, "provide", "integration", [new])
        with psycopg.connect(other, autocommit=True) as connection:
            entries = connection.execute("SELECT * FROM vault.audit ORDER BY audit_id").fetchall()
        provision(keys, other, catalogue(policy.load()))
        with psycopg.connect(other, autocommit=True) as connection:
            assert (
                connection.execute("SELECT * FROM vault.audit ORDER BY audit_id LIMIT %s", (len(entries),)).fetchall() == entries
            )
            kinds = dict(
                connection.execute(
                    "SELECT relname, relkind::text FROM pg_class WHERE relname IN ('audit', 'audit_old')"
                ).fetchall()
            )
        assert kinds == {"audit": "p", "audit_old": "r"}
        (record,) = vault.read(token, made.subject, "account", ["name"], "provide", "integration")
        assert record.values == {"name": "N"}
        with psycopg.connect(other, autocommit=True) as connection:
            partitions.extend(connection)
            connection.execute("SELECT setval('vault.audit_number', %s)", (2 * partitions.WIDTH - 3,))
            read = [vault.read(token, made.subject, "account", ["name"], "provide", "integration")[0].ticket for _ in range(5)]
            assert read[0] < 2 * partitions.WIDTH < read[-1], "tickets on both sides of the end of a partition are taken"
            assert (
                len({row[0] for row in connection.execute("SELECT tableoid FROM vault.audit WHERE audit_id = ANY (%s)", (read,))})
                == 2
            )
        vault.close()
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS armonika_before WITH (FORCE)")


def test_an_index_that_was_not_finished_is_made_anew(server: object) -> None:
    """kill -9 in the middle of CREATE INDEX CONCURRENTLY leaves an index that nobody uses."""
    admin = server.admin_dsn  # type: ignore[attr-defined]
    name = "0008_pre_retention_index_concurrently"
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'vault.record_recorded'::regclass"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("SET allow_system_table_mods = on")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'vault.record_recorded'::regclass")
        connection.execute("DELETE FROM armonika_meta.migration WHERE name = %s", (name,))
        assert connection.execute(valid).fetchone() == (False,)
    done = provision(server.home / "keys", admin, catalogue(policy.load()))  # type: ignore[attr-defined]
    assert done.migration.applied == (name,)
    with psycopg.connect(admin, autocommit=True) as connection:
        assert connection.execute(valid).fetchone() == (True,)


def test_no_index_but_the_persons_own_can_draw_a_reads_plan_to_itself(doors: Doors) -> None:
    """While a table has no statistics, a plan takes any index on a column that it compares: one led by the dataset made each read go through all of it."""
    leading = (
        "SELECT i.indrelid::regclass::text, a.attname FROM pg_index i LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        "WHERE i.indrelid = ANY (ARRAY['vault.record', 'vault.data_key']::regclass[])"
    )
    with doors.admin() as admin:
        found = admin.execute(leading).fetchall()
    assert {name for _, name in found} == {"subject_id", None}, "None: an expression, which only who writes it can use"
