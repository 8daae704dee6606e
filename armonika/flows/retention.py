"""The job that ends what has expired (claim 6a.6): a run ends all that is due, page by page, and may be killed at any step and run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from armonika.trust.vault.errors import ClockUntrusted
from armonika.trust.vault.retention import Expirer

MOST_DRIFT_SECONDS = 3600.0
"""How far the wall clock may run away from the time that has really passed since the job began."""


@dataclass
class Run:
    """What one run did: records ended, people of whom nothing is left, and rows of each kind that nobody collected."""

    ended: int = 0
    emptied: int = 0
    purged: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Steady:
    """Compares the wall clock with one that nobody can set. A wall clock that was set forward would end records before their time, for good."""

    wall: Callable[[], float]
    steady: Callable[[], float]
    _apart: float | None = None

    def check(self) -> None:
        """Raises ClockUntrusted when the wall clock jumped forward since the first call. Stays so until the process is started again."""
        apart = self.wall() - self.steady()
        if self._apart is None:
            self._apart = apart
        if apart - self._apart > MOST_DRIFT_SECONDS:
            raise ClockUntrusted(
                "the clock jumped forward while the job ran: nothing is ended until somebody has looked at it and started the worker again"
            )


def run(expirer: Expirer, purge: bool = True, steady: Steady | None = None) -> Run:
    """Ends everything that is due now. Raises ClockUntrusted, SessionEnded, Unavailable; what was ended until then stays ended."""
    done = Run()
    while True:
        if steady is not None:
            steady.check()
        page = expirer.expire()
        if not page:
            break
        done.ended += len(page)
    done.emptied = expirer.end_empty()
    if purge:
        gone: Counter[str] = Counter()
        while any((rows := expirer.purge()).values()):
            gone.update(rows)
        done.purged = dict(gone)
    return done
