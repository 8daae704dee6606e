"""What a keeper does in the database, page by page, as its own role: keys that move, look-ups that are made anew, epochs that end."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust import crypto
from tests.vault.ground import KEEPERS, Ground, Person, Rounds, digest
from tests.vault.stage import Stage
from tests.vault.undone import record

START, RETIRED = (UUID(int=0), UUID(int=0)), 20


def stale(rounds: Rounds, most: int = 100, door: str = "keeper") -> list[tuple[Any, ...]]:
    return rounds.call("stale_keys", (most, "int"), door=door)


def rewrap(rounds: Rounds, people: list[Person], old: list[int], new: list[int]) -> int:
    """Each with its record's number, written twice, as its new key."""
    ((moved,),) = rounds.call(
        "rewrap", ([one for one, _ in people], "uuid[]"), ([one for _, one in people], "uuid[]"), (old, "int[]"), (new, "int[]"),
        ([one.bytes * 2 for _, one in people], "bytea[]"),
    )  # fmt: skip
    return int(moved)


def lookups(
    rounds: Rounds, after: tuple[int, int, int, bytes] = (0, 0, 0, b""), most: int = 100, door: str = "keeper"
) -> list[tuple[Any, ...]]:
    return rounds.call(
        "stale_lookups", *zip(after, ("smallint", "smallint", "int", "bytea"), strict=True), (most, "int"), door=door
    )


def redigest(
    rounds: Rounds, ground: Ground, *items: tuple[int, Person, int, bytes, int, bytes], dataset: int | None = None
) -> int:
    """Items of (ordinal, person, old epoch, old digest, new epoch, new digest)."""
    kinds = ("smallint[]", "uuid[]", "uuid[]", "int[]", "bytea[]", "int[]", "bytea[]")
    columns = [list(column) for column in zip(*((o, *person, *rest) for o, person, *rest in items), strict=True)]
    ((made,),) = rounds.call(
        "redigest", ([dataset or ground.dataset] * len(items), "smallint[]"), *zip(columns, kinds, strict=True)
    )
    return int(made)


def settle(rounds: Rounds, door: str = "keeper") -> int:
    """Twice: the first time a change is seen, the second time who did not see it has ended."""
    return sum(int(moved) for _ in range(2) for ((moved,),) in [rounds.call("settle_epochs", door=door)])


def settled(rounds: Rounds, door: str = "keeper") -> int:
    """As `settle`, a moment later when a transaction of the server's own is still open."""
    end = time.monotonic() + 5
    while not (moved := settle(rounds, door)) and time.monotonic() < end:
        time.sleep(0.05)
    return moved


def test_only_a_keeper_moves_anything(stage: Stage, rounds: Rounds) -> None:
    one = uuid4()
    calls: dict[str, list[tuple[Any, str]]] = {
        "stale_keys": [(1, "int")],
        "rewrap": [([one], "uuid[]"), ([one], "uuid[]"), ([1], "int[]"), ([2], "int[]"), ([b"k"], "bytea[]")],
        "stale_lookups": [(0, "smallint"), (0, "smallint"), (0, "int"), (b"", "bytea"), (1, "int")],
        "redigest": [
            ([], kind) for kind in ("smallint[]", "smallint[]", "uuid[]", "uuid[]", "int[]", "bytea[]", "int[]", "bytea[]")
        ],
        "settle_epochs": [],
    }
    administrator = stage.session("administrator", "service")
    secrets = {
        stage.session("keeper", "token"): "AR403",
        stage.session("api", "service"): "AR401",
        crypto.random_bytes(32): "AR401",
    }
    for name, words in calls.items():
        for secret, said in secrets.items():
            with pytest.raises(psycopg.Error) as caught:
                rounds.call(name, *words, secret=secret)
            assert caught.value.sqlstate == said
        for door in KEEPERS:
            rounds.call(name, *words, door=door)
        places = ", ".join(["%s", *(f"%s::{kind}" for _, kind in words)])
        with pytest.raises(psycopg.Error) as caught:
            stage.admin.execute(f"SELECT * FROM vault.{name}({places})".encode(), [administrator, *(word for word, _ in words)])
        assert caught.value.sqlstate == "AR403", "not even the administrator"


