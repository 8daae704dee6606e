"""A stand-in for the database's side of sealing: any number of rows at once, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from armonika.trust.audit import entry
from armonika.trust.audit.tree import leaf_hash

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def row(number: int) -> tuple[Any, ...]:
    """Audit row `number` in the order of `entry.COLUMNS`."""
    return (number, BEGAN + timedelta(milliseconds=number), "read", "granted", "api", UUID(int=1), "integration", UUID(int=number), None, "account",
            ["name"], "provide", "integration", None, "0" * 64)  # fmt: skip


class Rows:
    """Answers what the sealer asks: `count` rows exist, `sealed` of them have leaves."""

    def __init__(self, count: int, sealed: int = 0) -> None:
        self.count, self.sealed, self.asked_from = count, sealed, count

    def execute(self, statement: str, parameters: Sequence[Any] = (), **_: Any) -> Rows:
        if "unsealed" in statement:
            first = self.sealed if parameters[1] is None else parameters[1] + 1
            self.found = [row(n) for n in range(first, min(first + parameters[0], self.count))]
        elif "append_leaves" in statement:
            assert parameters[0] == self.sealed
            self.sealed += len(parameters[1])
        else:
            first, most = parameters
            self.asked_from = min(self.asked_from, first)
            self.found = [(leaf_hash(entry.encode(row(n))), *row(n)) for n in range(first, min(first + most, self.sealed))]
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.found
