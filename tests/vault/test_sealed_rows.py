"""What the sealer is given and gives back, as its own role: every row once and by name, none lost behind a transaction that is still open."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from armonika.trust.audit import entry
from armonika.trust.audit import sealer as module
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.tree import leaf_hash
from armonika.trust.vault import codec
from armonika.trust.vault.errors import Refused
from tests.vault.both import USE
from tests.vault.ground import Rounds
from tests.vault.stage import CREATE, READ, RESTRICT, Stage
from tests.vault.undone import undone

COLUMNS = ", ".join(entry.COLUMNS)
UNSEALED = f"SELECT {COLUMNS} FROM vault.unsealed($1::int)"
BEHIND = f"SELECT {COLUMNS} FROM vault.unsealed($1::int, $2::bigint)"
LEAVES = f"SELECT leaf_no, leaf_hash, {COLUMNS} FROM vault.leaves($1::bigint, $2::int)"
APPEND = "SELECT vault.append_leaves($1::bigint, $2::bigint[], $3::bytea[])"
SIZE = "SELECT vault.tree_size()"


@pytest.fixture
def sealed(stage: Stage, tmp_path: Path) -> Sealer:
    """A sealer that has sealed everything."""
    key = stage.doors.server.provisioned.credentials("sealer").log_key  # type: ignore[attr-defined]
    stage.rows("sealer", SIZE)
    made = Sealer(stage.raw["sealer"], tmp_path, "armonika.test/audit", key)
    made.load()
    while made.seal():
        continue
    return made


def unsealed(stage: Stage, most: int = 1000) -> list[tuple[Any, ...]]:
    return stage.rows("sealer", UNSEALED, most)


def state(stage: Stage) -> tuple[Any, ...]:
    """(size, settled, pending, whether something is pending)."""
    row = stage.admin.execute("SELECT size, settled, pending, pending_xact IS NOT NULL FROM vault.seal_state").fetchone()
    assert row is not None
    return row


def some(stage: Stage, rounds: Rounds) -> list[tuple[Any, ...]]:
    """Entries of every shape, with the words in which they are sealed."""
    last, doors, ground = stage.last(), stage.doors, rounds.ground().epochs(_1="active")
    person, nobody = doors.person(), uuid4()
    doors.api.read(doors.token, person.subject, "account", ["email", "name"], *USE, "A-1")
    with pytest.raises(Refused):
        doors.api.restrict(doors.token, nobody, True, *USE)
    stage.value("SELECT vault.suspend_epoch(%s, 1)", ground.name)
    rows = stage.entries(last)
    numbers = stage.admin.execute("SELECT audit_id, at FROM vault.audit WHERE audit_id > %s ORDER BY 1", (last,)).fetchall()
    token, keeper = ("integration", "keeper")
    version = stage.value("SELECT sha256 FROM vault.policy_version WHERE policy_id = %s", stage.policy)
    words = [
        ("create", "granted", "api", rows[0][3], token, person.subject, person.record, "account", ["name", "email", "company", "role"], *USE, None),
        ("read", "granted", "api", rows[1][3], token, person.subject, None, "account", ["name", "email"], *USE, "A-1"),
        ("restrict", "refused", "api", rows[2][3], token, nobody, None, None, [], *USE, None),
        ("key-suspend", "granted", "administrator", rows[3][3], keeper, None, None, None, [], None, None, f"KEY-{ground.id}00001"),
    ]  # fmt: skip
    assert [row[0] for row in rows] == [CREATE, READ, RESTRICT, 19]
    return [(*number, *word, version) for number, word in zip(numbers, words, strict=True)]


def test_what_is_not_sealed_yet_is_given_by_name_in_the_order_of_its_numbers(
    stage: Stage, rounds: Rounds, sealed: Sealer
) -> None:
    assert unsealed(stage) == []
    wanted = some(stage, rounds)
    assert unsealed(stage) == wanted
    assert [unsealed(stage, most) for most in (3, 1, 0)] == [wanted[:3], wanted[:1], []]
    first = stage.rows("sealer", SIZE)[0][0]
    assert sealed.seal() == 4
    assert unsealed(stage) == []
    assert stage.rows("sealer", SIZE) == [(first + 4,)]
    rows = stage.rows("sealer", LEAVES, first, 100)
    assert [row[2:-1] + row[-1:] for row in rows] == wanted
    assert [row[:2] for row in rows] == [(first + n, leaf_hash(entry.encode(row))) for n, row in enumerate(wanted)]
    assert stage.rows("sealer", LEAVES, first + 1, 2) == rows[1:3]
    assert stage.rows("sealer", LEAVES, first + 4, 2) == []
    assert len(stage.rows("verifier", LEAVES, 0, 3)) == 3


def test_a_leaf_is_given_when_its_row_is_gone(stage: Stage, rounds: Rounds, sealed: Sealer) -> None:
    (row, *_) = some(stage, rounds)
    sealed.seal()
    first = stage.rows("sealer", SIZE)[0][0] - 4
    with stage.admin.transaction(force_rollback=True):
        stage.admin.execute("SET LOCAL session_replication_role = replica")
        stage.admin.execute("DELETE FROM vault.audit WHERE audit_id = %s", (row[0],))
        found = stage.admin.execute(f"SELECT leaf_no, audit_id, leaf_hash FROM vault.leaves({first}, 1)".encode()).fetchall()
    assert found == [(first, None, leaf_hash(entry.encode(row)))]


def test_leaves_are_appended_where_the_tree_ends_and_an_entry_once(stage: Stage, rounds: Rounds, sealed: Sealer) -> None:
    wanted, before = some(stage, rounds), state(stage)
    size, numbers = before[0], [row[0] for row in wanted]
    hashes = [leaf_hash(entry.encode(row)) for row in wanted]
    wrong: list[tuple[int, list[int], list[bytes]]] = [
        (size + 1, numbers, hashes), (size - 1, numbers, hashes), (size, numbers, hashes[:3]), (size, numbers[:3], hashes), (size, [*numbers[:3], numbers[0]], hashes),
        (size, [numbers[0] - 1], hashes[:1]),
    ]  # fmt: skip
    for words in wrong:
        assert stage.refused("sealer", APPEND, *words) == "AR409"
    assert state(stage)[0] == size
    assert unsealed(stage) == wanted
    assert stage.rows("sealer", APPEND, None, numbers, hashes) == [(None,)]
    assert stage.rows("sealer", APPEND, size, numbers[::-1][:2], hashes[::-1][:2]) == [(size + 2,)], (
        "in the order in which they are given"
    )
    assert unsealed(stage) == wanted[:2]
    assert stage.rows("sealer", APPEND, size + 2, numbers[:2], hashes[:2]) == [(size + 4,)]
    assert [row[2] for row in stage.rows("sealer", LEAVES, size, 9)] == [numbers[3], numbers[2], *numbers[:2]]
    assert state(stage)[0] == size + 4


def test_no_number_is_settled_before_it_is_sealed(stage: Stage, rounds: Rounds, sealed: Sealer) -> None:
    for _ in range(3):
        unsealed(stage)
    before = stage.last()
    assert state(stage)[1:] == (before, before, True)
    (wanted,) = some(stage, rounds)[:1]
    for _ in range(4):
        assert unsealed(stage)[0] == wanted
    assert state(stage)[1] < wanted[0]
    # The newest entry alone is left.
    numbers = [row[0] for row in unsealed(stage)]
    stage.rows("sealer", APPEND, state(stage)[0], numbers[:3], [leaf_hash(entry.encode(row)) for row in unsealed(stage)[:3]])
    for _ in range(4):
        assert [row[0] for row in unsealed(stage)] == numbers[3:]
    assert state(stage)[1] < numbers[3]
    stage.rows("sealer", APPEND, state(stage)[0], numbers[3:], [leaf_hash(entry.encode(row)) for row in unsealed(stage)])
    for _ in range(3):
        assert unsealed(stage) == []
    assert state(stage)[1] == numbers[3]


def test_what_an_open_transaction_will_write_is_not_passed_by(stage: Stage, rounds: Rounds, sealed: Sealer) -> None:
    catalogue = stage.doors.api.catalogue
    words = (stage.doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), uuid4())
    with stage.doors.raw() as held:
        row = held.execute("SELECT vault.note_refusal(%s, 1::smallint, %s::smallint, %s::smallint, %s, NULL)", words).fetchone()
        assert row is not None
        late = int(str(row[0]))
        some(stage, rounds)
        for _ in range(3):
            sealed.seal()
            assert unsealed(stage) == []
        assert state(stage)[1] < late, "its number is not settled"
        held.commit()
    assert [row[0] for row in unsealed(stage)] == [late]
    assert sealed.seal() == 1
    for _ in range(3):
        unsealed(stage)
    assert state(stage)[1] == stage.last()
    # A number that was given and never came is settled like the others.
    with stage.doors.raw() as torn:
        torn.execute("SELECT vault.note_refusal(%s, 1::smallint, %s::smallint, %s::smallint, %s, NULL)", words)
        torn.rollback()
    stage.doors.person()
    assert sealed.seal() == 1
    for _ in range(3):
        unsealed(stage)
    assert state(stage)[1] == stage.last()


def refusal(stage: Stage, dataset: int | None = None) -> tuple[str, tuple[Any, ...]]:
    """A statement that writes one entry, with no field, of a dataset or of none."""
    catalogue = stage.doors.api.catalogue
    words = (stage.doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), uuid4(), dataset)
    return "SELECT vault.note_refusal($1, 1::smallint, $2::smallint, $3::smallint, $4, $5::smallint)", words


def test_who_began_last_is_not_passed_by(stage: Stage, sealed: Sealer) -> None:
    """A transaction draws its number before one that began earlier, and stays open: at the sealer's look nobody who began later has ended."""
    statement, words = refusal(stage)
    for _ in range(3):
        unsealed(stage)
    with stage.doors.raw() as early, stage.doors.raw() as held:
        early.execute("SELECT pg_current_xact_id()")
        row = held.cursor(binary=True).execute(codec.percent(statement).encode(), words).fetchone()
        assert row is not None
        early.cursor(binary=True).execute(codec.percent(statement).encode(), words)
        early.commit()
        assert sealed.seal() == 1
        for _ in range(3):
            assert unsealed(stage) == []
        assert state(stage)[1] < int(str(row[0])), "its number is not settled"
        held.commit()
    assert [number for number, *_ in unsealed(stage)] == [row[0]]
    assert sealed.seal() == 1
    for _ in range(3):
        unsealed(stage)
    assert state(stage)[1] == stage.last()


