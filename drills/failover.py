"""`python -m drills.failover`: the primary is lost under load. Nothing that was acknowledged may be gone, and reads must be back within 30 s."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from armonika.trust.keys.provision import issue_token
from drills.cluster import Cluster, DrillError, free_ports, missing
from drills.load import Load, lost, unlogged

CHECKOUT = Path(__file__).parents[1]
LIMIT_SECONDS = 30.0
WRITERS, READERS = 6, 4


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
        tell("Two PostgreSQL servers under Patroni, one etcd, mutual TLS on every hop …")
        cluster.clients = _authority(home)
        cluster.start()
        address = cluster.address()
        with psycopg.connect(psycopg.conninfo.make_conninfo(address, dbname="postgres"), autocommit=True) as admin:
            admin.execute("CREATE DATABASE armonika")
        port = free_ports()
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


def _authority(home: Path) -> str:
    """Certificate of the installation's authority, which is made with its keys: the servers admit the doors by it."""
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "keys", "authority"], cwd=CHECKOUT, env={**os.environ, "ARMONIKA_HOME": str(home)}, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip


def _in_clear(address: str) -> int:
    """How many connections to the primary, the standby's among them, are not TLS 1.3 with a certificate of their role."""
    with psycopg.connect(address) as admin:
        found = admin.execute(
            "SELECT a.usename, s.ssl, s.version, s.client_dn FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.client_addr IS NOT NULL"
        ).fetchall()
    if not {"replication", "armonika_api", "armonika_worker", "armonika_sealer"} <= {row[0] for row in found}:
        raise DrillError("The connections that are to be looked at are not there.")
    return sum((tls, version, name) != (True, "TLSv1.3", f"/CN={role}") for role, tls, version, name in found)


def _lose_primary(
    cluster: Cluster, load: Load, environment: dict[str, str], address: str, tell: object, seconds_before: float
) -> dict[str, float]:
    say = tell if callable(tell) else print
    load.begin(WRITERS, READERS)
    time.sleep(seconds_before)
    primary = cluster.primary()
    if primary is None or not load.acknowledged:
        raise DrillError("There is no load to lose a primary under.")
    killed = time.monotonic()
    cluster.kill(primary)
    before = len(load.acknowledged)
    say(f"The primary ({primary.name}) is lost after {before} acknowledged writes …")
    while not load.back_since(killed):
        if time.monotonic() - killed > 90:
            raise DrillError("Nothing was answered for 90 s after the primary was lost.")
        time.sleep(0.1)
    time.sleep(3)
    load.end()
    # A read that was answered just before the loss may be counted a moment after it: the outage is the longest gap around it.
    measured = {
        "acknowledged writes": float(len(load.acknowledged)), "of them before the loss": float(before), "failed requests": float(load.failed),
        "reads back after s": _gap(load.reads, killed), "writes back after s": _gap(load.writes, killed),
    }  # fmt: skip
    say("The lost machine comes back as a standby …")
    cluster.start_node(primary)
    cluster.wait_synchronous()
    measured["connections without TLS"] = float(_in_clear(address))
    measured["lost writes"] = float(lost(load))
    measured["reads without an entry"] = float(unlogged(load, address))
    verified = _verify(environment)
    say(verified.stdout.strip())
    for name, value in measured.items():
        say(f"  {name:<28} {value:,.1f}")
    if measured["connections without TLS"]:
        raise DrillError("A connection to the database is not encrypted, or shows no certificate.")
    if measured["lost writes"] or measured["reads without an entry"]:
        raise DrillError("An acknowledged write is gone, or a read has no entry in the log.")
    if measured["reads back after s"] > LIMIT_SECONDS:
        raise DrillError(f"Reads were away for more than {LIMIT_SECONDS:.0f} s.")
    if verified.returncode:
        raise DrillError(f"The audit log does not verify: {verified.stdout}{verified.stderr}")
    if os.geteuid() == 0:
        # The site was idle: each of its connections to the lost server fails once, and the probe is not run then.
        for _ in range(4):
            proven = _command(environment, "verify", "7a.2", "--json", "--no-publish")
            row = next(row for row in json.loads(proven.stdout)["claims"] if row["claim"] == "7a.2")
            if row["verdict"] != "UNPROVEN":
                break
        say(f"7a.2 {row['verdict']}: {row['summary']}")
        if row["verdict"] != "TRUE":
            raise DrillError(f"Claim 7a.2 is not proven on the cluster: {row['summary']} {row['failures']}")
    return measured


def _gap(moments: list[float], killed: float) -> float:
    """The longest time between two successes that ends after the loss, in seconds."""
    around = [moment for moment in moments if moment > killed - 5]
    return max((later - earlier for earlier, later in itertools.pairwise(around) if later > killed), default=float("inf"))


def _verify(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    time.sleep(2.5)
    return _command(environment, "audit", "verify")


def _command(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", *words],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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
