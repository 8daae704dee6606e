"""Entries of the sealed log that a restored copy takes back, and the entry of the restore."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from armonika.trust.audit import entry
from armonika.trust.audit.tree import leaf_hash
from tests.vault.stage import Stage
from tests.vault.undone import refused, rows, undone

IMPORT = "SELECT vault.import_entries(%s, %s::jsonb, %s::bytea[])"
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entries(stage: Stage) -> list[dict[str, Any]]:
    """Two entries as the sealed log holds them: with everything, and, under a former policy, with what an entry has at least."""
    sha256, first = stage.value("SELECT sha256 FROM vault.policy_version WHERE policy_id = %s", stage.policy), stage.last() + 1000
    rich = (
        first, THEN, "correct", "granted", "api", uuid4(), "integration", uuid4(), uuid4(), "account", ["name", "email"], "provide", "integration", "A-1", sha256,
    )  # fmt: skip
    bare = (
        first + 1,
        THEN,
        "key-suspend",
        "refused",
        "administrator",
        uuid4(),
        "keeper",
        None,
        None,
        None,
        [],
        None,
        None,
        None,
        "f" * 64,
    )
    return [json.loads(entry.encode(row)) for row in (rich, bare)]


def numbered(stage: Stage, table: str, name: str) -> int:
    return int(stage.value(f"SELECT id FROM vault.{table} WHERE name = %s", name))


def test_entries_that_a_copy_lost_come_back_as_they_were(stage: Stage) -> None:
    with undone(stage):
        size, given = stage.value("SELECT size FROM vault.seal_state"), entries(stage)
        hashes = [leaf_hash(json.dumps(one).encode()) for one in given]
        rows(stage, "UPDATE vault.seal_state SET pending_xact = '1'")
        assert rows(stage, IMPORT, size, json.dumps(given), hashes) == [(size + 2,)]
        found = rows(
            stage,
            "SELECT audit_id, at, xact = pg_current_xact_id(), operation, granted, door, actor::text, role, subject::text, record::text, dataset, fields, purpose, reason, reference, policy_id "
            "FROM vault.audit WHERE audit_id >= %s ORDER BY 1",
            given[0]["audit_id"],
        )
        rich, bare = given
        assert found == [
            (
                rich["audit_id"], THEN, True, 5, True, "api", rich["actor"], numbered(stage, "role", "integration"), rich["subject"], rich["record"], stage.account.id,
                stage.name | stage.email, stage.provide, stage.reason, "A-1", stage.policy,
            ),
            (bare["audit_id"], THEN, True, 19, False, "administrator", bare["actor"], numbered(stage, "role", "keeper"), None, None, None, 0, 0, 0, None, -1),
        ]  # fmt: skip
        assert rows(stage, "SELECT leaf_no, audit_id, leaf_hash FROM vault.leaf WHERE leaf_no >= %s ORDER BY 1", size) == [
            (size + n, one["audit_id"], hashes[n]) for n, one in enumerate(given)
        ]
        assert rows(stage, "SELECT size, pending_xact FROM vault.seal_state") == [(size + 2, None)]


def test_entries_come_back_at_the_end_of_the_tree_alone_and_under_a_policy_that_is_there(stage: Stage) -> None:
    with undone(stage):
        size, given = stage.value("SELECT size FROM vault.seal_state"), entries(stage)
        hashes = [leaf_hash(json.dumps(one).encode()) for one in given]
        state = (
            "SELECT (SELECT count(*) FROM vault.audit), (SELECT count(*) FROM vault.leaf), (SELECT size FROM vault.seal_state)"
        )
        before = rows(stage, state)
        for first, some in ((size - 1, hashes), (size + 1, hashes), (size, hashes[:1]), (size, hashes * 2)):
            assert refused(stage, IMPORT, first, json.dumps(given), some) == "AR409"
        with pytest.raises(psycopg.Error, match=r"policy version 9+ is not installed") as unknown:
            rows(stage, IMPORT, size, json.dumps([given[0], given[1] | {"policy": "9" * 64}]), hashes)
        assert unknown.value.sqlstate == "AR422"
        assert rows(stage, state) == before
        # What the copy still has stays as it is, and gets its leaf.
        kept = stage.last()
        shown = "SELECT to_jsonb(a) FROM vault.audit a WHERE audit_id = %s"
        was = rows(stage, shown, kept)
        rows(stage, "SET LOCAL session_replication_role = replica")
        rows(stage, "DELETE FROM vault.leaf WHERE audit_id = %s", kept)
        assert refused(stage, IMPORT, size, json.dumps([given[0] | {"audit_id": kept}]), hashes[:1]) == "AR409", (
            "another of its number"
        )
        assert rows(stage, IMPORT, size, json.dumps([given[0] | {"audit_id": kept, "at": was[0][0]["at"]}]), hashes[:1]) == [
            (size + 1,)
        ]
        assert rows(stage, shown, kept) == was


def test_a_restore_is_written_down_by_the_newest_keeper_that_is_there(stage: Stage) -> None:
    with undone(stage):
        rows(
            stage,
            "UPDATE vault.session SET created_at = created_at - interval '1 day' WHERE kind = 'service' AND door = 'keeper'",
        )
        for door, kind, more in (
            ("keeper", "service", "interval '2 days'"), ("keeper", "service", "interval '1 hour'"), ("keeper", "service", "interval '3 days'"),
            ("keeper", "token", "interval '0'"), ("site", "service", "interval '0'"),
        ):  # fmt: skip
            stage.session(door, kind, created_at=f"clock_timestamp() - {more}")
        ended_one = stage.session("keeper", "service", revoked_at="clock_timestamp()")
        newest = stage.value("SELECT actor FROM vault.session WHERE role = %s AND door = 'keeper' AND kind = 'service' AND secret_hash <> %s ORDER BY created_at DESC LIMIT 1", stage.role, ended_one)  # fmt: skip
        last = stage.last()
        ((number,),) = rows(stage, "SELECT vault.note_restore()")
        assert number > last
        assert stage.entries(last) == [
            (18, True, "administrator", newest, stage.role, None, None, None, 0, 0, 0, None, stage.policy)
        ]