def test_the_same_set_of_fields_of_several_datasets_is_given_once_each(stage: Stage, sealed: Sealer) -> None:
    datasets = [stage.account.id, stage.doors.verifier.catalogue.dataset("demo").id, None]
    numbers = []
    for dataset in datasets:
        statement, words = refusal(stage, dataset)
        numbers.append(stage.rows("api", statement, *words)[0][0])
    found = unsealed(stage)
    assert [(row[0], row[9], row[10]) for row in found] == [
        (number, name, []) for number, name in zip(numbers, ("account", "demo", None), strict=True)
    ]


def test_numbers_are_settled_under_load(stage: Stage, sealed: Sealer) -> None:
    """Newer entries and newer transactions do not put off what is waited for."""
    for _ in range(3):
        unsealed(stage)
    settled = stage.last()
    stage.doors.person()
    assert sealed.seal() == 1
    with stage.doors.raw() as held:
        statement, words = refusal(stage)
        held.cursor(binary=True).execute(codec.percent(statement).encode(), words)
        stage.doors.person()
        sealed.seal()
        unsealed(stage)
        # What was waited for is settled; what is waited for from here on had begun, this transaction among it.
        waited = state(stage)
        assert settled <= waited[1] < waited[2]
        for _ in range(2):
            stage.doors.person()
            sealed.seal()
            unsealed(stage)
            assert state(stage)[1:] == waited[1:], "who came later is not waited for"
        held.commit()
    assert sealed.seal() == 1
    stage.doors.person()
    unsealed(stage)
    assert state(stage)[1] == waited[2], "though an entry behind it is not sealed yet"


