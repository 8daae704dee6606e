"""The state machine: every step is done to the vault, the keys or the log, and to the model; then both must say the same."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from armonika.rules.key_states import IllegalTransition, KeyState
from armonika.supervisor.key_desk import KeyDeskError
from armonika.trust.audit.sealer import AnotherSealer
from armonika.trust.keys import Keyring
from armonika.trust.vault.errors import (
    Duplicate,
    Forbidden,
    Invalid,
    Refused,
    Restricted,
    Unavailable,
    Undeclared,
    VaultError,
    VersionConflict,
)
from armonika.trust.vault.types import NewRecord
from tests.model.lab import LEGAL, Lab
from tests.model.model import Model, Person

T = TypeVar("T")
USE = ("provide", "integration")
FIELDS = ("name", "email", "company", "role", "phone")
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cf", "Cn", "Co", "Zl", "Zp")), min_size=1, max_size=20
).map(lambda text: unicodedata.normalize("NFC", f"w{text}w"))
PICK = st.integers(0, 10**6)


def kind_of(error: BaseException | None) -> str:
    """An error as its caller sees it: kind and text, nothing else."""
    return f"{type(error).__name__}: {error}"


def told(step: Callable[..., None]) -> Callable[..., None]:
    """Keeps what went wrong first: the world does not begin anew, so that a failure seldom fails twice in the same way."""

    @functools.wraps(step)
    def stepping(machine: Machine, *words: Any, **more: Any) -> None:
        try:
            step(machine, *words, **more)
        except Exception as error:
            machine.lab.failures.append(error)
            raise

    return stepping


class Machine(RuleBasedStateMachine):
    """`lab` is put in place by the test that runs it."""

    lab: Lab

    def __init__(self) -> None:
        super().__init__()
        self.model, self.rotations, self.killed = Model(), 0, False

    # -- helpers

    def took(self, kind: str) -> None:
        self.lab.steps += 1
        self.lab.kinds[kind] = self.lab.kinds.get(kind, 0) + 1

    def pick(self, number: int) -> Person | None:
        everybody = list(self.model.people.values())
        return everybody[number % len(everybody)] if everybody else None

    def new(self, values: dict[str, str], **more: Any) -> NewRecord:
        return NewRecord("account", values, "organisation", kind="customer_user", **more)

    def attempt(self, work: Callable[[], T]) -> tuple[T | None, VaultError | None]:
        try:
            return work(), None
        except VaultError as error:
            return None, error

    def at_once(self, *work: Callable[[], Any]) -> list[tuple[Any, VaultError | None]]:
        """Runs all in threads of their own."""
        results: list[Any] = [None] * len(work)

        def one(number: int, what: Callable[[], Any]) -> None:
            results[number] = self.attempt(what)

        threads = [threading.Thread(target=one, args=(number, what)) for number, what in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert all(result is not None for result in results), "a step does not end, or failed in no declared way"
        return results

    def read(
        self, subject: UUID, fields: Sequence[str] = FIELDS, use: tuple[str, str] = USE, record: UUID | None = None
    ) -> list[Any]:
        return self.lab.vault.read(self.lab.home.token, subject, "account", list(fields), *use, record=record)

    def expect_denied(self, person: Person, error: VaultError | None) -> None:
        wanted = {"restricted": Restricted, "erased": Refused}[person.state]
        assert type(error) is wanted, f"{person.state}: {kind_of(error)}"

    def same(self, person: Person, records: Sequence[Any], fields: Sequence[str] = FIELDS) -> None:
        """What was read is what the model holds, versions too."""
        got = {one.record: {name: (value, one.versions[name]) for name, value in one.values.items()} for one in records}
        wanted = {
            record: {name: pair for name, pair in held.items() if name in fields} for record, held in person.records.items()
        }
        assert got == wanted, f"{person.state}: the vault says {got}, the model {wanted}"
        for one in records:
            self.model.tickets.append((one.ticket, person.subject, 1))

    # -- people

    @initialize(name=WORDS)
    @told
    def begin(self, name: str) -> None:
        self.create(name)

    @rule(name=WORDS)
    @told
    def create(self, name: str) -> None:
        self.took("create")
        values = {"name": name, "email": f"{uuid4().hex}@Org.example", "company": "C", "role": "R"}
        (made,) = self.lab.vault.create(self.lab.home.token, *USE, [self.new(values)])
        person = self.model.create(made.subject, made.record, values)
        person.entries += 1
        self.model.tickets.append((made.audit_id, made.subject, 4))

    @rule(number=PICK, wrong=st.sampled_from(["taken", "undeclared", "address", "purpose"]))
    @told
    def create_in_vain(self, number: int, wrong: str) -> None:
        """Nothing of it is stored, in whatever way it is wrong."""
        self.took("create in vain")
        person = self.pick(number)
        values, use = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}, USE
        if wrong == "taken" and person and person.state != "erased":
            values["email"], expected = person.email.upper(), Duplicate
        elif wrong == "undeclared":
            values["shoe_size"], expected = "43", Undeclared
        elif wrong == "address":
            values["email"], expected = "nonsense", Invalid
        else:
            use, expected = ("advertising", "integration"), Undeclared  # type: ignore[assignment]
        innocent, guilty = uuid4(), uuid4()
        good = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
        _, error = self.attempt(
            lambda: self.lab.vault.create(
                self.lab.home.token, *use, [self.new(good, new_subject=innocent), self.new(values, new_subject=guilty)]
            )
        )
        assert type(error) is expected, kind_of(error)
        for nobody in (innocent, guilty):
            assert type(self.attempt(lambda nobody=nobody: self.read(nobody))[1]) is Refused  # type: ignore[misc]

    @rule(number=PICK, name=WORDS)
    @told
    def add_record(self, number: int, name: str) -> None:
        self.took("add record")
        person = self.pick(number)
        if person is None:
            return
        values = {"name": name, "company": "D", "role": "S"}
        done, error = self.attempt(
            lambda: self.lab.vault.create(
                self.lab.home.token, *USE, [NewRecord("account", values, "organisation", subject=person.subject)]
            )
        )
        if person.state != "active":
            self.expect_denied(person, error)
            return
        assert done is not None, kind_of(error)
        person.records[done[0].record] = {field: (value, 1) for field, value in values.items()}
        person.entries += 1

    @rule(number=PICK, fields=st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
    @told
    def read_person(self, number: int, fields: list[str]) -> None:
        self.took("read")
        person = self.pick(number)
        if person is None:
            return
        records, error = self.attempt(lambda: self.read(person.subject, fields))
        person.entries += 1
        if person.state != "active":
            self.expect_denied(person, error)
            return
        assert records is not None, kind_of(error)
        self.same(person, records, fields)

    @rule(number=PICK)
    @told
    def read_what_is_not_allowed(self, number: int) -> None:
        """Another purpose is forbidden for everybody alike; unknown and erased people cannot be told apart."""
        self.took("read in vain")
        person = self.pick(number)
        if person is None:
            return
        kinds = {
            kind_of(self.attempt(lambda who=who: self.read(who, use=("legal", "rights-request")))[1])
            for who in (person.subject, uuid4())
        }  # type: ignore[misc]
        assert len(kinds) == 1
        assert kinds.pop().startswith(Forbidden.__name__)
        erased = next((one for one in self.model.people.values() if one.state == "erased"), None)
        if erased:
            kinds = {kind_of(self.attempt(lambda who=who: self.read(who))[1]) for who in (erased.subject, uuid4())}  # type: ignore[misc]
            assert len(kinds) == 1

    @rule(number=PICK, upper=st.booleans())
    @told
    def find(self, number: int, upper: bool) -> None:
        self.took("find")
        person = self.pick(number)
        if person is None:
            return
        email = person.email.upper() if upper else person.email
        found = self.lab.vault.find(self.lab.home.token, "account", "email", email, list(FIELDS), *USE)
        holder = self.model.by_email(person.email)
        if holder is None or holder.state != "active":
            assert found == []
            return
        holder.entries += 1
        wanted = [record for record, held in holder.records.items() if "email" in held]
        assert [one.record for one in found] == wanted
        assert all(one.values["email"].casefold() == holder.email for one in found)

    @rule(
        number=PICK,
        change=st.sampled_from(["name", "phone", "email"]),
        seen=st.sampled_from(["right", "old", "none", "twice"]),
        name=WORDS,
    )
    @told
    def correct(self, number: int, change: str, seen: str, name: str) -> None:
        self.took("correct")
        person = self.pick(number)
        if person is None or not person.records:
            return
        record = list(person.records)[number % len(person.records)]
        held = person.records[record]
        if change == "email" and "email" not in held:
            return
        values = {
            change: f"{uuid4().hex}@org.example" if change == "email" else "+213 21 00 00 00" if change == "phone" else name
        }
        version = held.get(change, ("", 0))[1]
        expected = {"right": {change: version}, "old": {change: version - 1}, "none": None, "twice": {change: version}}[seen]

        def step() -> int:
            return self.lab.vault.correct(
                self.lab.home.token, person.subject, record, values, *USE, expected=expected, origin="organisation"
            )

        if seen == "twice" and person.state == "active":
            errors = [error for _, error in self.at_once(step, step, step)]
            assert sorted(kind_of(error).partition(":")[0] for error in errors) == [
                "NoneType",
                "VersionConflict",
                "VersionConflict",
            ], errors
            person.entries += 2
            self.model.correct(person, record, values)
            return
        done, error = self.attempt(step)
        if person.state != "active":
            self.expect_denied(person, error)
        elif seen == "old":
            assert type(error) is VersionConflict, kind_of(error)
        else:
            assert done is not None, kind_of(error)
            person.entries += 2
            self.model.tickets.append((done, person.subject, 5))
            self.model.correct(person, record, values)

    @rule(number=PICK, on=st.booleans())
    @told
    def restrict(self, number: int, on: bool) -> None:
        self.took("restrict")
        person = self.pick(number)
        if person is None:
            return
        done, error = self.attempt(lambda: self.lab.vault.restrict(self.lab.home.token, person.subject, on, *USE))
        if person.state == "erased":
            assert type(error) is Refused, kind_of(error)
            return
        assert done is not None, kind_of(error)
        person.state = "restricted" if on else "active"
        person.entries += 1

    @rule(number=PICK, racing=st.booleans())
    @told
    def erase(self, number: int, racing: bool) -> None:
        self.took("erase")
        person = self.pick(number)
        if person is None:
            return
        step: Callable[[], Any] = lambda: self.lab.vault.erase(self.lab.home.token, [person.subject], *USE)  # noqa: E731
        if person.state == "erased":
            assert type(self.attempt(step)[1]) is Refused
            return
        before = {record: dict(held) for record, held in person.records.items()}
        if racing and person.state == "active":
            (_, error), (seen, denied), (_, second) = self.at_once(step, lambda: self.read(person.subject), step)
            assert [error, second].count(None) == 1, "an erasure happens once"
            assert type(error or second) is Refused
            if seen:
                assert {one.record: {n: (v, one.versions[n]) for n, v in one.values.items()} for one in seen} == before
            else:
                assert denied is None or type(denied) is Refused, kind_of(denied)
        else:
            assert self.attempt(step)[1] is None
        person.entries += 1
        self.model.erase(person)

    @rule(number=PICK)
    @told
    def end_record(self, number: int) -> None:
        self.took("end record")
        person = self.pick(number)
        if person is None or person.state != "active" or len(person.records) < 2:
            return
        record = list(person.records)[1]
        if "email" in person.records[record]:
            return
        done = self.lab.vault.erase_records(self.lab.home.token, [(person.subject, record)], *USE)
        assert [one for one, _ in done] == [record]
        person.entries += 1
        self.model.end(person, record)

    @rule()
    @told
    def same_address_at_once(self) -> None:
        """Of several who take one address at the same time, one gets it."""
        self.took("race for an address")
        email = f"{uuid4().hex}@org.example"
        values = {"name": "N", "email": email, "company": "C", "role": "R"}
        results = self.at_once(*(lambda: self.lab.vault.create(self.lab.home.token, *USE, [self.new(values)]) for _ in range(3)))
        won = [done for done, error in results if error is None]
        assert len(won) == 1
        assert all(type(error) is Duplicate for _, error in results if error is not None)
        self.model.create(won[0][0].subject, won[0][0].record, values).entries += 1

    # -- keys

    def inventory(self) -> list[Any]:
        return [line for line in Keyring.open(self.lab.home.config.keys).epochs.inventory() if line.compartment == "account"]

    @precondition(lambda self: self.rotations < 2)
    @rule(prepared=st.booleans())
    @told
    def rotate(self, prepared: bool) -> None:
        self.took("rotate")
        self.rotations += 1
        desk = self.lab.home.desk
        if prepared:
            made = desk.prepare(["account"], "model")
            desk.activate(made, "model")
        else:
            desk.rotate(["account"], "model")

    @rule(steps=st.integers(1, 6))
    @told
    def keep(self, steps: int) -> None:
        self.took("keeper")
        for keeper in self.lab.keepers:
            for _ in range(steps):
                keeper.step()

    @rule(stop=st.booleans())
    @told
    def pause(self, stop: bool) -> None:
        self.took("pause")
        self.lab.home.desk.pause(stop)
        if stop:
            assert not self.lab.keepers[0].step(), "a held rotation does nothing"
            self.lab.home.desk.pause(False)

    @rule(number=PICK, early=st.booleans())
    @told
    def destroy(self, number: int, early: bool) -> None:
        """Only an epoch with nothing under it goes, and only when no backup needs it."""
        self.took("destroy")
        self.lab.home.desk.sync()
        lines = self.inventory()
        line = lines[number % len(lines)]
        used = self.lab.home.value(
            f"SELECT count(*) FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment WHERE c.name = 'account' AND k.epoch = {line.epoch}"
        )
        try:
            self.lab.home.desk.destroy("account", line.epoch, "model", early=early)
        except (KeyDeskError, IllegalTransition):
            assert line.state is KeyState.DESTROYED or line.retired_at is None or not early
        else:
            assert used == 0
            assert line.state is not KeyState.ACTIVE

    @rule(number=PICK, state=st.sampled_from([KeyState.ACTIVE, KeyState.SUSPENDED]))
    @told
    def mark(self, number: int, state: KeyState) -> None:
        """A suspended epoch stops every writing; then it is made active again."""
        self.took("mark")
        line = next(line for line in self.inventory() if line.state is KeyState.ACTIVE)
        if state is KeyState.ACTIVE:
            with pytest.raises(IllegalTransition):
                self.lab.home.desk.mark("account", line.epoch, state, "model")
            return
        self.lab.home.desk.mark("account", line.epoch, state, "model")
        values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
        _, error = self.attempt(lambda: self.lab.vault.create(self.lab.home.token, *USE, [self.new(values)]))
        assert error is not None, "nothing is written under a suspended epoch"
        self.lab.home.desk.mark("account", line.epoch, KeyState.ACTIVE, "model")

    @precondition(lambda self: self.rotations < 2)
    @rule(days=st.sampled_from([-40.0, -1.0, 0.5, 31.0, 70.0]))
    @told
    def clock_jump(self, days: float) -> None:
        """The desk's calendar with a clock that goes forth and back: what is still needed is never destroyed (checked by every later read)."""
        self.took("clock jump")
        self.rotations += 1
        self.lab.clock(days)
        self.lab.home.desk.tend()

    # -- log and faults

    @rule()
    @told
    def seal(self) -> None:
        self.took("seal")
        before = self.lab.sealer._frontier.size
        while self.lab.sealer.seal():
            continue
        assert self.lab.sealer._frontier.size >= before
        self.lab.kept.append((self.lab.folder / "checkpoint").read_bytes())

    @rule()
    @told
    def second_sealer(self) -> None:
        """One that loaded, fell behind, and tries to go on, appends nothing."""
        self.took("second sealer")
        other = self.lab.sealing()
        self.create("w")
        while self.lab.sealer.seal():
            continue
        self.create("w")
        with pytest.raises(AnotherSealer):
            other.seal()
        while self.lab.sealer.seal():
            continue

    @rule(number=PICK)
    @told
    def verify_from_a_kept_checkpoint(self, number: int) -> None:
        self.took("verify")
        if self.lab.kept:
            kept = self.lab.kept[-1 - number % min(len(self.lab.kept), 8)]
            assert self.lab.verify(kept, from_kept=True).findings == []

    @rule(name=WORDS)
    @told
    def crash_during_create(self, name: str) -> None:
        """The connections are cut while somebody is created: then they are there whole, or not at all."""
        self.took("crash")
        subject, record = uuid4(), uuid4()
        values = {"name": name, "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
        made = self.new(values, new_subject=subject, new_record=record)
        (done, error), _ = self.at_once(
            lambda: self.lab.vault.create(self.lab.home.token, *USE, [made]), self.lab.cut_connections
        )
        assert error is None or type(error) is Unavailable, kind_of(error)
        self.lab.settle()
        there, denied = self.attempt(lambda: self.read(subject))
        if there is None:
            assert type(denied) is Refused
            assert done is None, "an acknowledged write is gone"
        else:
            self.same(self.model.create(subject, record, values), there)
            self.model.people[subject].entries += 2

    @precondition(lambda self: not self.killed)
    @rule()
    @told
    def kill_the_database(self) -> None:
        """Seldom: it costs seconds."""
        self.took("kill -9")
        self.killed = True
        if self.lab.kills * 1000 > self.lab.steps:
            return
        self.lab.kill_database()

    # -- what must always hold

    @invariant()
    @told
    def the_newest_person_reads_as_the_model_says(self) -> None:
        if self.model.people:
            person = list(self.model.people.values())[-1]
            if person.state == "active":
                self.same(person, self.read(person.subject))
                person.entries += 1

    @told
    def teardown(self) -> None:
        """Everybody is as the model says, every answer has its entry, what ended left nothing, and keys went legal ways."""
        if not self.model.people:
            return
        for person in self.model.living():
            if person.state == "restricted":
                self.lab.vault.restrict(self.lab.home.token, person.subject, False, *USE)
                person.state = "active"
            self.same(person, self.read(person.subject))
        subjects = list(self.model.people)
        with self.lab.home.admin() as admin:
            entries = dict(
                admin.execute(
                    "SELECT subject, count(*) FROM vault.audit WHERE subject = ANY (%s) GROUP BY 1", (subjects,)
                ).fetchall()
            )
            rows = {
                number: (who, what)
                for number, who, what in admin.execute(
                    "SELECT audit_id, subject, operation FROM vault.audit WHERE audit_id = ANY (%s) AND granted",
                    ([t[0] for t in self.model.tickets],),
                )
            }
            stored = {
                (who, record)
                for who, record in admin.execute(
                    "SELECT subject_id, record_id FROM vault.record WHERE subject_id = ANY (%s)", (subjects,)
                )
            }
            keyed = {
                (who, record)
                for who, record in admin.execute(
                    "SELECT subject_id, record_id FROM vault.data_key WHERE subject_id = ANY (%s)", (subjects,)
                )
            }
            found = {
                (who, record)
                for who, record in admin.execute(
                    "SELECT subject_id, record_id FROM vault.lookup WHERE subject_id = ANY (%s)", (subjects,)
                )
            }
        for number, who, what in self.model.tickets:
            assert rows.get(number) == (who, what), f"what was answered with entry {number} is not in the log"
        for subject, person in self.model.people.items():
            assert entries.get(subject, 0) >= person.entries, f"{person.entries - entries.get(subject, 0)} answers have no entry"
        living = {(person.subject, record) for person in self.model.people.values() for record in person.records}
        assert stored == keyed == living
        assert found <= living
        epochs = json.loads((self.lab.home.config.keys / "keyring.json").read_text())["compartments"]["account"]["epochs"]
        for epoch in epochs.values():
            states = ["", *(step["state"] for step in epoch["history"])]
            assert all(after in LEGAL[before] for before, after in itertools.pairwise(states)), states
