"""The keeper over real keys in a compartment of the test's own: what moves opens as before, what does not open is named, and nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust import crypto
from armonika.trust.keys.credentials import CompartmentKeys, EpochKeys
from armonika.trust.vault import keeper as module
from armonika.trust.vault.catalogue import Dataset
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import KeyUnavailable, Refused, Tampered
from armonika.trust.vault.keeper import Keeper
from armonika.trust.vault.types import Outcome
from tests.vault.ground import Ground, Person, Rounds, digest
from tests.vault.stage import READ, Stage


def keys() -> EpochKeys:
    private, public = crypto.hpke_generate()
    return EpochKeys(public, crypto.random_bytes(32), crypto.random_bytes(32), private)


class Kept:
    """A keeper, its compartment with keys of four epochs, and records that were written as doors write them."""

    def __init__(self, stage: Stage, rounds: Rounds) -> None:
        self.stage, self.rounds, self.ground = stage, rounds, rounds.ground("keeper").epochs(_1="active")
        self.keys = {number: keys() for number in (1, 2, 3, 4)}
        self.ground.declared()
        keeper_role = stage.value("SELECT id FROM vault.role WHERE name = 'keeper'")
        stage.allow(READ, purpose=stage.legal, dataset=self.ground.dataset, role=keeper_role)
        self.held = stage.doors.server.provisioned.credentials("keeper")  # type: ignore[attr-defined]
        self.envelope = Envelope(self.credentials(self.keys))
        self.keeper = self.opened(self.keys)

    def credentials(self, held: dict[int, EpochKeys]) -> Any:
        return replace(self.held, compartments={self.ground.name: CompartmentKeys("full", held)})

    def opened(self, held: dict[int, EpochKeys]) -> Keeper:
        return Keeper(self.credentials(held), self.stage.doors.server.dsn, size=2)  # type: ignore[attr-defined]

    @property
    def dataset(self) -> Dataset:
        self.keeper._known = None
        return self.keeper.catalogue.dataset(self.ground.name)

    def write(self, value: str, *, sealed: bool = False, person: UUID | None = None) -> Person:
        """A record with its look-up under every epoch that is searched; `sealed`: by a door that only seals."""
        dataset, (subject, record) = self.dataset, self.ground.record(1, person=person)
        envelope = self.envelope
        if sealed:
            half = {number: EpochKeys(one.public, one.index) for number, one in self.keys.items()}
            envelope = Envelope(replace(self.held, compartments={self.ground.name: CompartmentKeys("seal", half)}))
        made = envelope.seal(dataset, subject, record, {"field_1": value})
        admin = self.stage.admin
        admin.execute("UPDATE vault.record SET ciphertexts = %s WHERE record_id = %s", (list(made.ciphertexts), record))
        admin.execute("UPDATE vault.data_key SET kind = %s, epoch = %s, wrapped = %s WHERE record_id = %s", (made.kind, made.epoch, made.wrapped, record))  # fmt: skip
        for lookup in made.lookups:
            self.ground.look_up((subject, record), lookup)
        return subject, record

    def value(self, person: Person) -> str:
        row = self.ground.key(person)
        assert row is not None
        epoch, kind, wrapped = row
        ((ciphertexts,),) = self.stage.admin.execute(
            "SELECT ciphertexts FROM vault.record WHERE record_id = %s", (person[1],)
        ).fetchall()
        return self.envelope.open(Layout(self.dataset, 1), *person, kind, epoch, wrapped, [1], ciphertexts)[0]["field_1"]

    def wanted(self, value: str, *epochs: int) -> list[tuple[int, bytes]]:
        return [(epoch, self.envelope.digest(self.dataset, "field_1", value, epoch)) for epoch in epochs]

    def digests(self, person: Person) -> list[tuple[int, bytes]]:
        return [(row[1], row[2]) for row in self.ground.lookups() if row[3:5] == person]

    def rotate(self, number: int) -> None:
        self.stage.value("SELECT vault.activate_epoch(%s, %s)", self.ground.name, number)

    def finish(self) -> int:
        """Steps until nothing is left to do."""
        steps = 0
        while self.keeper.step() or self.keeper.rotation().retiring:
            steps += 1
            assert steps < 100, self.keeper.rotation()
        return steps

    def looks(self, last: int) -> list[tuple[Any, ...]]:
        """The keeper's own looks at values after an entry: (person, record, purpose, reason)."""
        return self.stage.admin.execute(
            "SELECT a.subject, a.record, p.name, r.name FROM vault.audit a JOIN vault.purpose p ON p.id = a.purpose JOIN vault.reason r ON r.id = a.reason "
            "WHERE a.audit_id > %s AND a.operation = 1 AND a.granted AND a.door = 'keeper' AND a.dataset = %s",
            (last, self.ground.dataset),
        ).fetchall()


