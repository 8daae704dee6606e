"""`python -m drills.failover`: the primary is lost under load. Nothing that was acknowledged may be gone, and reads must be back within 30 s."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg

from armonika.trust.keys.provision import issue_token
from drills.cluster import Cluster, DrillError, free_port, missing

CHECKOUT = Path(__file__).parents[1]
LIMIT_SECONDS = 30.0
WRITERS, READERS = 6, 4


@dataclass
class Load:
    """Writers and readers over the machine API. What was acknowledged is kept, with the time of every success."""

    port: int
    token: str
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    """(person, record, address of that person)"""
    tickets: list[tuple[str, int]] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failed: int = 0

    def call(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, object] | None = None
    ) -> dict[str, object] | None:
        """One request; None when it was not acknowledged, for whatever reason."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.failed += 1
            time.sleep(0.05)
            return None
        if response.status not in (200, 201):
            self.failed += 1
            time.sleep(0.05)
            return None
        found: dict[str, object] = json.loads(content)
        return found

    def write(self) -> None:
        """Creates people until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            address = f"{uuid4().hex}@drill.example"
            values = {"name": "Drill", "email": address, "company": "C", "role": "R"}
            made = self.call(
                connection,
                "POST",
                "/v1/people",
                {"dataset": "account", "purpose": "provide", "reason": "integration", "values": values},
            )
            if made:
                self.acknowledged.append((str(made["id"]), str(made["record"]), address))
                self.writes.append(time.monotonic())

    def read_one(self, connection: http.client.HTTPConnection, person: str) -> str | None:
        """The address of one person as the API gives it; keeps the entry that the read left in the log."""
        found = self.call(
            connection, "GET", f"/v1/people/{person}?dataset=account&fields=name,email&purpose=provide&reason=integration"
        )
        if not found:
            return None
        (record,) = found["records"]  # type: ignore[misc]
        self.tickets.append((person, int(record["entry"])))  # type: ignore[call-overload,index]
        return str(record["values"]["email"])  # type: ignore[call-overload,index]

    def read(self) -> None:
        """Reads people that were acknowledged, the newest first, until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            if not self.acknowledged:
                time.sleep(0.01)
                continue
            if self.read_one(connection, self.acknowledged[-1][0]):
                self.reads.append(time.monotonic())


def hold(say: object = print, seconds_before: float = 6.0) -> dict[str, float]:
    """Holds the drill. Returns what was measured. Raises DrillError when a promise is broken."""
    tell = say if callable(say) else print
    lacking = missing()
    if lacking:
        raise DrillError(f"The drill needs {', '.join(lacking)}: as root, `bin/apt-tools` installs Debian's packages.")
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="armonika-drill-", dir="/var/tmp")))
    home = Path(tempfile.mkdtemp(prefix="armonika-drill-home-", dir="/var/tmp"))
    home.chmod(0o755)
    serve: subprocess.Popen[bytes] | None = None
    try:
        tell("Two PostgreSQL servers under Patroni, one etcd …")
        cluster.start()
        address = cluster.address()
        with psycopg.connect(psycopg.conninfo.make_conninfo(address, dbname="postgres"), autocommit=True) as admin:
            admin.execute("CREATE DATABASE armonika")
        port = _ports()
        environment = {**os.environ, "ARMONIKA_HOME": str(home), "ARMONIKA_PORT": str(port), "ARMONIKA_DATABASE_URL": address}
        with (home / "serve.out").open("wb") as output:
            serve = subprocess.Popen(
                [sys.executable, "-m", "armonika.doors.cli.main", "serve"],
                cwd=CHECKOUT,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _wait_serving(home, serve)
        return _lose_primary(
            cluster, Load(port + 2, issue_token(address, label="drill")), environment, address, tell, seconds_before
        )
    finally:
        if serve and serve.poll() is None:
            serve.send_signal(signal.SIGINT)
            try:
                serve.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(serve.pid, signal.SIGKILL)
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)


