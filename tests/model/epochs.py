"""Steps on keys: rotations, the keeper, suspended and destroyed epochs, and the desk's calendar."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from armonika.rules.key_states import IllegalTransition, KeyState
from armonika.supervisor.key_desk import KeyDeskError
from armonika.trust.keys import Keyring
from tests.model.base import PICK, USE, told
from tests.model.people import People


class Epochs(People):
    """Steps on keys: rotations, the keeper, suspended and destroyed epochs, and the desk's calendar."""

    def inventory(self) -> list[Any]:
        return [line for line in Keyring.open(self.lab.home.config.keys).epochs.inventory() if line.compartment == "account"]

    @precondition(lambda self: self.rotations < 2)
    @rule(prepared=st.booleans())
    @told
    def rotate(self, prepared: bool) -> None:
        self.took("rotate")
        self.rotations += 1
        desk = self.lab.home.desk
        if prepared:
            made = desk.prepare(["account"], "model")
            desk.activate(made, "model")
        else:
            desk.rotate(["account"], "model")

    @rule(steps=st.integers(1, 6))
    @told
    def keep(self, steps: int) -> None:
        self.took("keeper")
        for keeper in self.lab.keepers:
            for _ in range(steps):
                keeper.step()

    @rule(stop=st.booleans())
    @told
    def pause(self, stop: bool) -> None:
        self.took("pause")
        self.lab.home.desk.pause(stop)
        if stop:
            assert not self.lab.keepers[0].step(), "a held rotation does nothing"
            self.lab.home.desk.pause(False)

    @rule(number=PICK, early=st.booleans())
    @told
    def destroy(self, number: int, early: bool) -> None:
        """Only an epoch with nothing under it goes, and only when no backup needs it."""
        self.took("destroy")
        self.lab.home.desk.sync()
        lines = self.inventory()
        line = lines[number % len(lines)]
        used = self.lab.home.value(
            f"SELECT count(*) FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment WHERE c.name = 'account' AND k.epoch = {line.epoch}"
        )
        try:
            self.lab.home.desk.destroy("account", line.epoch, "model", early=early)
        except (KeyDeskError, IllegalTransition):
            assert line.state is KeyState.DESTROYED or line.retired_at is None or not early
        else:
            assert used == 0
            assert line.state is not KeyState.ACTIVE

    @rule(number=PICK, state=st.sampled_from([KeyState.ACTIVE, KeyState.SUSPENDED]))
    @told
    def mark(self, number: int, state: KeyState) -> None:
        """A suspended epoch stops every writing; then it is made active again."""
        self.took("mark")
        line = next(line for line in self.inventory() if line.state is KeyState.ACTIVE)
        if state is KeyState.ACTIVE:
            with pytest.raises(IllegalTransition):
                self.lab.home.desk.mark("account", line.epoch, state, "model")
            return
        self.lab.home.desk.mark("account", line.epoch, state, "model")
        values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
        _, error = self.attempt(lambda: self.lab.vault.create(self.lab.home.token, *USE, [self.new(values)]))
        assert error is not None, "nothing is written under a suspended epoch"
        self.lab.home.desk.mark("account", line.epoch, KeyState.ACTIVE, "model")

    @precondition(lambda self: self.rotations < 2)
    @rule(days=st.sampled_from([-40.0, -1.0, 0.5, 31.0, 70.0]))
    @told
    def clock_jump(self, days: float) -> None:
        """The desk's calendar with a clock that goes forth and back: what is still needed is never destroyed (checked by every later read)."""
        self.took("clock jump")
        self.rotations += 1
        self.lab.clock(days)
        self.lab.home.desk.tend()