@pytest.fixture
def kept(stage: Stage) -> Iterator[Kept]:
    rounds = Rounds(stage)
    made = Kept(stage, rounds)
    yield made
    made.keeper.close()
    rounds.close()


def test_a_rotation_step_by_step(kept: Kept, stage: Stage) -> None:
    people = {kept.write(f"Value {n}", sealed=n == 1): f"Value {n}" for n in range(3)}
    assert sorted(kept.ground.key(person)[1] for person in people) == [1, 1, 2]  # type: ignore[index]
    assert not kept.keeper.step(), "nothing retires"
    kept.rotate(2)
    last = stage.last()
    assert kept.keeper.rotation() == module.Rotation(False, 0, 3, 0, 1)
    assert kept.keeper.step()
    assert kept.keeper.rotation() == module.Rotation(False, 3, 3, 0, 1)
    assert [kept.ground.key(person)[:2] for person in people] == [(2, 1)] * 3  # type: ignore[index]
    assert {person: kept.value(person) for person in people} == people
    assert all(kept.digests(person) == kept.wanted(value, 1) for person, value in people.items())
    assert kept.looks(last) == [], "keys move without a look at what they open"
    assert kept.keeper.step()
    assert kept.keeper.rotation() == module.Rotation(False, 3, 3, 3, 1)
    assert all(kept.digests(person) == kept.wanted(value, 1, 2) for person, value in people.items())
    assert sorted(kept.looks(last)) == sorted((*person, "legal", "key-rotation") for person in people)
    kept.finish()
    assert kept.ground.states() == {1: "retired", 2: "active"}
    assert all(kept.digests(person) == kept.wanted(value, 2) for person, value in people.items())
    assert not kept.keeper.step()
    assert len(kept.looks(last)) == 3, "each value was looked at once"


def test_pages_follow_each_other_and_a_second_rotation_begins_anew(
    kept: Kept, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (module.PAGE <= 10_000, module.DIGEST_PAGE <= 10_000, module.SWEEP_PAGE <= 1_000) == (True, True, True), (
        "the database gives no more"
    )
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "DIGEST_PAGE", 2)
    people = {kept.write(f"v{n}"): f"v{n}" for n in range(5)}
    first = next(iter(people))
    people[kept.write("more", person=first[0])] = "more"
    for number in (2, 3):
        kept.rotate(number)
        last, moved = stage.last(), []
        while not moved or moved[-1].redigested < 6:
            assert kept.keeper.step()
            moved.append(kept.keeper.rotation())
            assert len(moved) < 10
        assert [(one.moved, one.redigested) for one in moved] == [(2, 0), (4, 0), (6, 0), (6, 2), (6, 4), (6, 6)]
        kept.finish()
        assert len(kept.looks(last)) == 6
        assert {person: kept.value(person) for person in people} == people
        assert all(kept.digests(person) == kept.wanted(value, number) for person, value in people.items())


def test_a_paused_keeper_touches_nothing(kept: Kept, stage: Stage) -> None:
    person = kept.write("v")
    kept.rotate(2)
    stage.value("SELECT vault.pause_rotation(true)")
    assert kept.keeper.step() is False
    assert (kept.keeper.rotation().paused, kept.keeper.rotation().moved) == (True, 0)
    stage.value("SELECT vault.pause_rotation(false)")
    assert kept.finish()
    assert kept.value(person) == "v"


