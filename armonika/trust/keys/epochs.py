"""Epochs of compartments: their states, their history, and what each state allows (NIST SP 800-57 part 1 §7).

The keyring says which epochs exist and in which state; the database says which one is written now (`vault.epoch`). An epoch that is retired there
(no data key and no look-up left) is deactivated here, kept for old backups alone, and destroyed when the last of those is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from armonika.rules.key_states import PROCESSES, PROTECTS, KeyState, change
from armonika.trust import crypto

_PARTS = ("kek", "index", "private")
AHEAD = timedelta(days=1)
"""How far ahead of the present an epoch may have begun: clocks of two machines differ."""


@dataclass(frozen=True, slots=True)
class EpochState:
    """One line of the inventory: no key."""

    compartment: str
    epoch: int
    state: KeyState
    since: datetime
    reason: str
    made: datetime
    retired_at: datetime | None


def now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)


class Epochs:
    """The part `compartments` of an opened keyring. The caller saves; every method leaves it consistent or unchanged."""

    def __init__(self, content: dict[str, Any], wrap: Callable[[str, bytes], str]) -> None:
        self._content, self._wrap = content, wrap

    def first(self, name: str) -> None:
        """Makes epoch 1 of a compartment that has none, active at once."""
        if name not in self._content:
            self._content[name] = {"epochs": {}}
            self.prepare(name, "first start")
            self.move(name, 1, KeyState.ACTIVE, "first start")

    def prepare(self, name: str, reason: str) -> int:
        """A new epoch, not active yet; one that was prepared before is taken again. Returns its number."""
        epochs = self._content[name]["epochs"]
        for number in epochs:
            if self.state(name, int(number)) is KeyState.PRE_ACTIVATION:
                return int(number)
        number = max((int(known) for known in epochs), default=0) + 1
        private, public = crypto.hpke_generate()
        place, at = f"compartment/{name}/{number}", now().isoformat(timespec="seconds")
        epochs[str(number)] = {
            "created": at,
            "history": [{"state": str(KeyState.PRE_ACTIVATION), "at": at, "reason": reason}],
            "kek": self._wrap(f"{place}/kek", crypto.random_bytes(32)),
            "index": self._wrap(f"{place}/index", crypto.random_bytes(32)),
            "private": self._wrap(f"{place}/private", private),
            "public": base64.b64encode(public).decode(),
        }
        return number

    def move(self, name: str, number: int, state: KeyState, reason: str) -> None:
        """One legal transition. Raises IllegalTransition. Destroying removes the key material itself."""
        entry = self._content[name]["epochs"][str(number)]
        change(self.state(name, number), state)
        entry.setdefault("history", self._history(name, number)).append(
            {"state": str(state), "at": now().isoformat(timespec="seconds"), "reason": reason}
        )
        if state is KeyState.DESTROYED:
            for part in (*_PARTS, "public"):
                entry.pop(part, None)

    def activate(self, name: str, number: int, reason: str) -> None:
        """Makes `number` the active epoch and deactivates the one before it, as one change."""
        for other in self._content[name]["epochs"]:
            if int(other) != number and self.state(name, int(other)) in (KeyState.ACTIVE, KeyState.SUSPENDED):
                self.move(name, int(other), KeyState.DEACTIVATED, reason)
        if self.state(name, number) is not KeyState.ACTIVE:
            self.move(name, number, KeyState.ACTIVE, reason)

    def retired(self, name: str, number: int, at: datetime) -> bool:
        """Records when the database was empty of an epoch. Returns whether that was new."""
        entry = self._content[name]["epochs"].get(str(number))
        if entry is None or entry.get("retired_at"):
            return False
        entry["retired_at"] = at.astimezone(UTC).isoformat(timespec="seconds")
        return True

    def openable(self, name: str, number: int) -> bool:
        """Whether the key material of an epoch is still there."""
        return "kek" in self._content.get(name, {}).get("epochs", {}).get(str(number), {})

    def hold(self, name: str, number: int) -> bool:
        """Lets doors hold one epoch again that the database still needs. True when they did not."""
        return self.openable(name, number) and self._content[name]["epochs"][str(number)].pop("retired_at", None) is not None

    def hold_again(self) -> None:
        """Lets doors hold every epoch that is not destroyed: a restored copy may need it. It retires again when the copy is moved."""
        for compartment in self._content.values():
            for entry in compartment["epochs"].values():
                entry.pop("retired_at", None)

    def state(self, name: str, number: int) -> KeyState:
        """The state of one epoch. KeyError for one that never was."""
        return KeyState(self._history(name, number)[-1]["state"])

    def active(self, name: str) -> int | None:
        """The epoch that protects new data, if any may."""
        return next((int(n) for n in self._content[name]["epochs"] if self.state(name, int(n)) in PROTECTS), None)

    def held_back(self, name: str, number: int) -> bool:
        """Whether an epoch was suspended or marked as compromised: nothing may be written under it."""
        known = str(number) in self._content.get(name, {}).get("epochs", {})
        return known and self.state(name, number) in (KeyState.SUSPENDED, KeyState.COMPROMISED)

    def usable(self, name: str) -> dict[int, dict[str, Any]]:
        """What doors hold: epochs that may still open data and are not retired, and one that is about to be activated."""
        return {
            int(number): entry for number, entry in self._content[name]["epochs"].items()
            if self.state(name, int(number)) in PROCESSES | {KeyState.PRE_ACTIVATION} and not entry.get("retired_at")
        }  # fmt: skip

    def inventory(self) -> list[EpochState]:
        """Every epoch there ever was, with the time and reason of its last change."""
        lines = []
        for name, compartment in sorted(self._content.items()):
            for number, entry in sorted(compartment["epochs"].items(), key=lambda pair: int(pair[0])):
                last = self._history(name, int(number))[-1]
                at, created = datetime.fromisoformat(last["at"]), datetime.fromisoformat(entry["created"])
                retired = datetime.fromisoformat(entry["retired_at"]) if entry.get("retired_at") else None
                lines.append(EpochState(name, int(number), KeyState(last["state"]), at, last["reason"], created, retired))
        return lines

    def history(self, name: str, number: int) -> list[dict[str, str]]:
        """Every state of one epoch with its time and reason."""
        return [dict(step) for step in self._history(name, number)]

    def _began(self, name: str, number: int) -> datetime:
        """When an epoch was first written."""
        steps = [step["at"] for step in self._history(name, number) if step["state"] == KeyState.ACTIVE]
        return datetime.fromisoformat(steps[0])

    def due(self, at: datetime, age: timedelta, kept: timedelta) -> tuple[list[str], list[tuple[str, int]]]:
        """Compartments whose active epoch is older than `age`, and epochs whose last backup ended (`kept` after they were retired)."""
        rotate, destroy = [], []
        for line in self.inventory():
            # A suspension that was lifted makes no epoch younger, and one that a wrong clock dated ahead is of no known age.
            if line.state is KeyState.ACTIVE and not -AHEAD <= at - self._began(line.compartment, line.epoch) < age:
                rotate.append(line.compartment)
            if (
                line.state in (KeyState.DEACTIVATED, KeyState.COMPROMISED)
                and line.retired_at is not None
                and at - line.retired_at >= kept
            ):
                destroy.append((line.compartment, line.epoch))
        return rotate, destroy

    def used(self, name: str, number: int) -> bool:
        """Whether an epoch was ever active: one that was not, though it may be compromised, has no data under it and no backup that needs it."""
        return any(step["state"] not in (KeyState.PRE_ACTIVATION, KeyState.COMPROMISED) for step in self._history(name, number))

    def wrapped(self) -> dict[str, str]:
        """Wrapped keys by place."""
        return {
            f"compartment/{name}/{number}/{part}": entry[part]
            for name, compartment in self._content.items() for number, entry in compartment["epochs"].items() for part in _PARTS if part in entry
        }  # fmt: skip

    def put(self, place: str, wrapped: str) -> None:
        """Replaces one wrapped key: `name/number/part`."""
        name, number, part = place.split("/")
        self._content[name]["epochs"][number][part] = wrapped

    def _history(self, name: str, number: int) -> list[dict[str, str]]:
        entry = self._content[name]["epochs"][str(number)]
        found: list[dict[str, str]] | None = entry.get("history")
        if found is None:
            state = KeyState.ACTIVE if int(self._content[name].get("current", number)) == number else KeyState.DEACTIVATED
            found = [{"state": str(state), "at": entry["created"], "reason": "made before states were kept"}]
        return found
