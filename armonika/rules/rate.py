"""How much one caller may ask in a time: the generic cell rate algorithm (ITU-T I.371, annex A), with integers. Pure: the time comes from the caller.

One number is kept for each caller, the time at which all that was asked is paid off. In any span of T seconds after a pause a caller gets at
most `quota + T * quota / window`, and never more than `quota` at once.
"""

from __future__ import annotations

from typing import NamedTuple

SECOND = 1_000_000_000


class Rate(NamedTuple):
    """`quota` units at once, coming back one every `interval` nanoseconds, all of them in `window` seconds."""

    quota: int
    window: int
    interval: int

    @classmethod
    def of(cls, quota: int, window: int = 60) -> Rate:
        """Raises ValueError for what is no limit. The interval is rounded up, so that no fraction of a nanosecond is ever given away."""
        if quota < 1 or window < 1:
            raise ValueError("a quota and its window are at least 1")
        return cls(quota, window, -(-window * SECOND // quota))


def charge(rate: Rate, paid_off: int, now: int, units: int) -> tuple[bool, int]:
    """Whether `units` more are within the rate, and the new number to keep: the same one when they are not, so that a refusal costs nothing."""
    after = (paid_off if paid_off > now else now) + units * rate.interval
    return (True, after) if after - now <= rate.quota * rate.interval else (False, paid_off)


def remaining(rate: Rate, paid_off: int, now: int) -> int:
    """The units that may be asked now."""
    return rate.quota - -(-max(0, paid_off - now) // rate.interval)


def next_unit(rate: Rate, paid_off: int, now: int) -> int:
    """Whole seconds, rounded up, until one unit more is there; 0 when all are."""
    owed = paid_off - now
    return 0 if owed <= 0 else -(-(owed % rate.interval or rate.interval) // SECOND)


def wait(rate: Rate, paid_off: int, now: int, units: int) -> int | None:
    """Nanoseconds until `units` are within the rate; None when they never are, because they are more than the quota."""
    if units > rate.quota:
        return None
    return max(0, max(paid_off, now) + (units - rate.quota) * rate.interval - now)