def test_a_page_of_keys_is_of_what_this_keeper_holds_behind_its_cursor(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="emptied", _4="suspended")
    people = ground.people(4)
    ground.people(1, 2)
    assert stale(rounds) == [], "there is no epoch to move to"
    ground.epochs(_4="retired", _5="active")
    traffic = rounds.ground("timpani").epochs(_1="retiring", _2="active")
    theirs = [traffic.record(1, kind=2)]
    for other in (rounds.ground().kept("keeper", "seal"), rounds.ground().kept("keeper", policy=-1), rounds.ground()):
        other.epochs(_1="retiring", _2="active").people(2)
    ground.people(2, 5)
    rows = stale(rounds)
    assert rows == [(*person, ground.name, 1, 5, 1, person[1].bytes) for person in people]
    assert stale(rounds, door="timpani") == [(*person, traffic.name, 1, 2, 2, person[1].bytes) for person in theirs]
    assert stale(rounds, 3) == rows[:3]
    rounds.at(people[1])
    rounds.at(theirs[0], "timpani")
    assert stale(rounds) == rows[2:]
    # Of two records of one person the second is behind the first.
    rounds.at(START)
    pair = sorted([ground.record(1, person=people[0][0]), people[0]])
    rounds.at(pair[0])
    assert [row[:2] for row in stale(rounds, 1)] == [pair[1]]
    stage.admin.execute("UPDATE vault.rotation SET paused = true WHERE door = 'keeper'")
    rounds.at(START)
    assert stale(rounds) == []
    assert stale(rounds, door="timpani") == []
    rounds.at(START, "timpani")
    assert len(stale(rounds, door="timpani")) == 1


