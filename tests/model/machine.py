"""The state machine: every step is done to the vault, the keys or the log, and to the model; then both must say the same."""

from __future__ import annotations

import itertools
import json
from uuid import uuid4

import pytest
from hypothesis.stateful import invariant, precondition, rule

from armonika.trust.audit.sealer import AnotherSealer
from armonika.trust.vault.errors import (
    Refused,
    Unavailable,
)
from tests.model.base import PICK, USE, WORDS, kind_of, told
from tests.model.epochs import Epochs
from tests.model.lab import LEGAL


class Machine(Epochs):
    """The state machine: every step is done to the vault, the keys or the log, and to the model; then both must say the same."""

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
