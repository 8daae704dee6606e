"""Calls that nothing is left of: inside a transaction of the administrator that is rolled back, also with the rights of a door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tests.vault.stage import Stage


@contextmanager
def undone(stage: Stage) -> Iterator[None]:
    """Whatever happens inside is gone afterwards."""
    with stage.admin.transaction(force_rollback=True):
        yield


def rows(stage: Stage, statement: str, *given: object, door: str | None = None) -> list[tuple[Any, ...]]:
    """A statement in a savepoint of its own; `door`: with the database role of that door."""
    with stage.admin.transaction():
        if door is not None:
            stage.admin.execute(f"SET LOCAL SESSION AUTHORIZATION armonika_{door}".encode())
        done = stage.admin.execute(statement.encode(), given)
        found = done.fetchall() if done.description else []
        if door is not None:
            stage.admin.execute("RESET SESSION AUTHORIZATION")
    return found


def refused(stage: Stage, statement: str, *given: object, door: str | None = None) -> str:
    """The SQLSTATE with which a call is refused; '' when it is not."""
    try:
        rows(stage, statement, *given, door=door)
    except psycopg.Error as error:
        return str(error.sqlstate)
    return ""


def record(
    stage: Stage, whom: UUID, dataset: int | None = None, created_at: str = "clock_timestamp()", number: UUID | None = None
) -> UUID:
    """One more record of a person, with noise for value and key. `created_at` is an SQL expression."""
    number, of = number or uuid4(), dataset or stage.account.id
    rows(
        stage,
        "INSERT INTO vault.record (subject_id, record_id, dataset, created_at, present, versions, ciphertexts, origins, events) "
        f"VALUES (%s, %s, %s, {created_at}, 1, '{{1}}', ARRAY[''::bytea], '{{1}}', '{{1}}')",
        whom,
        number,
        of,
    )
    rows(
        stage,
        "INSERT INTO vault.data_key SELECT %s, %s, d.compartment, 1, 1, '' FROM vault.dataset d WHERE d.id = %s",
        whom,
        number,
        of,
    )
    return number
