"""What the vault should hold and answer, in plain Python: no key, no database, no log."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class Person:
    """A person as the model knows them: values with versions by record."""

    subject: UUID
    email: str
    records: dict[UUID, dict[str, tuple[str, int]]]
    state: str = "active"
    entries: int = 0
    """How many entries about this person the log must have at the least."""


@dataclass
class Model:
    """Everybody that one run made. `counts` is how often each kind of step was taken."""

    people: dict[UUID, Person] = field(default_factory=dict)
    ended: set[tuple[UUID, UUID]] = field(default_factory=set)
    tickets: list[tuple[int, UUID, int]] = field(default_factory=list)
    """(number of the entry, person, operation) of what was answered."""

    def living(self) -> list[Person]:
        return [person for person in self.people.values() if person.state != "erased"]

    def by_email(self, email: str) -> Person | None:
        return next((person for person in self.living() if person.email == email.casefold()), None)

    def create(self, subject: UUID, record: UUID, values: dict[str, str]) -> Person:
        person = Person(subject, values["email"].casefold(), {record: {name: (value, 1) for name, value in values.items()}})
        self.people[subject] = person
        return person

    def correct(self, person: Person, record: UUID, changes: dict[str, str]) -> None:
        held = person.records[record]
        for name, value in changes.items():
            held[name] = (value, held.get(name, ("", 0))[1] + 1)
        if "email" in changes:
            person.email = changes["email"].casefold()

    def erase(self, person: Person) -> None:
        self.ended |= {(person.subject, record) for record in person.records}
        person.records, person.state = {}, "erased"

    def end(self, person: Person, record: UUID) -> None:
        self.ended.add((person.subject, record))
        del person.records[record]
