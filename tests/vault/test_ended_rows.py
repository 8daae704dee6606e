"""What ended, as the register outside the database is given it and gives it back; entries that a restored copy takes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust.audit import entry
from armonika.trust.audit.tree import leaf_hash
from tests.vault.stage import Stage
from tests.vault.undone import record, refused, rows, undone
from tests.vault.words import dependents, furnished

WAITING = "SELECT * FROM vault.unregistered(%s)"
AGAIN = "SELECT vault.replay_ended(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
IMPORT = "SELECT vault.import_entries(%s, %s::jsonb, %s::bytea[])"
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = 900_000_000


def ended(stage: Stage, whom: UUID) -> list[tuple[Any, ...]]:
    return rows(
        stage,
        "SELECT ended_no, at, record_id, compartment, epoch, audit_id, registered, records, kept FROM vault.ended WHERE subject_id = %s ORDER BY 1",
        whom,
    )


def person(stage: Stage, whom: UUID) -> tuple[Any, ...]:
    """(state, has an organisation) and the tombstone."""
    found = rows(stage, "SELECT state, org_id IS NOT NULL FROM vault.subject WHERE subject_id = %s", whom)
    return *found[0], rows(stage, "SELECT erased_at, audit_id, records FROM vault.tombstone WHERE subject_id = %s", whom)


def again(
    stage: Stage, whom: UUID, which: UUID | None = None, gone: int | None = None, kept: int | None = None, **more: Any
) -> bool:
    words = {"number": NUMBER, "at": THEN, "whom": whom, "which": which, "of": "account", "epoch": 3, "entry": 17} | more
    ((done,),) = rows(stage, AGAIN, *words.values(), gone, kept)
    return bool(done)


def test_what_ended_waits_for_the_register_in_the_order_of_its_numbers(stage: Stage) -> None:
    stage.allow(6)
    secret, whole, part = stage.session(), stage.person(), stage.person()
    with undone(stage):
        rows(stage, "UPDATE vault.ended SET registered = true")
        assert rows(stage, WAITING, 100) == []
        (gone,) = rows(stage, "SELECT * FROM vault.erase_records(%s, %s::smallint, %s::smallint, NULL, %s, %s)", secret, stage.provide, stage.reason, [part.subject], [part.record], door="api")  # fmt: skip
        (erased,) = rows(stage, "SELECT * FROM vault.erase(%s, %s::smallint, %s::smallint, NULL, %s)", secret, stage.provide, stage.reason, [whole.subject], door="api")  # fmt: skip
        epoch = stage.value("SELECT epoch FROM vault.epoch e WHERE e.compartment = %s AND e.state = 'active'", compartment(stage))
        found = rows(stage, WAITING, 100)
        assert [row[2:] for row in found] == [
            (part.subject, part.record, "account", epoch, gone[1], None, None),
            (whole.subject, whole.record, "account", epoch, erased[1], None, None),
            (whole.subject, None, None, None, erased[1], 1, 0),
        ]
        assert [row[:2] for row in found] == [
            row[:2] for row in rows(stage, "SELECT ended_no, at FROM vault.ended WHERE NOT registered ORDER BY 1")
        ]
        assert [rows(stage, WAITING, most) for most in (2, 0)] == [found[:2], []]
        rows(stage, "SELECT vault.mark_registered(%s::bigint[])", [found[0][0], found[2][0]])
        assert rows(stage, WAITING, 100) == found[1:2]
        rows(stage, "SELECT vault.mark_registered('{}')")
        assert rows(stage, WAITING, 100) == found[1:2]
        rows(stage, "INSERT INTO vault.ended (subject_id, audit_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10001)")
        assert rows(stage, "SELECT count(*) FROM vault.unregistered(1000000)") == [(10000,)]


def compartment(stage: Stage) -> int:
    return int(stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id))


def test_one_record_ends_again_alone(stage: Stage) -> None:
    made, other = furnished(stage, uuid4()), stage.person()
    with undone(stage):
        second, before = record(stage, made.subject), dependents(stage, made.subject)
        namesake = record(stage, other.subject, number=made.record)
        assert again(stage, made.subject, made.record)
        assert rows(stage, "SELECT 1 FROM vault.record WHERE subject_id = %s AND record_id = %s", other.subject, namesake)
        assert rows(stage, "SELECT record_id FROM vault.record WHERE subject_id = %s", made.subject) == [(second,)]
        assert ended(stage, made.subject) == [(NUMBER, THEN, made.record, compartment(stage), 3, 17, True, None, None)]
        assert person(stage, made.subject) == ("active", True, [])
        assert dependents(stage, made.subject) == (1, 1, 0, *before[3:]), "who stays keeps the sign-in"
        assert not again(stage, made.subject, made.record), "the same again changes nothing"
        assert len(ended(stage, made.subject)) == 1
        # Another line is not the same, whatever it shares with one that is there.
        assert again(stage, made.subject, second, number=NUMBER + 1)
        for words in ((made.subject, second), (made.subject, None), (other.subject, made.record)):
            with pytest.raises(psycopg.errors.UniqueViolation):
                again(stage, *words)
        assert not again(stage, made.subject, second, number=NUMBER + 1)
        assert again(stage, other.subject, other.record, number=NUMBER + 2, of="nowhere")
        assert ended(stage, other.subject)[0][3] is None
        assert person(stage, made.subject) == ("active", True, []), "a tombstone comes with the line of the person"


@pytest.mark.parametrize(("gone", "kept", "left"), [(2, 0, 0), (1, 1, 2), (None, None, 2)])
def test_a_person_ends_again_with_what_the_law_keeps(stage: Stage, gone: int | None, kept: int | None, left: int) -> None:
    made, other = furnished(stage, uuid4()), furnished(stage, uuid4())
    with undone(stage):
        record(stage, made.subject)
        untouched = dependents(stage, other.subject)
        assert again(stage, made.subject, None, gone, kept, of=None, epoch=None)
        assert ended(stage, made.subject) == [(NUMBER, THEN, None, None, None, 17, True, gone, kept)]
        assert dependents(stage, made.subject)[0] == left
        assert dependents(stage, made.subject)[3:] == (0, 0, 1), "nobody signs in as this person; the service session stays"
        assert person(stage, made.subject) == (("restricted", True, []) if left else ("erased", False, [(THEN, 17, 2)]))
        assert not again(stage, made.subject, None, gone, kept)
        assert (dependents(stage, other.subject), person(stage, other.subject)) == (untouched, ("active", True, []))
        assert again(stage, other.subject, None, None, 0, number=NUMBER + 1)
        assert person(stage, other.subject) == ("erased", False, [(THEN, 17, 0)])
        # A copy that has the tombstone, but not the line, takes the line.
        assert again(stage, other.subject, None, 5, 0, number=NUMBER + 2)
        assert person(stage, other.subject)[2] == [(THEN, 17, 0)]


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
        assert rows(stage, IMPORT, size, json.dumps([given[0] | {"audit_id": kept}]), hashes[:1]) == [(size + 1,)]
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
