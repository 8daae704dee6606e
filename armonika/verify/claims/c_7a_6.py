"""7a.6: keys are known, change in legal ways and in time, and a destroyed one is gone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from armonika.trust.keys import Keyring
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import rows

# NIST SP 800-57 part 1 §7, written out here apart from the rules that the system itself follows.
WAYS = {
    "": {"pre-activation"}, "pre-activation": {"active", "compromised", "destroyed"}, "active": {"suspended", "deactivated", "compromised", "destroyed"},
    "suspended": {"active", "deactivated", "compromised", "destroyed"}, "deactivated": {"compromised", "destroyed"}, "compromised": {"destroyed"}, "destroyed": set(),
}  # fmt: skip
MOST_DAYS = 366
_MATERIAL = ("kek", "index", "private", "public")


class Claim:
    """The inventory is read from the key file itself: every epoch went a legal way, the active one is younger than a year and is the one that the
    database writes, a destroyed one has no material left, every data key has its epoch; no secret is in a process's environment or command line."""

    claim, hours = "7a.6", 24
    alter: Callable[[dict[str, Any]], object] | None = None

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        path = context.settings.keys / "keyring.json"
        content = json.loads(path.read_text())
        if self.alter:
            self.alter(content)
        written = {
            (name, number): state for name, number, state in context.rows("SELECT compartment, epoch, state FROM vault.epochs()")
        }
        for name, compartment in content["compartments"].items():
            for number, epoch in compartment["epochs"].items():
                evidence.examined += 1
                self._epoch(evidence, f"{name}/{number}", epoch)
                if epoch["history"][-1]["state"] == "active":
                    evidence.expect(
                        written.get((name, int(number))) == "active",
                        f"{name}/{number} is active, but not the epoch that is written",
                    )
        known = {
            (name, int(number))
            for name, c in content["compartments"].items()
            for number, epoch in c["epochs"].items()
            if "kek" in epoch
        }
        used = context.rows(
            "SELECT DISTINCT c.name, k.epoch FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment"
        )
        evidence.expect(
            all((str(name), int(number)) in known for name, number in used), "a data key is under an epoch that has no key"
        )
        evidence.expect(
            all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in context.settings.keys.iterdir() if file.is_file()),
            "a key file is open to others",
        )
        secrets = [value.encode() for value in Keyring.open(context.settings.keys).database_passwords().values()]
        seen = shown(secrets)
        evidence.examined += seen[0]
        evidence.expect(not seen[1], f"a secret is in the environment or command line of process {seen[1][:1]}")
        evidence.control = bool(used) and seen[0] > 0
        evidence.summary = f"{len(known)} epochs with keys, {seen[0]} processes looked at"
        return evidence

    def _epoch(self, evidence: Evidence, label: str, epoch: dict[str, Any]) -> None:
        before = ""
        for step in epoch["history"]:
            evidence.expect(
                step["state"] in WAYS.get(before, set()), f"{label} went from {before or 'nothing'} to {step['state']}"
            )
            evidence.expect(bool(step["at"] and step["reason"]), f"a change of {label} has no time or reason")
            before = step["state"]
        if before == "destroyed":
            evidence.expect(not any(part in epoch for part in _MATERIAL), f"{label} is destroyed, but its key is there")
        if before == "active":
            age = (datetime.now(UTC) - datetime.fromisoformat(epoch["history"][-1]["at"])).days
            evidence.expect(age <= MOST_DAYS, f"{label} has been active for {age} days")

    def sabotages(self) -> Iterator[Sabotage]:
        def last(content: dict[str, Any]) -> list[dict[str, str]]:
            history: list[dict[str, str]] = next(iter(content["compartments"]["account"]["epochs"].values()))["history"]
            return history

        for name, change in (
            ("a destroyed key that was kept", lambda content: last(content).append({"state": "destroyed", "at": "2026-01-01T00:00:00+00:00", "reason": "x"})),
            ("a key that came back from deactivated", lambda content: last(content).extend(
                {"state": state, "at": datetime.now(UTC).isoformat(), "reason": "x"} for state in ("deactivated", "active"))),
            ("an epoch of two years", lambda content: last(content)[-1].update(at="2024-01-01T00:00:00+00:00")),
            ("a change without a reason", lambda content: last(content)[-1].update(reason="")),
        ):  # fmt: skip
            yield Sabotage(name, self._altered(change))
        yield Sabotage(
            "a data key under no known epoch",
            rows("UPDATE vault.data_key SET epoch = 99 WHERE record_id = (SELECT record_id FROM vault.data_key LIMIT 1)"),
        )

    def _altered(self, change: Callable[[dict[str, Any]], object]) -> Any:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            self.alter = change
            try:
                yield context
            finally:
                self.alter = None

        return planted


def shown(secrets: list[bytes]) -> tuple[int, list[int]]:
    """How many of our processes can be looked at, and which of them show a secret."""
    looked, found = 0, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes()
            if b"armonika" not in text:
                continue
            looked += 1
            if os.access(folder / "environ", os.R_OK):
                text += (folder / "environ").read_bytes()
        except OSError:
            continue
        if any(secret in text for secret in secrets):
            found.append(int(folder.name))
    return looked, found