def test_what_does_not_open_is_named_and_nothing_of_its_page_moves(kept: Kept, stage: Stage) -> None:
    good, bad = kept.write("good"), kept.write("bad")
    kept.rotate(2)
    stage.admin.execute("UPDATE vault.data_key SET wrapped = %s WHERE record_id = %s", (b"n" * 61, bad[1]))
    with pytest.raises(Tampered, match=f"record {bad[1]} of epoch 1 cannot be re-wrapped: a data key does not belong"):
        kept.keeper.step()
    assert kept.ground.key(good)[0] == 1  # type: ignore[index]
    poor = kept.opened({1: kept.keys[1]})
    with pytest.raises(KeyUnavailable, match="of epoch 1 cannot be re-wrapped: this door holds no key of the new epoch"):
        poor.step()
    poor.close()


def test_a_value_that_does_not_open_stops_the_look_ups_of_its_page(kept: Kept, stage: Stage) -> None:
    good, bad = kept.write("good"), kept.write("bad")
    kept.rotate(2)
    assert kept.keeper.step()
    stage.admin.execute("UPDATE vault.record SET ciphertexts = %s WHERE record_id = %s", ([b"m" * 40], bad[1]))
    with pytest.raises(Tampered):
        kept.keeper.step()
    assert [len(kept.digests(one)) for one in (good, bad)] == [1, 1]
    stage.admin.execute("UPDATE vault.data_key SET epoch = 9 WHERE record_id = %s", (bad[1],))
    kept.keeper._after = module._START
    with pytest.raises(KeyUnavailable):
        kept.keeper.step()


def test_who_is_gone_meanwhile_keeps_nobody_waiting(kept: Kept, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DIGEST_PAGE", 2)
    people = [kept.write(f"v{n}") for n in range(4)]
    kept.rotate(2)
    assert kept.keeper.step()
    erased, without, corrected = people[:3]
    stage.admin.execute("UPDATE vault.subject SET state = 'erased' WHERE subject_id = %s", (erased[0],))
    stage.admin.execute(
        "UPDATE vault.record SET present = 0, ciphertexts = ARRAY[NULL]::bytea[] WHERE record_id = %s", (without[1],)
    )
    # A correction of before the rotation left its digest; its value is another one now.
    stage.admin.execute("UPDATE vault.lookup SET digest = %s WHERE record_id = %s", (digest(1), corrected[1]))
    last = stage.last()
    while kept.keeper._redigest():
        continue
    assert kept.keeper.rotation().redigested == 1
    assert [len(kept.digests(one)) for one in people] == [1, 1, 1, 2]
    assert kept.digests(people[3]) == kept.wanted("v3", 1, 2)
    assert erased not in [look[:2] for look in kept.looks(last)]


def test_a_keeper_of_its_own_compartments_leaves_the_others(kept: Kept, stage: Stage) -> None:
    other: Ground = kept.rounds.ground("timpani").epochs(_1="retiring", _2="active")
    theirs = other.record(1, (1, 1, digest(1)))
    assert kept.keeper.rotation().retiring == 0
    assert not kept.keeper.step()
    mine = kept.write("v")
    kept.rotate(2)
    kept.finish()
    assert (kept.ground.key(mine)[0], other.key(theirs)[0]) == (2, 1)  # type: ignore[index]
    assert len(other.lookups()) == 1


def test_the_next_page_of_look_ups_begins_where_the_last_one_ended(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, page = kept.keeper, [(kept.dataset.id, ordinal, 7, b"d" * 32, uuid4(), uuid4(), 8) for ordinal in (1, 2)]
    monkeypatch.setattr(keeper._store, "rows", lambda *_: page)
    monkeypatch.setattr(keeper, "read_many", lambda asks: [Outcome(error=Refused("gone")) for _ in asks])
    assert keeper._redigest()
    assert keeper._after == page[1][:4]
