"""Epochs as the administrator changes them: which is written, what a change writes down, and what is refused (docs/security/keys.md)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.vault.ground import KEEPERS, Ground, Rounds
from tests.vault.stage import Stage

ACTIVATED, SUSPENDED, DESTROYED = 17, 19, 21


def done(ground: Ground, name: str, number: int, of: str | None = None) -> Any:
    return ground.stage.value(f"SELECT vault.{name}(%s, %s)", of or ground.name, number)


def refusal(ground: Ground, name: str, number: int) -> str | None:
    with pytest.raises(psycopg.Error) as caught:
        done(ground, name, number)
    return caught.value.sqlstate


def entry(stage: Stage, ground: Ground, operation: int, number: int) -> tuple[Any, ...]:
    """What is written down: the keeper's service did it, through the administrator."""
    ((actor, role),) = stage.admin.execute(
        "SELECT actor, role FROM vault.session WHERE kind = 'service' AND door = 'keeper' AND revoked_at IS NULL"
    ).fetchall()
    reference = f"KEY-{ground.id}{number:05d}"
    return (operation, True, "administrator", actor, role, None, None, None, 0, 0, 0, reference, stage.policy)


def test_the_first_epoch_is_made_known_once(stage: Stage, rounds: Rounds) -> None:
    other, ground = rounds.ground().epochs(_1="active"), rounds.ground()
    before = stage.value("SELECT count(*) FROM vault.epoch")
    assert done(ground, "install_epoch", 1, "no such compartment") is False
    assert stage.value("SELECT count(*) FROM vault.epoch") == before
    assert done(ground, "install_epoch", 3) is True
    assert done(ground, "install_epoch", 4) is False
    assert (ground.states(), other.states()) == ({3: "active"}, {1: "active"})


def test_one_epoch_is_written_and_the_one_before_retires(stage: Stage, rounds: Rounds) -> None:
    other, ground = rounds.ground().epochs(_12="active"), rounds.ground().epochs(_1="retired", _2="emptied", _3="active")
    last, aged = (
        stage.last(),
        "SELECT count(*) FROM vault.epoch WHERE compartment = %s AND changed_at > %s AND changed_xact > %s::xid8",
    )
    stage.admin.execute("UPDATE vault.epoch SET changed_at = '2020-01-01' WHERE compartment = %s", (ground.id,))
    now = stage.value("SELECT clock_timestamp()")
    transaction = stage.value("SELECT pg_current_xact_id()::text")
    assert done(ground, "activate_epoch", 4) is True
    assert ground.states() == {1: "retired", 2: "emptied", 3: "retiring", 4: "active"}
    assert stage.value(aged, ground.id, now, transaction) == 2, "the time of both changes, and of no other"
    assert stage.entries(last) == [entry(stage, ground, ACTIVATED, 4)]
    last = stage.last()
    assert done(ground, "activate_epoch", 4) is False, "the same again changes nothing"
    assert done(ground, "activate_epoch", 5, "no such compartment") is False
    assert refusal(ground, "activate_epoch", 3) == "AR409", "a later epoch was active already"
    assert ground.states() == {1: "retired", 2: "emptied", 3: "retiring", 4: "active"}
    assert (stage.entries(last), other.states()) == ([], {12: "active"})
    # What was prepared beside a suspended one, and a suspended one that is written again.
    assert done(ground, "suspend_epoch", 4) is True
    assert done(ground, "activate_epoch", 4) is True
    assert ground.states()[4] == "active"
    assert done(ground, "suspend_epoch", 4) is True
    assert done(ground, "activate_epoch", 9) is True
    assert ground.states() == {1: "retired", 2: "emptied", 3: "retiring", 4: "retiring", 9: "active"}


def test_a_rotation_counts_what_each_keeper_has_to_move(stage: Stage, rounds: Rounds) -> None:
    ground, traffic = (
        rounds.ground("keeper").epochs(_1="retiring", _2="active"),
        rounds.ground("timpani").epochs(_2="retiring", _3="active"),
    )
    sealed, former = (
        rounds.ground().kept("keeper", "seal").epochs(_1="retiring"),
        rounds.ground().kept("keeper", policy=-1).epochs(_1="retiring"),
    )
    for one, epoch, count in (
        (ground, 1, 3),
        (ground, 2, 2),
        (traffic, 2, 1),
        (traffic, 1, 4),
        (traffic, 3, 2),
        (sealed, 1, 2),
        (former, 1, 2),
    ):
        one.people(count, epoch)
    person = ground.record(2)
    for door in KEEPERS:
        rounds.at(person, door)
    stage.admin.execute("UPDATE vault.rotation SET moved = 7, redigested = 8, total = 9, started_at = NULL")
    now = stage.value("SELECT clock_timestamp()")
    assert done(ground, "activate_epoch", 3) is True
    for door, total in (("keeper", 6), ("timpani", 1)):
        assert rounds.cursor(door) == (UUID(int=0), UUID(int=0), 0, 0)
        assert stage.value("SELECT total FROM vault.rotation WHERE door = %s AND started_at >= %s", door, now) == total


