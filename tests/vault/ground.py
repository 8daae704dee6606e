"""A compartment of a test's own with records of noise: what a rotation does to it touches nobody else's keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from armonika.trust.vault import secret_hash
from armonika.trust.vault.types import SecretHash
from tests.vault.stage import Stage

Person = tuple[UUID, UUID]
Lookup = tuple[int, int, bytes]
KEEPERS = ("keeper", "timpani")


def digest(number: int) -> bytes:
    """Digests in the order of their numbers."""
    return bytes([number]) * 32


class Ground:
    """One compartment with one dataset of two fields, known to no door until `kept`."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.name = stage, f"ground-{uuid4().hex[:12]}"
        self.id = int(
            stage.value("INSERT INTO vault.compartment SELECT max(id) + 1, %s FROM vault.compartment RETURNING id", self.name)
        )
        self.dataset = int(
            stage.value(
                "INSERT INTO vault.dataset SELECT max(id) + 1, %s, %s FROM vault.dataset RETURNING id", self.name, self.id
            )
        )
        for ordinal in (1, 2):
            stage.admin.execute("INSERT INTO vault.field VALUES (%s, %s, %s)", (self.dataset, ordinal, f"field_{ordinal}"))

    def kept(self, door: str, mode: str = "full", policy: int | None = None) -> Ground:
        self.stage.admin.execute(
            "INSERT INTO vault.door_compartment VALUES (%s, %s, %s, %s)",
            (self.stage.policy if policy is None else policy, door, self.id, mode),
        )
        return self

    def declared(self) -> Ground:
        """The policy in force declares the dataset, and looks up by its first field."""
        self.stage.admin.execute("INSERT INTO vault.declared_field VALUES (%s, %s, 3, 0, 1)", (self.stage.policy, self.dataset))
        return self

    def epochs(self, **states: str) -> Ground:
        """`_1="active"`: epoch 1 is active, whatever it was."""
        # The database lets one epoch of a compartment be written at a time.
        for name, state in sorted(states.items(), key=lambda one: one[1] in ("active", "suspended")):
            self.stage.admin.execute(
                "INSERT INTO vault.epoch VALUES (%s, %s, %s) ON CONFLICT (compartment, epoch) DO UPDATE SET state = excluded.state",
                (self.id, int(name[1:]), state),
            )
        return self

    def states(self) -> dict[int, str]:
        found = self.stage.admin.execute("SELECT epoch, state FROM vault.epoch WHERE compartment = %s", (self.id,)).fetchall()
        return dict(found)

    def record(self, epoch: int, *lookups: Lookup, kind: int = 1, person: UUID | None = None, sole: bool = False) -> Person:
        """A record under an epoch, with look-ups as (ordinal, epoch, digest)."""
        subject, record, admin = person or uuid4(), uuid4(), self.stage.admin
        if person is None:
            admin.execute("INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", (subject,))
        admin.execute(
            "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) "
            "VALUES (%s, %s, %s, 1, '{1}', ARRAY[''::bytea], '{1}', '{1}')",
            (subject, record, self.dataset),
        )
        admin.execute(
            "INSERT INTO vault.data_key VALUES (%s, %s, %s, %s, %s, %s)", (subject, record, self.id, epoch, kind, record.bytes)
        )
        for lookup in lookups:
            self.look_up((subject, record), lookup, sole)
        return subject, record

    def look_up(self, person: Person, lookup: Lookup, sole: bool = False) -> None:
        self.stage.admin.execute(
            "INSERT INTO vault.lookup VALUES (%s, %s, %s, %s, %s, %s, %s)", (self.dataset, *lookup, *person, sole)
        )

    def people(self, count: int, epoch: int = 1) -> list[Person]:
        """So many records in the order in which keys are walked through."""
        return sorted(self.record(epoch) for _ in range(count))

    def key(self, person: Person) -> tuple[Any, ...] | None:
        return self.stage.admin.execute(
            "SELECT epoch, kind, wrapped FROM vault.data_key WHERE subject_id = %s AND record_id = %s", person
        ).fetchone()

    def lookups(self) -> list[tuple[Any, ...]]:
        """(ordinal, epoch, digest, subject, record, sole) of every look-up."""
        return self.stage.admin.execute(
            "SELECT ordinal, epoch, digest, subject_id, record_id, sole FROM vault.lookup WHERE dataset = %s ORDER BY 1, 2, 3, 4, 5",
            (self.dataset,),
        ).fetchall()

    def clear(self) -> None:
        admin = self.stage.admin
        admin.execute("DELETE FROM vault.record WHERE dataset = %s", (self.dataset,))
        admin.execute("DELETE FROM vault.rule WHERE dataset = %s", (self.dataset,))
        admin.execute("DELETE FROM vault.declared_field WHERE dataset = %s", (self.dataset,))
        admin.execute("DELETE FROM vault.field WHERE dataset = %s", (self.dataset,))
        admin.execute("DELETE FROM vault.dataset WHERE id = %s", (self.dataset,))
        admin.execute("DELETE FROM vault.door_compartment WHERE compartment = %s", (self.id,))
        admin.execute("DELETE FROM vault.epoch WHERE compartment = %s", (self.id,))
        admin.execute("DELETE FROM vault.compartment WHERE id = %s", (self.id,))


class Rounds:
    """The rotation as the administrator and as each keeper's own role."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.secrets = {door: self._secret(door) for door in KEEPERS}
        self.grounds: list[Ground] = []
        self.reset()

    def _secret(self, door: str) -> SecretHash:
        return secret_hash(self.stage.doors.server.provisioned.credentials(door).service_secret)  # type: ignore[attr-defined]

    def ground(self, *doors: str) -> Ground:
        made = Ground(self.stage)
        self.grounds.append(made)
        for door in doors:
            made.kept(door)
        return made

    def call(
        self, name: str, *words: Any, door: str = "keeper", secret: bytes | None = None, columns: str = "*"
    ) -> list[tuple[Any, ...]]:
        """A function that asks for the keeper's secret first."""
        given = [self.secrets[door] if secret is None else secret, *(word for word, _ in words)]
        places = ", ".join(f"${n}::{kind}" for n, kind in enumerate(["bytea", *(kind for _, kind in words)], start=1))
        return self.stage.rows(door, f"SELECT {columns} FROM vault.{name}({places})", *given)

    def cursor(self, door: str = "keeper") -> tuple[Any, ...]:
        """(after_subject, after_record, moved, redigested) of a keeper."""
        row = self.stage.admin.execute(
            "SELECT after_subject, after_record, moved, redigested FROM vault.rotation WHERE door = %s", (door,)
        ).fetchone()
        assert row is not None
        return row

    def at(self, person: Person, door: str = "keeper") -> None:
        self.stage.admin.execute(
            "UPDATE vault.rotation SET after_subject = %s, after_record = %s WHERE door = %s", (*person, door)
        )

    def reset(self) -> None:
        self.stage.admin.execute(
            "UPDATE vault.rotation SET paused = false, after_subject = DEFAULT, after_record = DEFAULT, moved = 0, total = 0, redigested = 0"
        )

    def close(self) -> None:
        self.reset()
        for ground in self.grounds:
            ground.clear()
