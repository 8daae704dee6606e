"""Starts the processes, restarts what falls, and ends all of them with itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from armonika.store.users import User

BACKOFF = (0.2, 0.5, 1, 2, 5, 10, 30)
STABLE_SECONDS = 60.0


class StartError(Exception):
    """A process does not get ready; the message names its log."""


@dataclass
class Process:
    """One supervised process. `probe` is an address that answers 2xx when it is ready, or None."""

    name: str
    module: str
    probe: str | None = None
    user: User | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    falls: int = 0
    retry_at: float = 0.0


@dataclass
class Supervisor:
    """Owns the processes. Their environments hold paths and ports only: no secret ever stands in one."""

    logs: Path
    say: Callable[[str], None] = print
    processes: list[Process] = field(default_factory=list)
    stopping: bool = False

    def start(self, process: Process) -> None:
        """Starts one process, its output appended to its own log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "armonika.supervisor.launch", process.module]
        if process.user:
            command += [str(process.user.uid), str(process.user.gid)]
        descriptor = os.open(self.logs / f"{process.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        with os.fdopen(descriptor, "ab") as output:
            process.running = subprocess.Popen(
                command,
                env=dict(process.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        process.started = time.monotonic()
        if process not in self.processes:
            self.processes.append(process)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Waits until every probe answers. Raises StartError."""
        end = time.monotonic() + timeout
        for process in self.processes:
            while process.probe and not answers(process.probe):
                if process.running is not None and process.running.poll() is not None:
                    raise StartError(
                        f"{process.name} ended while starting (status {process.running.returncode}). See {self.logs / process.name}.log"
                    )
                if time.monotonic() > end:
                    raise StartError(f"{process.name} did not answer within {timeout:.0f} s. See {self.logs / process.name}.log")
                time.sleep(0.05)

    def tick(self) -> None:
        """Reaps what ended and starts it again, later and later while it keeps falling."""
        now = time.monotonic()
        for process in self.processes:
            running = process.running
            if running is not None and running.poll() is not None:
                process.falls = 1 if now - process.started > STABLE_SECONDS else process.falls + 1
                wait = BACKOFF[min(process.falls, len(BACKOFF)) - 1]
                process.retry_at, process.running = now + wait, None
                self.say(
                    f"{process.name} ended (status {running.returncode}); started again in {wait:g} s. Log: {self.logs / process.name}.log"
                )
            if process.running is None and now >= process.retry_at and not self.stopping:
                try:
                    self.start(process)
                except OSError as error:
                    # A full disk, no memory for a process: everything else goes on.
                    process.retry_at = now + BACKOFF[-1]
                    self.say(f"{process.name} cannot be started: {error.strerror}; tried again in {BACKOFF[-1]:g} s.")

    def reload(self, name: str) -> None:
        """Lets a web server start its workers anew, with the certificate that lies there now; the old ones end what they began (granian, SIGHUP)."""
        for process in self.processes:
            if process.name == name and process.running is not None and process.running.poll() is None:
                process.running.send_signal(signal.SIGHUP)

    def stop(self, timeout: float = 10.0) -> None:
        """Ends all processes: politely, then not."""
        self.stopping = True
        alive = [process.running for process in self.processes if process.running is not None and process.running.poll() is None]
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for running in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, sent)
            end = time.monotonic() + timeout
            while alive and time.monotonic() < end:
                alive = [running for running in alive if running.poll() is None]
                time.sleep(0.02)
            if not alive:
                return


# A probe asks our own process on this machine whether it is up: which name its certificate has is the visitor's question.
_OWN = ssl._create_unverified_context()  # noqa: S323


def answers(address: str) -> bool:
    """Whether an address answers with success. `tcp://host:port` is only connected to: a listener that wants a client certificate."""
    try:
        if address.startswith("tcp://"):
            host, _, port = address[6:].rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 2):
                return True
        with urllib.request.urlopen(address, timeout=2, context=_OWN) as response:
            return 200 <= int(response.status) < 300
    except (urllib.error.URLError, OSError, ValueError):
        return False
