"""The retention job in a running system: it starts with the worker, goes on after kill -9, and whoever looks is told when it falls behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.settings import Settings
from armonika.store.embedded import Embedded
from armonika.supervisor.rounds import expired
from tests.live import Live

pytestmark = pytest.mark.timeout(180)


def admin_dsn(live: Live) -> str:
    config = Settings(home=live.home, port=live.port, database_url=None)
    return Embedded(config.postgres, config.keys).admin_dsn


def plant(dsn: str, days: int) -> UUID:
    """A support message of nobody whose case was closed `days` ago."""
    subject, record = uuid4(), uuid4()
    with psycopg.connect(dsn) as admin:
        admin.execute("INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", (subject,))
        admin.execute(
            "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) "
            "SELECT %s, %s, id, 1, '{1}', ARRAY[sha256('x')], '{4}', '{1}' FROM vault.dataset WHERE name = 'ticket'",
            (subject, record),
        )
        admin.execute(
            "INSERT INTO vault.data_key SELECT %s, %s, compartment, 1, 1, sha256('x') FROM vault.dataset WHERE name = 'ticket'",
            (subject, record),
        )
        admin.execute(
            "INSERT INTO vault.retention SELECT %s, %s, id, clock_timestamp() - make_interval(days => %s), 1 FROM vault.dataset WHERE name = 'ticket'",
            (subject, record, days),
        )
    return record


def there(dsn: str, record: UUID) -> bool:
    with psycopg.connect(dsn) as admin:
        return bool(admin.execute("SELECT FROM vault.data_key WHERE record_id = %s", (record,)).fetchall())


def worker(live: Live) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"armonika.entry.worker" in words and f"ARMONIKA_HOME={live.home}\0".encode() in environment:
            return int(folder.name)
    raise AssertionError("no worker runs")


def test_the_worker_ends_what_has_expired_and_goes_on_after_it_was_killed(live: Live) -> None:
    dsn = admin_dsn(live)
    assert expired(dsn) is None
    late, stays = plant(dsn, 740), plant(dsn, 729)
    words = expired(dsn)
    assert words
    assert words.startswith("1 records are kept longer than the policy allows, since ")
    assert str(late) not in words
    status = live.command("retention", "status", "--json")
    assert status.returncode == 1
    (row,) = [row for row in json.loads(status.stdout)["datasets"] if row["dataset"] == "ticket"]
    assert (row["due"], row["overdue"]) == (1, 1)
    os.kill(worker(live), signal.SIGKILL)
    end = time.monotonic() + 60
    while there(dsn, late):
        assert time.monotonic() < end, (live.home / "logs" / "worker.log").read_text()[-2000:]
        time.sleep(0.2)
    assert there(dsn, stays)
    assert expired(dsn) is None
    assert live.command("retention", "status").returncode == 0
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM vault.record WHERE record_id = %s", (stays,))
        admin.execute("DELETE FROM vault.subject WHERE kind = 'test' AND state <> 'erased'")


def test_a_clock_that_needs_a_look_is_told_and_confirmed(live: Live) -> None:
    dsn = admin_dsn(live)
    late = plant(dsn, 740)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("UPDATE vault.retention_state SET ran_at = clock_timestamp() - interval '9 days'")
    assert "confirm-clock" in str(expired(dsn))
    refused = live.command("retention", "run")
    assert refused.returncode == 2
    assert "armonika retention confirm-clock" in refused.stderr
    assert there(dsn, late)
    assert "NOTHING ENDS" in live.command("retention", "status").stdout
    assert live.command("retention", "confirm-clock").returncode == 0
    done = live.command("retention", "run", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["done"]["ended"] == 1
    assert not there(dsn, late)
    assert expired(dsn) is None
    assert expired("host=/nowhere dbname=none") is None, "a database that does not answer is told elsewhere"
