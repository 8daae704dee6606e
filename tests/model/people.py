"""Steps on people: made, read, found, corrected, restricted, ended, erased, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from armonika.trust.vault.errors import (
    Duplicate,
    Forbidden,
    Invalid,
    Refused,
    Undeclared,
    VersionConflict,
)
from armonika.trust.vault.types import NewRecord
from tests.model.base import FIELDS, PICK, USE, WORDS, Base, kind_of, told


class People(Base):
    """Steps on people: made, read, found, corrected, restricted, ended, erased, and several at once."""

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
