"""When a record may end (claims 6a.0 to 6a.10): calendar days of the policy's time zone. Pure: the time comes from the caller.

The day of the event is day 0. The last day, day `days`, is kept whole; from the first moment of the day after it the record may end, and within
`LAG` it must: an IP address kept 365 days is gone on day 366. The database decides by the same arithmetic (store/sql/functions/retention.sql).
"""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo

from armonika.rules.deadlines import ALGIERS

LAG = timedelta(days=1)
"""How late the job may be (claim 6a.9)."""
STARTS = ("recording", "event", "latest-event")


def began(starts: str, recorded_at: datetime, event_at: datetime | None) -> datetime | None:
    """When the period of a record began; None while it does not run. Raises ValueError for an unknown way to start."""
    if starts == "recording":
        return recorded_at
    if starts == "event":
        return event_at
    if starts == "latest-event":
        return recorded_at if event_at is None else max(recorded_at, event_at)
    raise ValueError(f"a period starts with one of {', '.join(STARTS)}")


def ends(began_at: datetime, days: int, zone: tzinfo = ALGIERS) -> datetime:
    """The first moment at which a record may end. Raises ValueError for a time without a zone, or fewer than one day."""
    _whole(began_at, days)
    return datetime.combine(began_at.astimezone(zone).date() + timedelta(days=days + 1), time(), zone)


def cutoff(now: datetime, days: int, zone: tzinfo = ALGIERS) -> datetime:
    """What began before this moment may end now; what began at it, or later, may not. The inverse of `ends`."""
    _whole(now, days)
    return datetime.combine(now.astimezone(zone).date() - timedelta(days=days), time(), zone)


def may_end(began_at: datetime | None, days: int, now: datetime, zone: tzinfo = ALGIERS) -> bool:
    """Whether a record may end now. A period that does not run never ends."""
    return began_at is not None and now >= ends(began_at, days, zone)


def overdue(began_at: datetime | None, days: int, now: datetime, zone: tzinfo = ALGIERS) -> bool:
    """Whether a record is kept longer than period and lag: an offence (Law 18-07 art. 65), and an alarm."""
    return began_at is not None and now >= ends(began_at, days, zone) + LAG


def _whole(at: datetime, days: int) -> None:
    if at.utcoffset() is None:
        raise ValueError("a time needs its zone")
    if days < 1:
        raise ValueError("a period is at least one day")
