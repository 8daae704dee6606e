"""The partition that is written is detached while everything runs: what runs stays, what starts says why it does not, and nothing ends with a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from armonika.store.embedded import Embedded
from armonika.store.users import user_for
from armonika.verify.http import Browserlike, send
from tests.live import CHECKOUT, free_port, start, stop

pytestmark = pytest.mark.timeout(240)


def test_a_detached_partition_is_told_with_the_way_out(folder: Path) -> None:
    home = folder
    live = start(home, free_port(), sample=False)
    try:
        embedded = Embedded(home / "postgres", home / "keys", user_for("postgres") if os.geteuid() == 0 else None)
        assert live.command("token", "issue").returncode == 0
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as admin:
            admin.execute("ALTER TABLE vault.audit DETACH PARTITION vault.audit_old")
        assert Browserlike(send).get(f"{live.site}/en/").status == 200, "what needs no entry is still served"
        told = live.command("keys", "tend")
        assert (told.returncode, told.stdout) == (2, "")
        assert re.search(r"vault\.audit_old.*ATTACH PARTITION", told.stderr)
        for words in (("token", "issue"), ("keys", "rotate", "account")):
            done = live.command(*words)
            assert done.returncode == 2, words
            assert "`armonika keys tend` says which" in done.stderr
            assert "Traceback" not in done.stderr
        verified = live.command("audit", "verify")
        assert verified.returncode == 1
        assert "in no partition of vault.audit" in verified.stdout
        assert live.process.poll() is None, "what serves stays"
        assert stop(live) == 0
        again = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", "serve"], cwd=CHECKOUT, env=live.environment, capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
        assert again.returncode == 2
        assert "Traceback" not in again.stderr
        statement = re.search(r"ALTER TABLE [^;]+;", again.stderr)
        assert statement
        embedded.prepare()
        embedded.start(home / "logs" / "postgres.log")
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as admin:
            admin.execute(statement.group().encode())
        embedded.stop()
        live = start(home, live.port, sample=False)
        assert live.command("audit", "verify").returncode == 0
        assert live.command("token", "issue").returncode == 0
    finally:
        if live.process.poll() is None:
            stop(live)
