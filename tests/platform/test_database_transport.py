"""A server of one's own that is reached over TCP in clear: on this machine it starts, and claim 7a.2 says of it what it is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import CHECKOUT, free_port, start, stop

BINARIES = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (BINARIES / "postgres").exists(), reason="Debian's postgresql-15 is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the claim is proven by a capture"),
]


def test_a_database_over_tcp_in_clear_makes_the_claim_false(folder: Path) -> None:
    shutil.chown(folder, "postgres")
    (folder / "pw").write_text("for-this-test-only")
    shutil.chown(folder / "pw", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*words: str) -> None:
        subprocess.run(["setpriv", "--reuid=postgres", "--clear-groups", *words], check=True, capture_output=True, cwd="/")

    data, options = f"{folder}/data", f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 -c wal_writer_delay=10ms"
    run(f"{BINARIES}/initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={folder}/pw", "-E", "UTF8", "--locale=C")  # fmt: skip
    run(f"{BINARIES}/pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
    try:
        home = folder / "home"
        home.mkdir(mode=0o755)
        url = f"postgresql://postgres:for-this-test-only@127.0.0.1:{port}/postgres"
        live = start(home, free_port(), sample=False, extra={"ARMONIKA_DATABASE_URL": url})
        try:
            done = subprocess.run(
                [sys.executable, "-m", "armonika.doors.cli.main", "verify", "7a.2", "--json", "--no-publish"],
                cwd=CHECKOUT,
                env={**live.environment, "ARMONIKA_DATABASE_URL": url},
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            assert stop(live) == 0
        (row,) = [row for row in json.loads(done.stdout)["claims"] if row["claim"] == "7a.2"]
        assert row["verdict"] == "FALSE"
        said = " ".join(row["failures"])
        assert "armonika_site (client backend) is connected from 127.0.0.1 without TLS" in said
        assert "armonika_worker (client backend) is connected from 127.0.0.1 without TLS" in said
        assert "sslmode=verify-full" in said
    finally:
        run(f"{BINARIES}/pg_ctl", "-D", data, "-m", "immediate", "stop")
