"""Deadlines in calendar days of Algiers: month ends, leap day, year end, and any time zone of the caller (Law 18-07 art. 35)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from armonika.rules.deadlines import ALGIERS, RIGHTS_DAYS, due


@pytest.mark.parametrize(
    ("received", "last"),
    [((2026, 11, 24, 12), "2026-12-04"), ((2026, 12, 31, 22, 59), "2027-01-10"), ((2026, 12, 31, 23, 0), "2027-01-11"), ((2028, 2, 19, 10), "2028-02-29"), ((2027, 2, 19, 10), "2027-03-01")],
)  # fmt: skip
def test_ten_days_end_with_the_last_of_the_day_in_algiers(received: tuple[int, ...], last: str) -> None:
    assert RIGHTS_DAYS == 10
    at = datetime(*received, tzinfo=UTC)  # type: ignore[arg-type,misc]
    assert due(at).isoformat() == f"{last}T23:59:59+01:00"
    assert due(at.astimezone(timezone(timedelta(hours=-11)))) == due(at)
    assert due(at).tzinfo is ALGIERS
    assert str(ALGIERS) == "Africa/Algiers"


def test_other_periods() -> None:
    at = datetime(2026, 11, 24, 22, 30, tzinfo=UTC)
    assert due(at, 0).isoformat() == "2026-11-24T23:59:59+01:00"
    assert due(at + timedelta(hours=1), 0).isoformat() == "2026-11-25T23:59:59+01:00"
