"""What every kind of step needs: doing a thing to the real vault, catching its typed refusal, and comparing."""

from __future__ import annotations

import functools
import threading
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from armonika.trust.vault.errors import (
    Refused,
    Restricted,
    VaultError,
)
from armonika.trust.vault.types import NewRecord
from tests.model.lab import Lab
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
    def stepping(machine: Base, *words: Any, **more: Any) -> None:
        try:
            step(machine, *words, **more)
        except Exception as error:
            machine.lab.failures.append(error)
            raise

    return stepping


class Base(RuleBasedStateMachine):
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
