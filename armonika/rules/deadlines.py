"""Deadlines in calendar days of Africa/Algiers. Pure: the time comes from the caller."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ALGIERS = ZoneInfo("Africa/Algiers")
RIGHTS_DAYS = 10
"""Rectification, erasure, locking: 10 days from receipt (Law 18-07 art. 35); access the same by our own choice."""


def due(received_at: datetime, days: int = RIGHTS_DAYS) -> datetime:
    """The last moment of the last day: day 0 is the day of receipt, and neither weekend nor holiday moves it."""
    last: date = received_at.astimezone(ALGIERS).date() + timedelta(days=days)
    return datetime.combine(last, time(23, 59, 59), ALGIERS)
