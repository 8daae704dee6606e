"""What a keeper's page locks, and in which order: the keys and look-ups of its own page, after what an erasure and a correction lock first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.vault.ground import Ground, Person, Rounds, digest
from tests.vault.stage import Stage
from tests.vault.test_erase_races import waiting_for
from tests.vault.undone import record, rows

KEY = "SELECT FROM vault.data_key WHERE subject_id = %s AND record_id = %s FOR UPDATE"
RECORD = "SELECT FROM vault.record WHERE subject_id = %s AND record_id = %s FOR UPDATE"
LOOKUP = "SELECT FROM vault.lookup WHERE subject_id = %s AND record_id = %s FOR UPDATE"
EPOCH = "SELECT FROM vault.epoch WHERE compartment = %s FOR UPDATE"
ROTATION = "SELECT FROM vault.rotation FOR UPDATE"


def free(stage: Stage, probe: str, *given: object) -> bool:
    """Whether nobody holds a row."""
    try:
        rows(stage, f"{probe} NOWAIT", *given)
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def while_waiting(stage: Stage, call: Callable[[], Any], look: Callable[[], bool], held: str, *given: object) -> bool:
    """What is seen while a call waits for what somebody holds; afterwards the call ends."""
    with stage.doors.admin() as holder, ThreadPoolExecutor(1) as pool:
        with holder.transaction(force_rollback=True):
            holder.execute(held.encode(), given)
            waiting = pool.submit(call)
            waiting_for(stage.doors, 1)
            seen = look()
        waiting.result(10)
    return seen


def rewrap(rounds: Rounds, *people: Person) -> int:
    columns: list[tuple[Any, str]] = [([person[at] for person in people], "uuid[]") for at in (0, 1)]
    count = len(people)
    given = (*columns, ([1] * count, "int[]"), ([2] * count, "int[]"), ([b"k"] * count, "bytea[]"))
    return int(rounds.call("rewrap", *given)[0][0])


def redigest(rounds: Rounds, ground: Ground, *people: Person) -> int:
    count = len(people)
    columns: list[tuple[Any, str]] = [([person[at] for person in people], "uuid[]") for at in (0, 1)]
    before, after = ([digest(base + n) for n in range(count)] for base in (1, 101))
    given = (
        ([ground.dataset] * count, "smallint[]"), ([1] * count, "smallint[]"), *columns, ([1] * count, "int[]"), (before, "bytea[]"), ([2] * count, "int[]"), (after, "bytea[]"),
    )  # fmt: skip
    return int(rounds.call("redigest", *given)[0][0])


def test_a_page_of_keys_is_locked_in_the_order_of_an_erasure(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    first, second = ground.people(2)
    seen = while_waiting(stage, lambda: rewrap(rounds, second, first), lambda: free(stage, KEY, *first), KEY, *second)
    assert not seen, "the first is held before the second is waited for"
    assert [ground.key(one)[0] for one in (first, second)] == [2, 2]  # type: ignore[index]


def test_a_page_of_keys_waits_for_no_other_key(stage: Stage, rounds: Rounds) -> None:
    ground, foreign = (rounds.ground(door).epochs(_1="retiring", _2="active") for door in ("keeper", "timpani"))
    mine, others = ground.record(1), ground.people(2)
    second = ground.record(1, person=mine[0])
    theirs = foreign.record(1)
    twin = (others[1][0], record(stage, others[1][0], ground.dataset, number=mine[1]))
    stage.rows("keeper", "SELECT set_config('lock_timeout', '300ms', false)")
    for held in (*others, second, theirs, twin):
        with stage.doors.admin() as holder, holder.transaction(force_rollback=True):
            holder.execute(KEY, held)
            assert rewrap(rounds, mine, theirs) == (1 if held == others[0] else 0), "once"


def test_a_page_of_keys_begins_when_the_one_before_is_written(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    person, other = ground.people(2)
    mine = "SELECT FROM vault.rotation WHERE door = 'keeper' FOR UPDATE"
    assert while_waiting(stage, lambda: rewrap(rounds, person), lambda: free(stage, KEY, *person), mine), "and holds no key"
    stage.rows("keeper", "SELECT set_config('lock_timeout', '300ms', false)")
    with stage.doors.admin() as holder, holder.transaction(force_rollback=True):
        holder.execute("SELECT FROM vault.rotation WHERE door = 'timpani' FOR UPDATE")
        assert rewrap(rounds, other) == 1, "another keeper's page is no matter"


def test_a_page_of_look_ups_holds_their_records_first(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    person, other = (ground.record(2, (1, 1, digest(number))) for number in (1, 2))
    seen = while_waiting(stage, lambda: redigest(rounds, ground, person), lambda: free(stage, LOOKUP, *person), RECORD, *person)
    assert seen, "an erasure that holds the record can still take its look-ups"
    assert len(ground.lookups()) == 3
    stage.rows("keeper", "SELECT set_config('lock_timeout', '300ms', false)")
    third = ground.record(2, person=person[0])
    twin = (other[0], record(stage, other[0], ground.dataset, number=person[1]))
    for held in (other, third, twin):
        with stage.doors.admin() as holder, holder.transaction(force_rollback=True):
            holder.execute(RECORD, held)
            assert redigest(rounds, ground, person) == 0, "what is there already stays, and waits for nobody"


@pytest.mark.parametrize("name", ["activate_epoch", "settle_epochs"])
def test_a_change_of_epochs_waits_for_a_page_that_is_being_written(stage: Stage, rounds: Rounds, name: str) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    calls: dict[str, Callable[[], Any]] = {
        "activate_epoch": lambda: stage.doors.admin().execute("SELECT vault.activate_epoch(%s, 3)", (ground.name,)),
        "settle_epochs": lambda: rounds.call("settle_epochs"),
    }
    assert while_waiting(stage, calls[name], lambda: free(stage, EPOCH, ground.id), ROTATION), "and holds no epoch meanwhile"
    assert UUID(int=0) == rounds.cursor()[0]
