"""The frame of a check: evidence, verdict, positive control, sabotage (law report §4.0). A check that examined nothing has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from armonika.verify.context import Context

Verdict = Literal["TRUE", "FALSE", "STALE", "UNPROVEN", "ATTESTED"]


class CannotProbe(Exception):
    """The probe cannot run here (no browser, service down): the claim is UNPROVEN, never TRUE."""


@dataclass
class Evidence:
    """What one examination saw. `control` is the outcome of the positive control of the same run."""

    examined: int = 0
    failures: list[str] = field(default_factory=list)
    control: bool = True
    summary: str = ""

    def expect(self, truth: bool, failure: str) -> None:
        """Counts one object examined, and keeps the failure when it is not as it should be."""
        self.examined += 1
        if not truth:
            self.failures.append(failure)

    @property
    def red(self) -> bool:
        """Whether this examination would not pass."""
        return bool(self.failures) or self.examined == 0 or not self.control


@dataclass(frozen=True)
class Sabotage:
    """A planted bad state, always undone, that must turn the check red."""

    name: str
    plant: Callable[[Context], AbstractContextManager[Context]]


class Check(Protocol):
    """One claim's check. `hours` is how long its evidence stays fresh."""

    claim: str
    hours: int

    def examine(self, context: Context) -> Evidence: ...

    def sabotages(self) -> Iterator[Sabotage]: ...


@dataclass
class Result:
    """What a run says of one claim."""

    claim: str
    verdict: Verdict
    examined: int = 0
    summary: str = ""
    failures: list[str] = field(default_factory=list)
    planted: int = 0
    caught: int = 0
    missed: list[str] = field(default_factory=list)
    hours: int = 24
    seconds: float = 0.0


def run(check: Check, context: Context, sabotage: bool) -> Result:
    """Examines, and with `sabotage` plants every bad state of the check: one that stays green makes the claim FALSE."""
    result = Result(check.claim, "UNPROVEN", hours=check.hours)
    try:
        evidence = check.examine(context)
    except CannotProbe as reason:
        result.summary = str(reason)
        return result
    result.examined, result.summary, result.failures = evidence.examined, evidence.summary, evidence.failures[:20]
    if evidence.examined == 0:
        result.failures.append("nothing was examined")
    if not evidence.control:
        result.failures.append("the positive control failed: this check could not have seen a fault")
    if sabotage:
        for planted in check.sabotages():
            result.planted += 1
            with planted.plant(context) as altered:
                seen = check.examine(altered)
            if seen.red:
                result.caught += 1
            else:
                result.missed.append(planted.name)
                result.failures.append(f"the sabotage stayed green: {planted.name}")
    result.verdict = "FALSE" if result.failures else "TRUE"
    return result
