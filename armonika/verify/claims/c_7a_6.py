"""7a.6: keys are known, change in legal ways and in time, and a destroyed one is gone."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from armonika.verify import keyfiles
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import Plant, rows

# NIST SP 800-57 part 1 §7, written out here apart from the rules that the system itself follows.
WAYS = {
    "": {"pre-activation"}, "pre-activation": {"active", "compromised", "destroyed"}, "active": {"suspended", "deactivated", "compromised", "destroyed"},
    "suspended": {"active", "deactivated", "compromised", "destroyed"}, "deactivated": {"compromised", "destroyed"}, "compromised": {"destroyed"}, "destroyed": set(),
}  # fmt: skip
LATE = timedelta(days=2)
"""How late rotation and destruction may be: the calendar is looked at once an hour, and by a timer once a day."""
_MATERIAL = ("kek", "index", "private", "public")


class Claim:
    """The inventory is read from the key file itself: every epoch went a legal way, the active one is as young as the policy says and is the one that the
    database writes, one whose time is over is destroyed, a destroyed one has no material left, and every data key has its epoch. Nothing lies beside the
    keys, no copy of them elsewhere in the home, and no secret in a file, environment or command line. Each process was given the keys of the policy's
    compartments and of no destroyed epoch."""

    claim, hours = "7a.6", 24
    alter: Callable[[dict[str, Any]], object] | None = None
    decoy = secrets.token_bytes(32)
    """A secret of nothing, for sabotages: a real one is written nowhere."""

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        path = context.settings.keys / "keyring.json"
        content = json.loads(path.read_text())
        self.most = timedelta(days=context.policy.copies.epoch_days), timedelta(days=context.policy.copies.keep_days)
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
        keyfiles.modes(context, evidence)
        given = keyfiles.handed_out(context, evidence, known)
        held = [*keyfiles.secrets(context.settings, list(context.policy.compartments)), self.decoy]
        looked, showing = keyfiles.shown(held)
        evidence.expect(not showing, f"a secret is in the environment or command line of process {showing[:1]}")
        files, leaks = keyfiles.written(context, held)
        evidence.expect(not leaks, f"a secret, or a copy of the keys, is in {leaks[:3]}")
        evidence.examined += looked + files
        evidence.control = bool(used) and looked > 0 and files > 0 and len(held) > len(known)
        evidence.summary = f"{len(known)} epochs with keys, {len(held) - 1} secrets looked for in {looked} processes and {files} files, credentials of {given} doors"
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
        age, kept = self.most
        if before == "active":
            # From the first time on: a suspension that was lifted makes nothing younger.
            began = next(step["at"] for step in epoch["history"] if step["state"] == "active")
            since = datetime.now(UTC) - datetime.fromisoformat(began)
            evidence.expect(
                -LATE <= since <= age + LATE, f"{label} has been active for {since.days} days, and the policy says {age.days}"
            )
        retired = epoch.get("retired_at")
        if retired and before in ("deactivated", "compromised"):
            waited = datetime.now(UTC) - datetime.fromisoformat(retired)
            evidence.expect(waited <= kept + LATE, f"{label} was emptied {waited.days} days ago and is not destroyed")

    def sabotages(self) -> Iterator[Sabotage]:
        for name, change in (
            ("a destroyed key that was kept", lambda content: last(content).append({"state": "destroyed", "at": "2026-01-01T00:00:00+00:00", "reason": "x"})),
            ("a key that came back from deactivated", lambda content: last(content).extend(
                {"state": state, "at": datetime.now(UTC).isoformat(), "reason": "x"} for state in ("deactivated", "active"))),
            ("an epoch that is older than the policy says", lambda content: [step.update(at=_ago(60)) for step in last(content)]),
            ("an epoch that a suspension made younger", lambda content: _resumed(last(content), _ago(60))),
            ("an epoch that a wrong clock dated ahead", lambda content: [step.update(at=_ago(-60)) for step in last(content)]),
            ("an epoch that should have been destroyed", lambda content: _emptied(content, _ago(60))),
            ("a change without a reason", lambda content: last(content)[-1].update(reason="")),
        ):  # fmt: skip
            yield Sabotage(name, self._altered(change))
        yield Sabotage(
            "a data key under no known epoch",
            rows("UPDATE vault.data_key SET epoch = 99 WHERE record_id = (SELECT record_id FROM vault.data_key LIMIT 1)"),
        )

        yield Sabotage(
            "a copy of the keyring in a log folder", self._file("logs/keyring.json.bak", b'{"format": "armonika-keyring/2"}')
        )
        yield Sabotage("a copy of the keyring beside it", self._file("keys/keyring.json.bak", b"{}"))
        yield Sabotage(
            "a copy of the root key in the backups", self._file("backups/sabotage", b'{"format": "armonika-root-key/1"}')
        )
        yield Sabotage("a secret in a log", self._file("logs/sabotage.log", b"password=" + base64.b64encode(self.decoy)))
        yield Sabotage("a secret in a command line", self._told)
        more = json.dumps({"door": "site", "compartments": {"staff": {"mode": "full", "epochs": {}}}}).encode()
        yield Sabotage("a door that was given another compartment's keys", self._file("", more, credentials=True))
        older = json.dumps({"door": "timpani", "compartments": {"traffic": {"mode": "full", "epochs": {"99": {}}}}}).encode()
        yield Sabotage("a door that still has a destroyed key", self._file("", older, credentials=True))

    def _file(self, name: str, content: bytes, credentials: bool = False) -> Plant:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            path = context.settings.credentials / "sabotage.json" if credentials else context.settings.home / name
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(content)
            try:
                yield context
            finally:
                path.unlink()

        return planted

    @contextmanager
    def _told(self, context: Context) -> Iterator[Context]:
        """A process that was told a secret as an argument."""
        with subprocess.Popen([sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", self.decoy.hex()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            yield context
            process.stdin.close()

    def _altered(self, change: Callable[[dict[str, Any]], object]) -> Any:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            self.alter = change
            try:
                yield context
            finally:
                self.alter = None

        return planted


def last(content: dict[str, Any]) -> list[dict[str, str]]:
    """The history of the epoch of accounts that is written: after a rotation it is not the first."""
    epochs = content["compartments"]["account"]["epochs"].values()
    histories: list[list[dict[str, str]]] = [epoch["history"] for epoch in epochs]
    return next(history for history in histories if history[-1]["state"] == "active")


def _ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _resumed(history: list[dict[str, str]], at: str) -> None:
    """One that was written from `at` on, and again since today."""
    since = {"pre-activation": at, "active": at, "suspended": _ago(0)}
    history[:] = [{"state": state, "at": when, "reason": "x"} for state, when in (*since.items(), ("active", _ago(0)))]


def _emptied(content: dict[str, Any], at: str) -> None:
    """An epoch like the first of accounts, deactivated and emptied at `at`, beside it."""
    epochs = content["compartments"]["account"]["epochs"]
    first = next(iter(epochs.values()))
    steps = [{"state": state, "at": at, "reason": "x"} for state in ("pre-activation", "active", "deactivated")]
    epochs["98"] = {**first, "history": steps, "retired_at": at}
