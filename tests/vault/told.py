"""A restored copy with the entries that it got back, inside a transaction that is undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.vault.stage import Stage
from tests.vault.undone import rows
from tests.vault.words import furnished

LOCKED, CREDENTIAL, TOKEN, HAPPENED, WITHDRAWN, FACTOR, STAFF_END = 7, 11, 12, 30, 31, 40, 42
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Copy:
    """A copy that got entries back, inside a transaction that is undone."""

    stage: Stage

    def said(self, operation: int, whom: UUID | None, which: UUID | None = None, *, door: str = "site", at: datetime = THEN, granted: bool = True, lost: bool = True, leaf: int | None = None) -> int:  # fmt: skip
        """An entry with its leaf; `lost`: it came back in this transaction."""
        number = int(self.stage.value("SELECT nextval('vault.audit_number')"))
        rows(
            self.stage,
            "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, purpose, reason, policy_id) "
            "VALUES (%s, %s, CASE WHEN %s THEN pg_current_xact_id() ELSE '3' END, %s, %s, %s, gen_random_uuid(), %s, %s, %s, %s, 0, 0, %s)",
            number, at, lost, operation, granted, door, self.stage.role, whom, which, self.stage.account.id, self.stage.policy,
        )  # fmt: skip
        where = self.size() if leaf is None else leaf
        rows(self.stage, "INSERT INTO vault.leaf VALUES (%s, %s, sha256(''))", where, number)
        if leaf is None:
            rows(self.stage, "UPDATE vault.seal_state SET size = size + 1")
        return number

    def size(self) -> int:
        return int(self.stage.value("SELECT size FROM vault.seal_state"))

    def told(self, first: int) -> int:
        return int(self.stage.value("SELECT vault.replay_events(%s)", first))

    def opens(self, whom: UUID) -> tuple[Any, ...]:
        """Whether the password of before opens, factors, recovery codes, living tokens."""
        (row,) = rows(
            self.stage,
            "SELECT (SELECT c.check_hash = %s FROM vault.credential c WHERE c.subject_id = %s), (SELECT count(*) FROM vault.second_factor WHERE subject_id = %s), "
            "(SELECT count(*) FROM vault.recovery_code WHERE subject_id = %s), (SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'token' AND revoked_at IS NULL)",
            b"c" * 32, whom, whom, whom, whom,
        )  # fmt: skip
        return row

    def someone(self) -> UUID:
        """A person with a password, a factor, a recovery code, a token, a session and a letter."""
        whom = furnished(self.stage, uuid4()).subject
        self.stage.session(actor=whom)
        rows(
            self.stage, "INSERT INTO vault.second_factor (subject_id, check_hash, last_step) VALUES (%s, %s, 1)", whom, b"f" * 32
        )
        rows(
            self.stage,
            "INSERT INTO vault.recovery_code (code_hash, subject_id) VALUES (sha256(%s), %s)",
            str(whom).encode(),
            whom,
        )
        return whom

    def state(self, whom: UUID) -> str:
        return str(self.stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom))

    def periods(self, whom: UUID) -> list[tuple[Any, ...]]:
        return rows(
            self.stage,
            "SELECT record_id, dataset, began_at, audit_id FROM vault.retention WHERE subject_id = %s ORDER BY 3",
            whom,
        )
