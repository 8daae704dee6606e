"""A whole running system for tests: `armonika serve` in a home and on ports of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.folders import folder

CHECKOUT = Path(__file__).parents[1]


def need_open_checkout(prefix: list[str]) -> None:
    """Skips a test that runs this checkout as another user, whom `prefix` names, where that one may not enter it."""
    if subprocess.run(
        [*prefix, sys.executable, "-c", "import armonika"], cwd=CHECKOUT, capture_output=True, check=False
    ).returncode:
        pytest.skip("this checkout is closed to other users")


def free_port() -> int:
    """The first of 26 ports that are free now: below those that the kernel hands out, and apart from those that another worker of the run tries."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
    while True:
        first = 20000 + 64 * random.randrange(190) + 32 * worker
        try:
            with contextlib.ExitStack() as stack:
                for port in (first, first + 1, first + 2, first + 3, first + 4, first + 25):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


@dataclass
class Live:
    """The running system."""

    home: Path
    port: int
    process: subprocess.Popen[str]
    output: Path
    used: dict[str, int] = field(default_factory=dict)

    @property
    def site(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def console(self) -> str:
        return f"http://localhost:{self.port + 1}"

    @property
    def api(self) -> str:
        return f"http://localhost:{self.port + 2}"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ARMONIKA_HOME": str(self.home), "ARMONIKA_PORT": str(self.port)}

    def command(self, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs an `armonika` command against this system."""
        return subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", *words],
            env=self.environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def letters(self, to: str, seconds: float = 15) -> list[dict[str, str]]:
        """Letters to an address, newest first; waits for the first."""
        end = time.monotonic() + seconds
        found = re.search(rf"https://localhost:{self.port + 3}/[\w-]+/", self.output.read_text())
        assert found, "the address of the mail sink is printed"
        trusting = ssl.create_default_context(cafile=str(self.home / "run" / "authority.pem"))
        while True:
            with urllib.request.urlopen(f"{found.group()}letters.json", timeout=5, context=trusting) as response:
                letters = [letter for letter in json.loads(response.read()) if letter["to"].lower() == to.lower()]
            if letters or time.monotonic() > end:
                return letters
            time.sleep(0.1)

    def sign_in(self, role: str) -> tuple[str, str]:
        """Address and password of a sample sign-in: `admin`, `billing`, `support`, …"""
        for line in (self.home / "sample-sign-ins.txt").read_text().splitlines():
            if f"({role}," in line:
                _, address, password, *_ = line.split()
                return address, password
        raise KeyError(role)

    def code(self, role: str) -> str:
        """A code of a sample account's second factor that was not used yet; waits for one when the three that count now are used."""
        line = next(line for line in (self.home / "sample-sign-ins.txt").read_text().splitlines() if f"({role}," in line)
        key = base64.b32decode(line.split()[-1])
        step = max(self.used.get(role, 0) + 1, int(time.time()) // 30 - 1)
        # The half minute before the start set the factor up.
        if role not in self.used:
            step = max(step, int(time.time()) // 30)
        while step > int(time.time()) // 30 + 1:
            time.sleep(0.2)
        self.used[role] = step
        digest = hmac.new(key, step.to_bytes(8, "big"), hashlib.sha1).digest()
        number = int.from_bytes(digest[digest[19] & 15 :][:4], "big") & 0x7FFFFFFF
        return f"{number % 1000000:06d}"

    def token(self) -> str:
        """The sample token of the machine API."""
        return next(
            line.split()[1]
            for line in (self.home / "sample-sign-ins.txt").read_text().splitlines()
            if line.strip().startswith("token")
        )


def start(home: Path, port: int, sample: bool = True, seconds: float = 90, extra: dict[str, str] | None = None) -> Live:
    """Starts `armonika serve` and waits until it says that it runs."""
    output = home / "serve.out"
    home.mkdir(parents=True, exist_ok=True)
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "armonika.doors.cli.main", "serve", *(["--sample"] if sample else [])], cwd=CHECKOUT, stdout=file, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "ARMONIKA_HOME": str(home), "ARMONIKA_PORT": str(port), **(extra or {})}, start_new_session=True,
        )  # fmt: skip
    live = Live(home, port, process, output)
    end = time.monotonic() + seconds
    while "Ctrl-C stops everything" not in output.read_text():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            logs = "".join(path.read_text()[-800:] for path in sorted((home / "logs").glob("*.log")))
            raise AssertionError(f"serve did not start: {output.read_text()[-2000:]}\n{logs}")
        time.sleep(0.1)
    return live


def stop(live: Live) -> int:
    """Ctrl-C; returns the exit status."""
    live.process.send_signal(signal.SIGINT)
    return live.process.wait(60)


@contextlib.contextmanager
def running(extra: dict[str, str] | None = None) -> Iterator[Live]:
    """A fresh system with sample data, removed afterwards."""
    with folder("live") as home:
        live = start(home, free_port(), extra=extra)
        try:
            yield live
        finally:
            if live.process.poll() is None:
                stop(live)
