"""The rate rule to the unit: intervals, limits and seconds written out (ITU-T I.371, annex A)."""

from __future__ import annotations

import pytest

from armonika.rules.rate import SECOND, Rate, charge, next_unit, remaining, wait

NOW = 10**18
FIVE = Rate(5, 10, 2 * SECOND)


def test_a_rate_is_a_quota_over_a_window() -> None:
    assert SECOND == 1_000_000_000
    assert Rate.of(5, 10) == FIVE
    assert Rate.of(60) == (60, 60, SECOND)
    assert Rate.of(7, 1).interval == 142_857_143, "rounded up"
    assert Rate.of(1, 1) == (1, 1, SECOND)
    for bad in ((0, 1), (1, 0), (-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            Rate.of(*bad)


def test_charging() -> None:
    assert charge(FIVE, 0, NOW, 5) == (True, NOW + 10 * SECOND)
    assert charge(FIVE, 0, NOW, 6) == (False, 0)
    assert charge(FIVE, NOW, NOW, 1) == (True, NOW + 2 * SECOND)
    assert charge(FIVE, NOW + 2 * SECOND, NOW, 4) == (True, NOW + 10 * SECOND)
    assert charge(FIVE, NOW + 2 * SECOND, NOW, 5) == (False, NOW + 2 * SECOND)


def test_what_remains_and_when_more_comes() -> None:
    for owed, left, seconds in (
        (0, 5, 0),
        (1, 4, 1),
        (2 * SECOND, 4, 2),
        (2 * SECOND + 1, 3, 1),
        (3 * SECOND, 3, 1),
        (3 * SECOND + 1, 3, 2),
        (10 * SECOND, 0, 2),
    ):
        assert remaining(FIVE, NOW + owed, NOW) == left
        assert next_unit(FIVE, NOW + owed, NOW) == seconds
    assert remaining(FIVE, NOW - 5, NOW) == 5
    assert next_unit(FIVE, NOW - 5, NOW) == 0


def test_waiting() -> None:
    assert wait(FIVE, 0, NOW, 6) is None
    assert wait(FIVE, 0, NOW, 5) == 0
    assert wait(FIVE, NOW + 1, NOW, 5) == 1
    assert wait(FIVE, NOW + 10 * SECOND, NOW, 1) == 2 * SECOND
    assert wait(FIVE, NOW + 2 * SECOND, NOW, 4) == 0