def test_nothing_is_written_under_a_suspended_epoch(stage: Stage, rounds: Rounds) -> None:
    ground, other = rounds.ground().epochs(_1="retiring", _2="active"), rounds.ground().epochs(_2="active")
    stage.admin.execute("UPDATE vault.epoch SET changed_at = '2020-01-01' WHERE compartment = %s", (ground.id,))
    last = stage.last()
    for number, name in ((1, None), (3, None), (2, "no such compartment")):
        assert done(ground, "suspend_epoch", number, name) is False
    assert stage.entries(last) == []
    assert done(ground, "suspend_epoch", 2) is True
    assert done(ground, "suspend_epoch", 2) is False
    assert (ground.states(), other.states()) == ({1: "retiring", 2: "suspended"}, {2: "active"})
    assert stage.entries(last) == [entry(stage, ground, SUSPENDED, 2)]
    assert stage.value("SELECT count(*) FROM vault.epoch WHERE compartment = %s AND changed_at > '2020-01-01'", ground.id) == 1


def test_a_destruction_is_written_down_when_nothing_is_left(stage: Stage, rounds: Rounds) -> None:
    ground, other = (
        rounds.ground().epochs(_1="retired", _2="emptied", _3="active"),
        rounds.ground().epochs(_1="active", _7="retiring"),
    )
    person = ground.record(1)
    ground.record(3)
    other.record(1)
    last = stage.last()
    for number in (1, 2, 3):
        assert refusal(ground, "note_destruction", number) == "AR409"
    assert stage.entries(last) == []
    stage.admin.execute("DELETE FROM vault.data_key WHERE record_id = %s", (person[1],))
    assert done(ground, "note_destruction", 1) == stage.last() > last
    assert done(ground, "note_destruction", 7), "of what was never written no row is there"
    assert stage.entries(last) == [entry(stage, ground, DESTROYED, number) for number in (1, 7)]
    ground.record(8)
    assert refusal(ground, "note_destruction", 8) == "AR409"


def test_changes_of_keys_are_the_newest_keepers(stage: Stage, rounds: Rounds) -> None:
    ground, last = rounds.ground().epochs(_1="active"), stage.last()
    wanted = entry(stage, ground, SUSPENDED, 1)
    for door, kind, columns in (
        ("keeper", "token", {}),
        ("timpani", "service", {}),
        ("keeper", "service", {"revoked_at": "clock_timestamp()"}),
        ("keeper", "service", {"created_at": "'2020-01-01'"}),
    ):
        stage.session(door, kind, **columns)
    done(ground, "suspend_epoch", 1)
    assert stage.entries(last) == [wanted]
    with stage.admin.transaction(force_rollback=True):
        stage.admin.execute("UPDATE vault.session SET revoked_at = clock_timestamp() WHERE kind = 'service' AND door = 'keeper'")
        assert refusal(ground, "note_destruction", 5) == "AR422", "an installation without a keeper"


def test_a_rotation_is_paused_for_every_keeper(stage: Stage, rounds: Rounds) -> None:
    for stop in (True, False):
        stage.value("SELECT vault.pause_rotation(%s)", stop)
        assert stage.value("SELECT array_agg(DISTINCT paused) FROM vault.rotation") == [stop]


def test_who_asks_sees_what_is_theirs_to_move(stage: Stage, rounds: Rounds) -> None:
    ground, traffic = (
        rounds.ground("keeper").epochs(_2="retiring", _10="active"),
        rounds.ground("timpani").epochs(_1="emptied", _2="retiring", _3="retired"),
    )
    rounds.ground().kept("keeper", "seal").kept("timpani", policy=-1).epochs(_1="retiring", _2="suspended")
    both = rounds.ground(*KEEPERS).epochs(_1="emptied")
    for door, numbers in (("keeper", (3, 7, 13)), ("timpani", (5, 11, 17))):
        stage.admin.execute("UPDATE vault.rotation SET moved = %s, total = %s, redigested = %s WHERE door = %s", (*numbers, door))
    stage.admin.execute("UPDATE vault.rotation SET paused = true WHERE door = 'timpani'")
    state = "SELECT paused, moved, total, redigested, retiring FROM vault.rotation_state()"
    assert stage.rows("keeper", state) == [(False, 3, 7, 13, 2)]
    assert stage.rows("timpani", state) == [(True, 5, 11, 17, 3)]
    assert stage.rows("verifier", state) == [(True, 8, 18, 30, 5)]
    rows = [
        row
        for row in stage.rows("keeper", "SELECT compartment, epoch, state, changed_at FROM vault.epochs()")
        if row[0].startswith("ground-")
    ]
    assert [row[:3] for row in rows if row[0] == ground.name] == [(ground.name, 2, "retiring"), (ground.name, 10, "active")]
    assert len(rows) == 8
    assert [row[:2] for row in rows] == sorted(row[:2] for row in rows)
    assert {row[:2] for row in rows} >= {(traffic.name, 3), (both.name, 1)}
