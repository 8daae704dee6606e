"""Actors, rules and people exactly as a test needs them, set up by the administrator; what is tested is then called as a door's own role."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.composite import CompositeInfo, register_composite

from armonika.trust import crypto
from armonika.trust.vault import codec
from armonika.trust.vault.types import Created
from tests.doors import Doors

_ROLES = itertools.count(1000)
READ, FIND, DESCRIBE, CREATE, CORRECT, ERASE, RESTRICT, RELEASE, ACCESSES = 1, 2, 3, 4, 5, 6, 7, 8, 16


@dataclass
class Stage:
    """One role of its own, with no rule; sessions of it; people of the shared installation."""

    doors: Doors
    admin: psycopg.Connection[Any]
    raw: dict[str, psycopg.Connection[Any]] = field(default_factory=dict)
    role: int = 0

    def __post_init__(self) -> None:
        catalogue = self.doors.api.catalogue
        self.role = next(_ROLES)
        while self.value("SELECT count(*) FROM vault.role WHERE id = %s", self.role):
            self.role = next(_ROLES)
        self.admin.execute("INSERT INTO vault.role VALUES (%s, %s, 'machine')", (self.role, f"stage-{self.role}"))
        self.policy = self.value("SELECT vault.policy_in_force()")
        self.account, self.provide, self.reason = (
            catalogue.dataset("account"),
            catalogue.purpose("provide"),
            catalogue.reason("integration"),
        )
        self._former()
        self._modes = self._doors()
        self.legal, self.rights = catalogue.purpose("legal"), catalogue.reason("rights-request")
        self.name, self.email = (1 << (self.account.ordinals[one] - 1) for one in ("name", "email"))

    def _doors(self) -> list[tuple[Any, ...]]:
        return self.admin.execute("SELECT mode, policy_id, door, compartment FROM vault.door_compartment").fetchall()

    def _former(self) -> None:
        """An earlier version of the policy, out of force, that allowed everything to everybody and everything while restricted."""
        if not self.value("SELECT count(*) FROM vault.policy_version WHERE policy_id = -1"):
            for statement in (
                "INSERT INTO vault.policy_version (policy_id, version, effective_from, sha256, document, catalogue) VALUES (-1, 'former', '2000-01-01', repeat('f', 64), '', '{}')",
                "INSERT INTO vault.dataset SELECT 998, 'former', compartment FROM vault.dataset WHERE name = 'account'",
                "INSERT INTO vault.declared_field SELECT -1, id, 4611686018427387903, 0, 0 FROM vault.dataset",
                "INSERT INTO vault.declared_purpose SELECT -1, id, true FROM vault.purpose", "INSERT INTO vault.declared_reason SELECT -1, r.id, p.id FROM vault.reason r, vault.purpose p",
                "INSERT INTO vault.door_compartment SELECT -1, d, id, 'full' FROM vault.compartment, unnest(ARRAY['site', 'console', 'api', 'worker', 'verifier', 'keeper', 'sealer']) d",
            ):  # fmt: skip
                self.admin.execute(statement.encode())
        self.admin.execute(
            "INSERT INTO vault.rule SELECT -1, %s, p.id, d.id, o, s, -1 FROM vault.purpose p, vault.dataset d, unnest(ARRAY[1, 2, 3, 4, 5, 6, 7, 16]) o, unnest(ARRAY['all', 'own', 'org']) s "
            "WHERE p.name IN ('provide', 'legal') AND d.name IN ('account', 'staff', 'former')",
            (self.role,),
        )

    def value(self, statement: str, *parameters: object) -> Any:
        row = self.admin.execute(statement.encode(), parameters).fetchone()
        return row[0] if row else None

    def session(
        self, door: str = "api", kind: str = "token", actor: UUID | None = None, org: UUID | None = None, **columns: object
    ) -> bytes:
        """The hash of a living session of this stage's role. `columns` are SQL expressions."""
        secret = crypto.random_bytes(32)
        self.admin.execute(
            "INSERT INTO vault.session (secret_hash, actor, role, org_id, door, kind, expires_at) VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp() + interval '1 hour')",
            (secret, actor or uuid4(), self.role, org, door, kind),
        )
        self.alter(secret, **columns)
        return secret

    def alter(self, secret: bytes, **columns: object) -> None:
        for name, expression in columns.items():
            self.admin.execute(f"UPDATE vault.session SET {name} = {expression} WHERE secret_hash = %s".encode(), (secret,))

    def actor(self, secret: bytes) -> UUID:
        return UUID(str(self.value("SELECT actor FROM vault.session WHERE secret_hash = %s", secret)))

    def allow(
        self,
        operation: int,
        scope: str = "all",
        fields: int = -1,
        purpose: int | None = None,
        dataset: int | None = None,
        role: int | None = None,
    ) -> None:
        """One more rule, for this stage's role by default."""
        self.admin.execute(
            "INSERT INTO vault.rule (policy_id, role, purpose, dataset, operation, scope, fields) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (self.policy, role or self.role, purpose or self.provide, dataset or self.account.id, operation, scope, fields),
        )

    def forbid(self) -> None:
        self.admin.execute("DELETE FROM vault.rule WHERE role = %s AND policy_id <> -1", (self.role,))

    def person(self, org: UUID | None = None, state: str = "active", **values: str) -> Created:
        made = self.doors.people(1, org, **values)[0]
        if state != "active":
            self.admin.execute("UPDATE vault.subject SET state = %s WHERE subject_id = %s", (state, made.subject))
        return made

    def rows(self, door: str, statement: str, *parameters: object, taken: bool = False) -> list[tuple[Any, ...]]:
        """As the role of a door, in autocommit. `taken`: what procedures give of `take` is wanted as rows."""
        if door not in self.raw:
            self.raw[door] = self.doors.raw(door, autocommit=True)
        if taken:
            register_composite(CompositeInfo.fetch(self.raw[door], "vault.taken"), self.raw[door])
        with self.raw[door].cursor(binary=True) as cursor:
            cursor.execute(codec.percent(statement).encode(), parameters)
            return cursor.fetchall()

    def refused(self, door: str, statement: str, *parameters: object) -> str:
        """The SQLSTATE with which a call is refused; '' when it is not."""
        try:
            self.rows(door, statement, *parameters)
        except psycopg.Error as error:
            return str(error.sqlstate)
        return ""

    def ask(self, secret: bytes, whom: UUID | None, mask: int | None = None, *, what: int | None = READ, purpose: int | None = None, reason: int | None = None,
            ref: str | None = None, record: UUID | None = None, dataset: int | None = None, door: str = "api") -> tuple[int | None, int]:  # fmt: skip
        ((ticket, verdict),) = self.rows(
            door, codec.ASK, [secret], [what], [purpose or self.provide], [reason or self.reason], [ref], [whom], [record], [dataset or self.account.id],
            [self.name if mask is None else mask], [1],
        )  # fmt: skip
        return ticket, verdict

    def verdict(self, *words: Any, **more: Any) -> int:
        ticket, verdict = self.ask(*words, **more)
        assert (ticket is None) == (verdict != 0)
        return verdict

    def take(self, secret: bytes, *tickets: int | None, door: str = "api") -> list[tuple[Any, ...]]:
        return self.rows(door, codec.TAKE, [secret], list(tickets), [1] * len(tickets))

    def entries(self, last: int) -> list[tuple[Any, ...]]:
        """(operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id) after a number."""
        return self.admin.execute(
            "SELECT operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id FROM vault.audit WHERE audit_id > %s ORDER BY audit_id",
            (last,),
        ).fetchall()

    def last(self) -> int:
        return int(self.value("SELECT max(audit_id) FROM vault.audit"))

    @contextmanager
    def unkept(self) -> Any:
        """Inside, the administrator may change what is only ever added."""
        self.admin.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            self.admin.execute("SET session_replication_role = origin")

    def narrowed(self, secret: bytes, **bounds: Sequence[int] | None) -> None:
        for name, held in bounds.items():
            self.admin.execute(
                f"UPDATE vault.session SET scope_{name} = %s::smallint[] WHERE secret_hash = %s".encode(), (held, secret)
            )

    def close(self) -> None:
        # A test that fails leaves nothing behind for the next one.
        for mode in set(self._modes) - set(self._doors()):
            self.admin.execute(
                "UPDATE vault.door_compartment SET mode = %s WHERE policy_id = %s AND door = %s AND compartment = %s", mode
            )
        self.admin.execute("DELETE FROM vault.rule WHERE role = %s", (self.role,))
        self.admin.execute("DELETE FROM vault.credential WHERE role = %s", (self.role,))
        self.admin.execute("DELETE FROM vault.session WHERE role = %s", (self.role,))
        for connection in self.raw.values():
            connection.close()
        self.admin.close()