def _lose_primary(
    cluster: Cluster, load: Load, environment: dict[str, str], address: str, tell: object, seconds_before: float
) -> dict[str, float]:
    say = tell if callable(tell) else print
    threads = [threading.Thread(target=load.write, daemon=True) for _ in range(WRITERS)] + [
        threading.Thread(target=load.read, daemon=True) for _ in range(READERS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds_before)
    lost = cluster.primary()
    if lost is None or not load.acknowledged:
        raise DrillError("There is no load to lose a primary under.")
    killed = time.monotonic()
    cluster.kill(lost)
    before = len(load.acknowledged)
    say(f"The primary ({lost.name}) is lost after {before} acknowledged writes …")
    while not any(moment > killed + 0.5 for moment in load.reads[-50:]) or not any(
        moment > killed + 0.5 for moment in load.writes[-50:]
    ):
        if time.monotonic() - killed > 90:
            raise DrillError("Nothing was answered for 90 s after the primary was lost.")
        time.sleep(0.1)
    time.sleep(3)
    load.stop.set()
    for thread in threads:
        thread.join(20)
    # A read that was answered just before the loss may be counted a moment after it: the outage is the longest gap around it.
    measured = {
        "acknowledged writes": float(len(load.acknowledged)), "of them before the loss": float(before), "failed requests": float(load.failed),
        "reads back after s": _gap(load.reads, killed), "writes back after s": _gap(load.writes, killed),
    }  # fmt: skip
    say("The lost machine comes back as a standby …")
    cluster.start_node(lost)
    cluster.wait_synchronous()
    measured["lost writes"] = float(_lost(load))
    measured["reads without an entry"] = float(_unlogged(load, address))
    verified = _verify(environment)
    say(verified.stdout.strip())
    for name, value in measured.items():
        say(f"  {name:<28} {value:,.1f}")
    if measured["lost writes"] or measured["reads without an entry"]:
        raise DrillError("An acknowledged write is gone, or a read has no entry in the log.")
    if measured["reads back after s"] > LIMIT_SECONDS:
        raise DrillError(f"Reads were away for more than {LIMIT_SECONDS:.0f} s.")
    if verified.returncode:
        raise DrillError(f"The audit log does not verify: {verified.stdout}{verified.stderr}")
    return measured


def _gap(moments: list[float], killed: float) -> float:
    """The longest time between two successes that ends after the loss, in seconds."""
    around = [moment for moment in moments if moment > killed - 5]
    return max((later - earlier for earlier, later in itertools.pairwise(around) if later > killed), default=float("inf"))


def _lost(load: Load) -> int:
    """How many acknowledged people the new primary does not hold as they were acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=10)
    gone = 0
    for person, _, address in load.acknowledged:
        for _ in range(3):
            if (found := load.read_one(connection, person)) is not None:
                break
            time.sleep(1)
        gone += found != address
    return gone


def _unlogged(load: Load, address: str) -> int:
    """How many answered reads have no committed entry in the log of that person."""
    with psycopg.connect(address) as admin:
        kept = set(admin.execute("SELECT subject::text, audit_id FROM vault.audit WHERE granted AND operation = 1"))
    return sum(ticket not in kept for ticket in load.tickets)


def _verify(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    time.sleep(2.5)
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "audit", "verify"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _ports() -> int:
    while (port := free_port()) > 65000:
        continue
    return port


def _wait_serving(home: Path, serve: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while "Ctrl-C stops everything" not in (home / "serve.out").read_text():
        if serve.poll() is not None or time.monotonic() > end:
            raise DrillError(f"serve did not start: {(home / 'serve.out').read_text()[-2000:]}")
        time.sleep(0.2)


def main() -> int:
    """0 when every promise held, 1 with the reason otherwise."""
    try:
        hold()
    except DrillError as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    print("The drill holds: nothing acknowledged was lost.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
