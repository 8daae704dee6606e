"""`python -m drills.kills [--cycles N]`: kill -9 of the database, of one process or of everything, again and again, under load and while keys rotate.

After every kill the system must answer again by itself (after a kill of everything: at the next start). At the end nothing acknowledged may be
gone, no answered read may lack its entry, every key must be in a right state, and the log must verify.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from armonika.store.embedded import Embedded
from armonika.trust.keys.provision import issue_token
from drills.cluster import DrillError, free_ports
from drills.load import Load, lost, unlogged

CHECKOUT = Path(__file__).parents[1]
# Weights: the database falls most often, for everything rests on it.
VICTIMS = {"postgres": 6, "api": 3, "sealer": 3, "keeper": 2, "witness": 1, "everything": 4}
SECONDS_TO_ANSWER = 60.0


@dataclass
class System:
    """One `armonika serve` in a home of its own."""

    home: Path
    port: int
    running: subprocess.Popen[bytes] | None = None
    killed: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ARMONIKA_HOME": str(self.home), "ARMONIKA_PORT": str(self.port)}

    @property
    def admin_dsn(self) -> str:
        return Embedded(self.home / "postgres", self.home / "keys").admin_dsn

    def start(self) -> None:
        """Starts it and waits until it says that it runs. Raises DrillError."""
        output = self.home / "serve.out"
        with output.open("wb") as file:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "armonika.doors.cli.main", "serve"], cwd=CHECKOUT, env=self.environment, stdout=file, stderr=file, start_new_session=True
            )  # fmt: skip
        end = time.monotonic() + SECONDS_TO_ANSWER
        while "Ctrl-C stops everything" not in output.read_text():
            if self.running.poll() is not None or time.monotonic() > end:
                raise DrillError(f"serve did not start again: {output.read_text()[-1500:]}")
            time.sleep(0.1)

    def kill(self, victim: str) -> None:
        """kill -9; after `everything` it is started again, as an operator's init system would."""
        assert self.running is not None
        self.killed[victim] = self.killed.get(victim, 0) + 1
        if victim == "everything":
            self.running.kill()
            self.running.wait()
            self.start()
            return
        if victim == "postgres":
            pids = [int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])]
        else:
            pids = [pid for pid in _children(self.running.pid) if f"armonika.entry.{victim}" in _command(pid)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """An `armonika` command against this system."""
        return subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", *words], cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )  # fmt: skip

    def stop(self) -> None:
        """Ctrl-C."""
        if self.running and self.running.poll() is None:
            self.running.send_signal(signal.SIGINT)
            self.running.wait(60)


def hold(cycles: int, say: Callable[..., object] = print, seed: int = 1) -> dict[str, float]:
    """Holds the drill. Returns what was counted. Raises DrillError when a promise is broken."""
    chance = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="armonika-kills-", dir="/var/tmp"))
    home.chmod(0o755)
    system = System(home, free_ports())
    try:
        system.start()
        load = Load(system.port + 2, issue_token(system.admin_dsn, label="drill"))
        load.begin(4, 4)
        slowest = 0.0
        for cycle in range(1, cycles + 1):
            if cycle % 15 == 1:
                system.command("keys", "rotate", "account")
            time.sleep(chance.uniform(0.1, 0.8))
            victim = chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            moment = time.monotonic()
            system.kill(victim)
            while not load.back_since(moment):
                if time.monotonic() - moment > SECONDS_TO_ANSWER:
                    raise DrillError(f"cycle {cycle}: {SECONDS_TO_ANSWER:.0f} s after the kill of {victim} nothing was answered")
                time.sleep(0.05)
            slowest = max(slowest, time.monotonic() - moment)
            say(f"\r{cycle} of {cycles} ({victim}), {len(load.acknowledged)} writes acknowledged", end="", flush=True)
        load.end()
        say()
        return _judge(system, load, cycles, slowest, say)
    finally:
        system.stop()
        shutil.rmtree(home, ignore_errors=True)


def _judge(system: System, load: Load, cycles: int, slowest: float, say: Callable[..., object]) -> dict[str, float]:
    waited = system.command("keys", "rotate", "account", "--wait")
    measured = {
        "cycles": float(cycles), **{f"killed {name}": float(count) for name, count in sorted(system.killed.items())}, "slowest recovery s": slowest,
        "acknowledged writes": float(len(load.acknowledged)), "answered reads": float(len(load.tickets)), "failed requests": float(load.failed),
        "lost writes": float(lost(load)), "reads without an entry": float(unlogged(load, system.admin_dsn)),
    }  # fmt: skip
    time.sleep(3)
    verified = system.command("audit", "verify")
    for name, value in measured.items():
        say(f"  {name:<26} {value:,.1f}")
    if measured["lost writes"] or measured["reads without an entry"]:
        raise DrillError("An acknowledged write is gone, or an answered read has no entry in the log.")
    if waited.returncode:
        raise DrillError(f"The rotation does not end: {waited.stdout}{waited.stderr}")
    if wrong := wrong_keys(system):
        raise DrillError(f"Keys in a wrong state: {wrong}")
    if verified.returncode:
        raise DrillError(f"The audit log does not verify: {verified.stdout}{verified.stderr}")
    return measured


def wrong_keys(system: System) -> list[str]:
    """What is not as it should be after a rotation that ended: an epoch that is written without being active, or rows under one that is not."""
    shown = system.command("keys", "list", "--json")
    listed = {(line["compartment"], line["epoch"]): line["state"] for line in json.loads(shown.stdout)["epochs"]}
    with psycopg.connect(system.admin_dsn) as admin:
        held = {(name, epoch): state for name, epoch, state in admin.execute("SELECT c.name, e.epoch, e.state FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment")}  # fmt: skip
        used = {(name, epoch) for name, epoch in admin.execute("SELECT DISTINCT c.name, k.epoch FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment")}  # fmt: skip
    apart = [key for key in held if (held[key] == "active") != (listed.get(key) == "active")]
    wrong = [f"{key} is {held[key]} in the database and {listed.get(key)} in the keyring" for key in apart]
    return wrong + [f"data keys stand under {key}, which is {listed.get(key)}" for key in used if listed.get(key) != "active"]


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def main() -> int:
    """0 when every promise held, 1 with the reason otherwise."""
    parser = argparse.ArgumentParser(prog="drills.kills")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        hold(args.cycles, seed=args.seed)
    except DrillError as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    print("The drill holds: nothing acknowledged was lost.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
