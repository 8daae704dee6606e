"""How often and after which pause a call that may be repeated is sent again. Pure: the caller waits."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` sendings of one call. Pauses double from `first` to `longest` seconds; each is drawn at random below that, so that
    clients that failed together do not come back together. A Retry-After beyond `longest` is not waited for: the caller gets the error."""

    attempts: int = 4
    first: float = 0.1
    longest: float = 10.0

    def pause(self, sent: int, retry_after: float | None) -> float | None:
        """Seconds to wait after `sent` sendings, at least what the server asked for; None to give up."""
        if sent >= self.attempts or (retry_after or 0.0) > self.longest:
            return None
        drawn = random.uniform(0.0, min(self.longest, self.first * 2.0 ** min(sent - 1, 64)))  # noqa: S311 (spreads load; guards nothing)
        return (retry_after or 0.0) + drawn
