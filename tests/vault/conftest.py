"""A stage for tests that call the vault's functions as a door's own role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doors import Doors
from tests.vault.ground import Rounds
from tests.vault.stage import Stage


@pytest.fixture
def stage(doors: Doors) -> Iterator[Stage]:
    made = Stage(doors, doors.admin())
    yield made
    made.close()


@pytest.fixture
def rounds(stage: Stage) -> Iterator[Rounds]:
    made = Rounds(stage)
    yield made
    made.close()
