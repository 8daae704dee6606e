"""When a record may end: to the second, at month ends, leap days, year ends, whatever zone the time is written in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from armonika.rules.deadlines import ALGIERS
from armonika.rules.retention import LAG, began, cutoff, ends, may_end, overdue

SECOND = timedelta(seconds=1)
moments = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001 (Hypothesis wants bounds without a zone)
    datetime(2120, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
periods = st.integers(1, 36600)


@pytest.mark.parametrize(
    ("at", "days", "first"),
    [
        ((2026, 11, 25, 12), 365, "2027-11-26"),  # the IP address of day 366
        ((2026, 11, 25, 12), 90, "2027-02-24"),  # the drug test of day 91
        ((2027, 2, 28, 12), 365, "2028-02-29"),  # a leap day is a day
        ((2028, 2, 29, 12), 365, "2029-03-01"),
        ((2028, 2, 28, 22, 59, 59), 1, "2028-03-01"),
        ((2026, 12, 31, 22, 59, 59), 1, "2027-01-02"),
        ((2026, 12, 31, 23), 1, "2027-01-03"),  # midnight in Algiers is 23:00 UTC
        ((2026, 1, 31, 12), 30, "2026-03-03"),
        ((2026, 12, 31, 12), 3653, "2037-01-01"),  # ten years from the close of a fiscal year, and not a day less
        ((2028, 12, 31, 12), 3653, "2039-01-02"),
    ],
)
def test_a_record_may_end_from_the_first_moment_of_the_day_after_the_last(at: tuple[int, ...], days: int, first: str) -> None:
    begin = datetime(*at, tzinfo=UTC)  # type: ignore[arg-type,misc]
    end = ends(begin, days)
    assert end.isoformat() == f"{first}T00:00:00+01:00"
    assert end.tzinfo is ALGIERS
    assert not may_end(begin, days, end - SECOND)
    assert may_end(begin, days, end)
    assert not overdue(begin, days, end + LAG - SECOND)
    assert overdue(begin, days, end + LAG)
    assert timedelta(days=1) == LAG


@given(moments, periods, moments, offsets, offsets)
@example(datetime(2028, 2, 29, 23, tzinfo=UTC), 365, datetime(2029, 3, 1, 22, 59, 59, tzinfo=UTC), UTC, UTC)
def test_never_before_the_period_and_a_day_later_at_the_latest(
    at: datetime, days: int, now: datetime, one: timezone, other: timezone
) -> None:
    end = ends(at, days)
    assert timedelta(days=days) < end - at <= timedelta(days=days + 1), "the last day is whole, and no other day is added"
    assert (now >= end) == may_end(at, days, now) == (at < cutoff(now, days))
    assert overdue(at, days, now) == may_end(at, days, now - LAG)
    assert ends(at.astimezone(one), days) == end, "in which zone a time is written changes nothing"
    assert cutoff(now.astimezone(other), days) == cutoff(now, days)


@given(moments, periods)
def test_cutoff_and_end_are_each_others_inverse(now: datetime, days: int) -> None:
    bound = cutoff(now, days)
    assert bound.utcoffset() is not None
    assert (bound.hour, bound.minute, bound.second, bound.microsecond) == (0, 0, 0, 0)
    assert not may_end(bound, days, now)
    assert may_end(bound - timedelta(microseconds=1), days, now)


@given(moments, periods, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_who_begins_later_ends_later_or_together(at: datetime, days: int, more: timedelta) -> None:
    assert ends(at + more, days) >= ends(at, days)
    assert ends(at, days + 1) > ends(at, days)


def test_a_zone_with_summer_time_keeps_calendar_days() -> None:
    paris = ZoneInfo("Europe/Paris")
    at = datetime(2027, 3, 27, 12, tzinfo=paris)
    assert ends(at, 1, paris).isoformat() == "2027-03-29T00:00:00+02:00"
    assert cutoff(datetime(2027, 3, 29, 0, tzinfo=paris), 1, paris).isoformat() == "2027-03-28T00:00:00+01:00"
    assert may_end(at, 1, datetime(2027, 3, 28, 22, 0, tzinfo=UTC), paris)
    assert not may_end(at, 1, datetime(2027, 3, 28, 21, 59, 59, tzinfo=UTC), paris)
    assert not overdue(at, 1, datetime(2027, 3, 29, 21, 59, 59, tzinfo=UTC), paris)
    assert overdue(at, 1, datetime(2027, 3, 29, 22, 0, tzinfo=UTC), paris)


def test_how_a_period_begins() -> None:
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    assert began("recording", first, None) == first
    assert began("recording", first, later) == first
    assert began("event", first, None) is None
    assert began("event", first, later) == later
    assert began("latest-event", first, None) == first
    assert began("latest-event", first, later) == later
    assert began("latest-event", later, first) == later
    assert not may_end(None, 1, later)
    assert not overdue(None, 1, later)
    with pytest.raises(ValueError, match="starts with one of recording, event, latest-event"):
        began("never", first, later)


def test_what_is_no_time_or_no_period_is_refused() -> None:
    for act in (ends, cutoff):
        with pytest.raises(ValueError, match="a time needs its zone"):
            act(datetime(2026, 1, 1), 1)  # noqa: DTZ001
        with pytest.raises(ValueError, match="at least one day"):
            act(datetime(2026, 1, 1, tzinfo=UTC), 0)
