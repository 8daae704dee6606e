"""The retention job as its own role in the database, and what is planted for it, inside a transaction that is rolled back."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.vault.stage import ERASE, Stage
from tests.vault.undone import record, rows

EXPIRE = "SELECT record FROM vault.expire(%s, %s)"
OLD, YOUNG, NOW = "clock_timestamp() - interval '7000 days'", "clock_timestamp() - interval '1 day'", "clock_timestamp()"


def edge(name: str, days: int = 0, before: int = 0) -> str:
    """So many microseconds before the first beginning that a dataset's period has not ended for; `days`: as it was so many days ago."""
    return (
        f"(SELECT vault.cutoff(d.zone, d.days, clock_timestamp() - interval '{days} days') - interval '{before} microseconds' FROM vault.declared_retention d "
        f"JOIN vault.dataset s ON s.id = d.dataset WHERE s.name = '{name}' AND d.policy_id = vault.policy_in_force())"
    )


class Job:
    """The job's own role, over datasets that begin with what is planted here; nothing is left of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.secret = stage.session("retention", "service")
        rows(stage, "SELECT vault.confirm_clock()")
        rows(stage, "DELETE FROM vault.retention")
        rows(stage, "SET LOCAL session_replication_role = replica")
        rows(stage, "UPDATE vault.record SET created_at = clock_timestamp()")
        rows(stage, "SET LOCAL session_replication_role = origin")
        rows(
            stage,
            'INSERT INTO vault.declared_retention SELECT (jsonb_populate_record(d, \'{"policy_id": -1, "days": 1}\')).* FROM vault.declared_retention d WHERE d.policy_id = %s',
            stage.policy,
        )
        for name in ("account", "demo"):
            stage.allow(ERASE, fields=0, purpose=stage.legal, dataset=self.dataset(name))

    def dataset(self, name: str) -> int:
        return int(self.stage.value("SELECT id FROM vault.dataset WHERE name = %s", name))

    def plant(self, name: str, created: str, began: str | None = None, whom: UUID | None = None) -> tuple[UUID, UUID]:
        whom = whom or self.someone()
        number = record(self.stage, whom, self.dataset(name), created)
        if began:
            rows(self.stage, f"INSERT INTO vault.retention VALUES (%s, %s, %s, {began}, 1)", whom, number, self.dataset(name))
        return whom, number

    def someone(self) -> UUID:
        whom = uuid4()
        rows(self.stage, "INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", whom)
        self.stage.session(actor=whom, kind="session")
        return whom

    def call(self, statement: str, *given: object) -> list[tuple[Any, ...]]:
        return rows(self.stage, statement, *given, door="retention")

    def expire(self, most: int = 100) -> list[UUID]:
        return [number for (number,) in self.call(EXPIRE, self.secret, most)]

    def signed_in(self, whom: UUID) -> bool:
        return bool(self.stage.value("SELECT count(*) FROM vault.session WHERE actor = %s", whom))

    def progress(self) -> dict[str, tuple[Any, ...]]:
        found = self.call("SELECT dataset, class, due, overdue FROM vault.retention_progress()")
        return {name: more for name, *more in found}  # type: ignore[misc]