def test_a_page_of_keys_is_written_with_its_cursor(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active", _3="retired")
    other = rounds.ground("keeper").epochs(_1="active", _2="retiring")
    rounds.ground("keeper").epochs(_3="active")
    first, second, third, late, gone = *(ground.record(1, kind=2) for _ in range(3)), ground.record(2), (uuid4(), uuid4())
    strange = other.record(1)
    moved = rewrap(rounds, [second, late, gone, first, strange, third], [1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 3])
    assert moved == 2
    assert [ground.key(one) for one in (first, second)] == [(2, 1, one[1].bytes * 2) for one in (first, second)]
    assert [ground.key(one) for one in (third, late)] == [(1, 2, third[1].bytes), (2, 1, late[1].bytes)], (
        "no active epoch; moved already"
    )
    assert other.key(strange) == (1, 1, strange[1].bytes), "active is the compartment's own"
    assert rounds.cursor() == (*third, 2, 0)
    assert rounds.cursor("timpani") == (*START, 0, 0)
    # A key is named by its person and its record.
    third_of = ground.record(1, person=third[0])
    assert rewrap(rounds, [(first[0], third[1]), (third[0], first[1]), third_of], [1, 1, 1], [2, 2, 2]) == 1
    assert (ground.key(third), ground.key(third_of)) == ((1, 2, third[1].bytes), (2, 1, third_of[1].bytes * 2))
    assert rounds.cursor()[2:] == (3, 0)


def test_look_ups_without_their_new_digest_are_given_in_the_order_of_the_index(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="retiring", _3="emptied", _4="active")
    rows: list[tuple[Any, ...]] = []
    for ordinal, epoch, digests in ((1, 1, (10, 20, 30, 40)), (1, 2, (5, 15)), (1, 3, (1,)), (2, 1, (7, 8)), (2, 4, (9,))):
        for number in digests:
            person = ground.record(4, (ordinal, epoch, digest(number)))
            if epoch < 3:
                rows.append((ground.dataset, ordinal, epoch, digest(number), *person, 4))
    other = rounds.ground("timpani").epochs(_1="active")
    for number in (1, 2, 3):
        other.record(1, (1, 1, digest(number)))
    done = rows[1][4:6]
    ground.look_up(done, (1, 4, digest(99)))  # type: ignore[arg-type]
    # None of these is the new look-up of another: of another field, another record, another epoch.
    ground.look_up(rows[0][4:6], (2, 4, digest(98)))  # type: ignore[arg-type]
    ground.look_up(rows[2][4:6], (1, 3, digest(97)))  # type: ignore[arg-type]
    again = ground.record(4, (1, 4, digest(96)), person=rows[3][4])
    assert again[0] == rows[3][4]
    twin = (rows[2][4], record(stage, rows[2][4], ground.dataset, number=rows[0][5]))
    ground.look_up(twin, (1, 4, digest(95)))
    del rows[1]
    wanted = sorted(rows)
    assert lookups(rounds) == wanted
    for page in (1, 2, 3):
        found, after = [], (0, 0, 0, b"")
        while more := lookups(rounds, after, page):
            assert len(more) <= page
            found += more
            after = more[-1][:4]
        assert found == wanted, page
    for most in (0, -1):
        assert lookups(rounds, most=most) == wanted[:1], "a page has one at least"
    assert lookups(rounds, (ground.dataset, 1, 2, digest(5))) == [row for row in wanted if row[1:4] > (1, 2, digest(5))]
    assert lookups(rounds, (ground.dataset, 2, 1, digest(8))) == []
    assert lookups(rounds, (ground.dataset + 1, 0, 0, b"")) == []
    assert lookups(rounds, (0, 0, 0, digest(255))) == wanted, "a digest counts where the cursor is"
    assert lookups(rounds, door="timpani") == []
    stage.admin.execute("UPDATE vault.rotation SET paused = true WHERE door = 'timpani'")
    assert lookups(rounds) == wanted
    stage.admin.execute("UPDATE vault.rotation SET paused = NOT paused")
    assert lookups(rounds) == []


def test_look_ups_of_another_compartment_are_another_keepers(stage: Stage, rounds: Rounds) -> None:
    mine, theirs = (rounds.ground(door).epochs(_1="retiring", _2="active") for door in ("keeper", "timpani"))
    waiting = rounds.ground("keeper").epochs(_1="retiring", _2="suspended")
    held = [one.record(2, (1, 1, digest(1))) for one in (mine, theirs, waiting)]
    rounds.ground("keeper").epochs(_5="active")
    assert lookups(rounds) == [(mine.dataset, 1, 1, digest(1), *held[0], 2)], "none without an epoch to move to, and into its own"
    assert lookups(rounds, door="timpani") == [(theirs.dataset, 1, 1, digest(1), *held[1], 2)]
    # A look-up of another dataset is not this one's.
    mine.look_up(held[0], (1, 2, digest(2)))
    assert lookups(rounds) == []
    stage.admin.execute("UPDATE vault.lookup SET dataset = %s WHERE dataset = %s AND epoch = 2", (theirs.dataset, mine.dataset))
    assert len(lookups(rounds)) == 1


def test_new_digests_are_added_where_the_old_one_still_stands(stage: Stage, rounds: Rounds) -> None:
    ground, other = (rounds.ground("keeper").epochs(_1="retiring", _2="active") for _ in range(2))
    first, second, third, erased = (
        ground.record(2, (1, 1, digest(1)), (2, 1, digest(1)), sole=True),
        ground.record(2, (1, 1, digest(2))),
        ground.record(2, (1, 1, digest(3))),
        (uuid4(), uuid4()),
    )
    elsewhere = other.record(2, (1, 1, digest(1)))
    before = sorted(ground.lookups())
    for wrong in (
        (1, first, 1, digest(9), 2, digest(11)),
        (1, first, 2, digest(1), 2, digest(11)),
        (2, second, 1, digest(2), 2, digest(11)),
        (1, second, 1, digest(1), 2, digest(11)),
        (1, (first[0], second[1]), 1, digest(1), 2, digest(11)),
        (1, (second[0], first[1]), 1, digest(1), 2, digest(11)),
        (1, erased, 1, digest(1), 2, digest(11)),
    ):
        assert redigest(rounds, ground, wrong) == 0
    assert redigest(rounds, ground, (1, first, 1, digest(1), 2, digest(11)), dataset=other.dataset) == 0
    assert sorted(ground.lookups()) == before
    assert (
        redigest(
            rounds,
            ground,
            (1, first, 1, digest(1), 2, digest(11)),
            (1, second, 1, digest(2), 2, digest(12)),
            (1, third, 1, digest(9), 2, digest(13)),
        )
        == 2
    )
    assert [row for row in sorted(ground.lookups()) if row not in before] == [
        (1, 2, digest(11), *first, True),
        (1, 2, digest(12), *second, False),
    ]
    assert redigest(rounds, ground, (1, first, 1, digest(1), 2, digest(11)), (1, third, 1, digest(3), 2, digest(13))) == 1, (
        "what is there already stays"
    )
    assert redigest(rounds, ground, (1, first, 1, digest(11), 2, digest(21))) == 0, "that one is of the new epoch"
    assert rounds.cursor() == (*START, 0, 3)
    assert rounds.cursor("timpani") == (*START, 0, 0)
    assert len(other.lookups()) == 1
    del elsewhere


@pytest.mark.parametrize("state", ["active", "suspended", "emptied", "retired"])
def test_a_keeper_spoils_no_key_that_does_not_move(stage: Stage, rounds: Rounds, state: str) -> None:
    """Neither another epoch nor another compartment that moves makes this one move."""
    ground = rounds.ground("keeper").epochs(_1=state, _3="retiring")
    rounds.ground("keeper").epochs(_1="retiring", _2="active")
    if state not in ("active", "suspended"):
        ground.epochs(_2="active")
    person = ground.record(1, (1, 1, digest(1)))
    before = ground.key(person)
    for new in (1, 2):
        assert rewrap(rounds, [person], [1], [new]) == 0
        assert redigest(rounds, ground, (1, person, 1, digest(1), new, digest(2))) == 0
    assert (ground.key(person), len(ground.lookups())) == (before, 1)


def test_a_keeper_touches_nothing_of_another_keepers(stage: Stage, rounds: Rounds) -> None:
    foreign = [rounds.ground("timpani"), rounds.ground().kept("keeper", "seal"), rounds.ground().kept("keeper", policy=-1)]
    for ground in foreign:
        ground.epochs(_1="retiring", _2="active")
        person = ground.record(1, (1, 1, digest(1)))
        before = ground.key(person)
        assert rewrap(rounds, [person], [1], [2]) == 0
        assert redigest(rounds, ground, (1, person, 1, digest(1), 2, digest(2))) == 0
        assert (ground.key(person), len(ground.lookups())) == (before, 1)


def test_a_look_up_moves_to_the_active_epoch_alone(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active", _3="retiring", _4="retired")
    rounds.ground("keeper").epochs(_5="active")
    person = ground.record(1, (1, 1, digest(1)))
    for new in (1, 3, 4, 5):
        assert redigest(rounds, ground, (1, person, 1, digest(1), new, digest(2))) == 0
    assert redigest(rounds, ground, (1, person, 1, digest(1), 2, digest(2))) == 1


def test_an_epoch_ends_when_nothing_is_left_for_it(stage: Stage, rounds: Rounds) -> None:
    ground, other = (rounds.ground("keeper").epochs(_1="retiring", _2="retired", _3="active") for _ in range(2))
    other.epochs(_1="active", _3="retired").record(1, (1, 1, digest(1)))
    person, bystander = ground.record(1, (1, 1, digest(1))), ground.record(3)
    # What somebody else's record of the same number has is not this one's.
    twin = (bystander[0], record(stage, bystander[0], ground.dataset, number=person[1]))
    ground.look_up(twin, (1, 3, digest(6)))
    stage.admin.execute("UPDATE vault.epoch SET changed_at = '2020-01-01' WHERE compartment = %s", (ground.id,))
    rounds.at(person)
    rounds.at(person, "timpani")
    last = stage.last()
    assert settle(rounds) == 0
    assert rounds.cursor()[:2] == START, "a key came in behind the cursor"
    assert rounds.cursor("timpani")[:2] == person
    stage.admin.execute("UPDATE vault.data_key SET epoch = 3 WHERE record_id = %s", (person[1],))
    rounds.at(person)
    ground.look_up(person, (2, 3, digest(2)))
    ground.look_up(person, (1, 2, digest(2)))
    ground.record(3, (1, 3, digest(3)), person=person[0])
    ground.record(3, (1, 3, digest(4)))
    assert settle(rounds) == 0, "its look-up has no new digest yet"
    assert rounds.cursor()[:2] == person
    ground.look_up(person, (1, 3, digest(5)))
    assert ground.states()[1] == "retiring"
    now = stage.value("SELECT clock_timestamp()")
    assert settled(rounds) == 1
    assert ground.states() == {1: "emptied", 2: "retired", 3: "active"}
    changed = "SELECT epoch FROM vault.epoch WHERE compartment = %s AND changed_at >= %s"
    assert stage.admin.execute(changed, (ground.id, now)).fetchall() == [(1,)]
    assert len(ground.lookups()) == 7, "nothing goes as long as somebody may still search it"
    assert stage.entries(last) == []
    ground.record(1)
    assert settle(rounds) == 0, "a write of before that was late"
    stage.admin.execute("DELETE FROM vault.data_key WHERE compartment = %s AND epoch = 1", (ground.id,))
    now = stage.value("SELECT clock_timestamp()")
    assert settled(rounds) == 1
    assert ground.states() == {1: "retired", 2: "retired", 3: "active"}
    assert stage.admin.execute(changed, (ground.id, now)).fetchall() == [(1,)]
    assert sorted({row[1] for row in ground.lookups()}) == [2, 3]
    assert (other.states(), len(other.lookups())) == ({1: "active", 2: "retired", 3: "retired"}, 1)
    ((operation, granted, _, actor, *rest),) = stage.entries(last)
    assert (operation, granted, rest[-2:]) == (RETIRED, True, [f"KEY-{ground.id}00001", stage.policy])
    assert actor == stage.value("SELECT actor FROM vault.session WHERE secret_hash = %s", rounds.secrets["keeper"])
    assert settle(rounds) == 0


def test_an_epoch_waits_for_its_own_look_ups(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    person = ground.record(2, (1, 1, digest(1)))
    assert [settle(rounds) for _ in range(5)] == [0] * 5
    ground.look_up(person, (1, 2, digest(2)))
    assert settled(rounds) == 1


def test_each_keeper_ends_its_own_epochs(stage: Stage, rounds: Rounds) -> None:
    mine, theirs = (rounds.ground(door).epochs(_1="retiring", _2="emptied", _3="active") for door in ("keeper", "timpani"))
    kept = rounds.ground().kept("keeper", "seal").kept("keeper", policy=-1).epochs(_1="retiring", _2="emptied")
    mine.record(3)
    assert settled(rounds) == 2
    assert mine.states() == {1: "emptied", 2: "retired", 3: "active"}
    assert theirs.states() == {1: "retiring", 2: "emptied", 3: "active"}
    assert settled(rounds, "timpani") == 2
    assert theirs.states() == mine.states()
    assert kept.states() == {1: "retiring", 2: "emptied"}


def test_an_epoch_waits_for_whoever_could_still_write_it(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground("keeper").epochs(_1="active")
    with stage.doors.admin() as writer:
        writer.autocommit = False
        writer.execute("SELECT pg_current_xact_id()")
        stage.value("SELECT vault.activate_epoch(%s, 2)", ground.name)
        assert settle(rounds) == 0, "a transaction of before is open: it may write the epoch of before"
        assert ground.states() == {1: "retiring", 2: "active"}
        writer.rollback()
    assert settled(rounds) == 1
    with stage.doors.admin() as reader:
        reader.autocommit = False
        reader.execute("SELECT pg_current_xact_id()")
    assert settled(rounds) == 1
    assert ground.states() == {1: "retired", 2: "active"}


def test_who_began_while_an_epoch_was_being_emptied_is_waited_for(stage: Stage, rounds: Rounds) -> None:
    """Its number is higher than that of the change, which it did not see: it writes look-ups of an epoch that is about to be cleared of them."""
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    person = ground.record(2, (1, 1, digest(1)), (1, 2, digest(2)))
    rounds.call("settle_epochs")
    with stage.doors.raw("keeper") as keeper, stage.doors.admin() as writer:
        writer.autocommit = False
        keeper.execute("SELECT vault.settle_epochs(%s)", (rounds.secrets["keeper"],))
        writer.execute("SELECT pg_current_xact_id()")
        state = writer.execute("SELECT state FROM vault.epoch WHERE compartment = %s AND epoch = 1", (ground.id,)).fetchone()
        assert state == ("retiring",), "the change is not there yet"
        keeper.commit()
        assert ground.states()[1] == "emptied"
        for _ in range(4):
            assert settle(rounds) == 0
        writer.execute("DELETE FROM vault.lookup WHERE record_id = %s", (person[1],))
        for epoch in (1, 2):
            writer.execute("INSERT INTO vault.lookup VALUES (%s, 1, %s, %s, %s, %s, false)", (ground.dataset, epoch, digest(3), *person))  # fmt: skip
        writer.commit()
    assert settled(rounds) == 1
    assert ground.states()[1] == "retired"
    assert [row[:3] for row in ground.lookups()] == [(1, 2, digest(3))], "nothing is left of an epoch that is over"


def test_who_began_while_an_epoch_was_being_left_is_waited_for(stage: Stage, rounds: Rounds) -> None:
    """It writes a key under the epoch before, which is not emptied behind its back."""
    ground = rounds.ground("keeper").epochs(_1="active")
    with stage.doors.admin() as desk, stage.doors.admin() as writer:
        desk.autocommit = writer.autocommit = False
        desk.execute("SELECT vault.activate_epoch(%s, 2)", (ground.name,))
        writer.execute("SELECT pg_current_xact_id()")
        desk.commit()
        for _ in range(4):
            assert settle(rounds) == 0
        subject, record = uuid4(), uuid4()
        writer.execute("INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", (subject,))
        writer.execute(
            "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) "
            "VALUES (%s, %s, %s, 1, '{1}', ARRAY[''::bytea], '{1}', '{1}')",
            (subject, record, ground.dataset),
        )
        writer.execute("INSERT INTO vault.data_key VALUES (%s, %s, %s, 1, 1, 'k')", (subject, record, ground.id))
        writer.commit()
    assert settle(rounds) == 0, "a key is there"
    assert [row[:2] for row in stale(rounds)] == [(subject, record)], "and is found"


def test_within_another_transaction_no_epoch_begins_to_wait(stage: Stage, rounds: Rounds) -> None:
    """Its number may be lower than those of who did not see the change."""
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    with stage.doors.raw("keeper") as keeper:
        keeper.execute("SELECT pg_current_xact_id()")
        keeper.execute("SELECT vault.settle_epochs(%s)", (rounds.secrets["keeper"],))
        keeper.commit()
    waits = "SELECT waits_for FROM vault.epoch WHERE compartment = %s AND epoch = 1"
    assert stage.value(waits, ground.id) is None
    rounds.call("settle_epochs")
    assert stage.value(waits, ground.id) is not None


def test_epochs_of_a_database_that_was_moved_by_its_content_go_on(stage: Stage, rounds: Rounds) -> None:
    """Transactions count anew: what was waited for is not waited for again."""
    ground = rounds.ground("keeper").epochs(_1="retiring", _2="active")
    for waits in (None, "900000000001"):
        stage.admin.execute(
            "UPDATE vault.epoch SET state = 'retiring', changed_xact = '900000000000', waits_for = %s WHERE compartment = %s AND epoch = 1",
            (waits, ground.id),
        )
        assert [settled(rounds), settled(rounds)] == [1, 1]
        assert ground.states()[1] == "retired"