def test_of_a_backlog_each_page_passes_over_the_pages_before(
    stage: Stage, sealed: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page costs a page, however much is waiting behind it."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "AHEAD", 0)
    for _ in range(3):
        unsealed(stage)
    last = stage.last()
    for _ in range(6):
        stage.doors.person()
    numbers = [
        number for (number,) in stage.admin.execute("SELECT audit_id FROM vault.audit WHERE audit_id > %s ORDER BY 1", (last,))
    ]
    settled = []
    while sealed.seal(publish=False):
        settled.append(state(stage)[1])
    sealed.publish()
    assert len(numbers) == 6
    assert settled == [last, numbers[1], numbers[3]]


def test_who_is_late_does_not_wait_for_the_end_of_a_backlog(
    stage: Stage, sealed: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that are looked for ahead pass by what came behind them; the next one begins at the beginning."""
    monkeypatch.setattr(module, "BATCH", 2)
    size = stage.rows("sealer", SIZE)[0][0]
    with stage.doors.raw() as held:
        statement, words = refusal(stage)
        row = held.cursor(binary=True).execute(codec.percent(statement).encode(), words).fetchone()
        assert row is not None
        stage.doors.people(40)
        for _ in range(2):
            assert sealed.seal(publish=False) == 2
        held.commit()
    while sealed.seal(publish=False):
        continue
    sealed.publish()
    ((leaf,),) = stage.admin.execute("SELECT leaf_no FROM vault.leaf WHERE audit_id = %s", (row[0],)).fetchall()
    assert 4 <= int(str(leaf)) - size <= 2 * (module.AHEAD + 2)
    assert stage.rows("sealer", SIZE)[0][0] == size + 41
    assert unsealed(stage) == []


def test_a_page_behind_another_leaves_out_what_is_not_behind_it(stage: Stage, sealed: Sealer) -> None:
    last = stage.last()
    stage.doors.people(5)
    before = state(stage)
    numbers = [row[0] for row in stage.rows("sealer", BEHIND, 1000, last)]
    assert [row[0] for row in stage.rows("sealer", BEHIND, 2, numbers[1])] == numbers[2:4]
    assert stage.rows("sealer", BEHIND, 2, numbers[-1]) == []
    assert state(stage) == before, "nothing is settled by it"
    assert [row[0] for row in unsealed(stage)] == numbers
    size = stage.rows("sealer", SIZE)[0][0]
    stage.rows("sealer", APPEND, size, numbers[3:4], [leaf_hash(entry.encode(row)) for row in unsealed(stage)[3:4]])
    assert [row[0] for row in stage.rows("sealer", BEHIND, 1000, numbers[1])] == [numbers[2], *numbers[4:]]
    # What is settled is passed over, whatever page is asked for.
    assert [row[0] for row in stage.rows("sealer", BEHIND, 1000, 0)] == [*numbers[:3], *numbers[4:]]


def test_what_was_sealed_beside_an_open_transaction_is_passed_over_at_once_when_it_ends(
    stage: Stage, sealed: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in pages: each of them would pass over all that is sealed behind it."""
    monkeypatch.setattr(module, "BATCH", 2)
    for _ in range(3):
        unsealed(stage)
    with stage.doors.raw() as held:
        statement, words = refusal(stage)
        held.cursor(binary=True).execute(codec.percent(statement).encode(), words)
        for _ in range(12):
            stage.doors.person()
        while sealed.seal(publish=False):
            continue
        held.rollback()
    sealed.publish()
    for _ in range(4):
        assert unsealed(stage, 2) == []
    assert state(stage)[1] == stage.last()


def test_a_look_of_a_transaction_that_has_an_id_already_waits_for_nothing(stage: Stage) -> None:
    """Others may have taken theirs since, and drawn numbers before the newest that it sees."""
    with undone(stage):
        for statement in ("SET LOCAL session_replication_role = replica", "DELETE FROM vault.leaf", "UPDATE vault.seal_state SET size = 0, settled = 0, pending = 0, pending_xact = NULL"):  # fmt: skip
            stage.admin.execute(statement.encode())
        assert len(stage.admin.execute("SELECT * FROM vault.unsealed(10)").fetchall()) == 10
        assert state(stage) == (0, 0, 0, False)


def test_what_is_settled_is_not_looked_at_again(stage: Stage, sealed: Sealer) -> None:
    """Whatever lies there: a round costs what is new."""
    with undone(stage):
        numbers = [number for (number,) in stage.admin.execute("SELECT audit_id FROM vault.audit ORDER BY 1 DESC LIMIT 3")]
        stage.admin.execute("SET LOCAL session_replication_role = replica")
        stage.admin.execute("DELETE FROM vault.leaf WHERE audit_id = ANY (%s)", (numbers,))
        stage.admin.execute(
            "UPDATE vault.seal_state SET settled = %s, pending = %s, pending_xact = '3'", (numbers[1], numbers[1])
        )
        given = "SELECT audit_id FROM vault.unsealed(10)"
        assert stage.admin.execute(given.encode()).fetchall() == [(numbers[0],)]
        assert state(stage)[1:] == (numbers[1], numbers[1], False), "what was waited for is settled"


def test_within_another_transaction_no_number_begins_to_be_waited_for(stage: Stage, sealed: Sealer) -> None:
    """Its own may be older than what it sees."""
    for _ in range(3):
        unsealed(stage)
    before = state(stage)
    with stage.doors.raw("sealer") as one:
        one.execute("SELECT pg_current_xact_id()")
        stage.doors.person()
        assert len(one.execute("SELECT audit_id FROM vault.unsealed(10)").fetchall()) == 1
        one.commit()
    assert state(stage)[1:3] == before[1:3]
    assert sealed.seal() == 1


def test_numbers_of_a_database_that_was_moved_by_its_content_are_settled(stage: Stage, sealed: Sealer) -> None:
    """Transactions count anew: what was waited for is not waited for again."""
    stage.admin.execute("UPDATE vault.seal_state SET pending_xact = '900000000000'")
    stage.doors.person()
    assert sealed.seal() == 1
    for _ in range(3):
        unsealed(stage)
    assert state(stage)[1] == stage.last()


def test_two_sealers_take_turns(stage: Stage, sealed: Sealer) -> None:
    statement, words = refusal(stage)
    with stage.doors.raw() as held, stage.doors.raw("sealer") as first:
        held.cursor(binary=True).execute(codec.percent(statement).encode(), words)
        for _ in range(3):
            # What is waited for stays, so that nothing is written down.
            unsealed(stage)
        first.execute("SELECT FROM vault.unsealed(10)")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            stage.admin.execute("SELECT FROM vault.seal_state FOR UPDATE NOWAIT")
        first.rollback()
        stage.admin.execute("SELECT FROM vault.seal_state FOR UPDATE NOWAIT")
        held.rollback()
