"""The one clock. Deadlines are counted in calendar days of Africa/Algiers (UTC+1, no summer time)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

ALGIERS = ZoneInfo("Africa/Algiers")
Clock = Callable[[], datetime]


def now() -> datetime:
    """The present moment in Algiers. Functions that need a time take a `Clock`, so that every deadline can be tested."""
    return datetime.now(UTC).astimezone(ALGIERS)
