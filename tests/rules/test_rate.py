"""The rate rule against its definition: what is admitted in any span, what is told, and that waiting as told is enough and no less is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika.rules.rate import SECOND, Rate, charge, next_unit, remaining, wait

RATES = st.builds(Rate.of, st.integers(1, 2_000_000), st.integers(1, 3600))
SMALL = st.builds(Rate.of, st.integers(1, 20), st.integers(1, 60))
STEPS = st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 25)), min_size=1, max_size=60)


@given(SMALL, STEPS)
def test_no_span_holds_more_than_the_quota_and_what_came_back_in_it(rate: Rate, steps: list[tuple[int, int]]) -> None:
    now, paid_off, admitted = 10**18, 0, []
    for pause, units in steps:
        now += pause
        before = remaining(rate, paid_off, now)
        granted, paid_off = charge(rate, paid_off, now, units)
        assert granted == (units <= before), "what is told to remain is what may be asked"
        assert remaining(rate, paid_off, now) == before - (units if granted else 0)
        assert 0 <= remaining(rate, paid_off, now) <= rate.quota
        if granted:
            admitted.append((now, units))
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last][0] - admitted[first][0]
            assert sum(units for _, units in admitted[first : last + 1]) * rate.interval <= rate.quota * rate.interval + span


@given(RATES, st.integers(0, 7200 * SECOND), st.integers(1, 2_000_000))
def test_waiting_as_told_is_enough_and_less_is_not(rate: Rate, owed: int, units: int) -> None:
    now = 10**18
    paid_off = now + min(owed, rate.quota * rate.interval)
    told = wait(rate, paid_off, now, units)
    if units > rate.quota:
        assert told is None
        assert not charge(rate, 0, now, units)[0]
        return
    assert told is not None
    assert charge(rate, paid_off, now + told, units)[0]
    assert told == 0 or not charge(rate, paid_off, now + told - 1, units)[0]


@given(RATES, st.integers(0, 7200 * SECOND))
def test_the_next_unit_comes_when_it_is_told(rate: Rate, owed: int) -> None:
    now = 10**18
    paid_off = now + min(owed, rate.quota * rate.interval)
    held, told = remaining(rate, paid_off, now), next_unit(rate, paid_off, now)
    assert (told == 0) == (held == rate.quota)
    assert told == 0 or remaining(rate, paid_off, now + told * SECOND) > held
    assert remaining(rate, paid_off, now + rate.quota * rate.interval) == rate.quota, "all is back after the window"
    assert rate.quota * rate.interval - rate.window * SECOND < rate.quota, "which is longer by rounding only"


def test_what_is_no_limit_is_refused() -> None:
    for quota, window in ((0, 60), (-1, 60), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            Rate.of(quota, window)
