"""The restore drill and the daily rounds: what a backup is worth is tried, not believed (claim 3a.3)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from armonika import policy
from armonika.settings import Settings
from armonika.supervisor import rounds
from armonika.supervisor.backup import replay as replaying
from armonika.supervisor.backup.catalogue import Backup, BackupError
from armonika.supervisor.backup.create import catalogue_of, create
from armonika.supervisor.backup.drill import Drilled, drill, sweep
from armonika.supervisor.installation import Installation
from armonika.trust.vault.types import NewRecord
from armonika.verify import keyfiles
from tests.keys.house import House, house
from tests.keys.test_backup import seal

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def home() -> Iterator[House]:
    with house() as made:
        yield made


def closed(home: House) -> None:
    """Nothing more is archived (a segment a minute would be): what is changed from here on is not in the copy, however long the test takes."""
    with home.admin() as admin:
        admin.execute("ALTER SYSTEM SET archive_command = '/bin/false'")
        admin.execute("SELECT pg_reload_conf()")


def test_the_copy_of_a_drill_that_was_killed_does_not_stay(folder: Path) -> None:
    """Keys lie in it. The rounds remove it, but not under a drill that is at work; until then the claim about keys counts it."""
    config = Settings(home=folder, port=8000, database_url=None)
    assert not sweep(config)
    left = folder / "drill" / "keys" / "root.key"
    left.parent.mkdir(parents=True)
    left.write_bytes(b'{"format": "armonika-root-key/1"}')
    held = left.open("rb")
    there = SimpleNamespace(settings=config)
    assert keyfiles.written(there, [b"s" * 32])[1] == []  # type: ignore[arg-type]
    os.utime(folder / "drill", (0, 0))
    assert keyfiles.written(there, [b"s" * 32])[1] == [str(left)]  # type: ignore[arg-type]
    with (folder / "run" / "drill.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not sweep(config)
        with pytest.raises(BackupError, match="under way"):
            drill(config, policy.load(), None, None, "")  # type: ignore[arg-type]
    assert left.exists()
    assert sweep(config)
    assert not (folder / "drill").exists()
    assert not held.read().strip(b"\0"), "the old key is overwritten, not only unlinked"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_drill_that_is_ended_takes_its_copy_with_it(home: House, number: int) -> None:
    home.people(home.vault(), 1)
    seal(home, home.config.audit_log)
    create(home.config, policy.load(), home.embedded.admin_dsn)
    environment = os.environ | {"ARMONIKA_HOME": str(home.config.home)}
    with subprocess.Popen([sys.executable, "-m", "armonika.doors.cli.main", "backup", "drill"], env=environment, stderr=subprocess.PIPE, text=True) as made:  # fmt: skip
        assert made.stderr is not None
        for line in made.stderr:
            if line.startswith("Recovering"):
                made.send_signal(number)
                break
        rest = made.stderr.read()
    assert made.returncode == 2
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert not (home.config.home / "drill").exists()


def test_what_is_due_of_the_backups() -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def made(hours: float, drilled_days: float | None = None) -> Backup:
        drilled = (at - timedelta(days=drilled_days)).isoformat() if drilled_days is not None else None
        return Backup("b", (at - timedelta(hours=hours)).isoformat(), "DZ", 18, "0" * 24, 0, (), {}, 0, None, drilled)

    assert rounds.due([], at) == "create"
    assert rounds.due([made(24)], at) == "create"
    assert rounds.due([made(23.9)], at) == "drill"
    assert rounds.due([made(23.9), made(48, 30)], at) == "drill"
    assert rounds.due([made(23.9), made(48, 29.9)], at) is None
    assert rounds.due([made(-5, 1)], at) is None, "a clock that went back"


def test_the_rounds_make_backups_and_try_them(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `serve` does by itself after ten minutes: a backup, then a drill, and then nothing more."""
    monkeypatch.setenv("ARMONIKA_HOME", str(home.config.home))
    monkeypatch.setattr(rounds, "FIRST_BACKUP_SECONDS", 0.0)
    vault = home.vault()
    home.people(vault, 5)
    seal(home, home.config.audit_log)
    time.sleep(1.1)  # a backup counts from the second in which it began
    said: list[str] = []
    done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append, began=time.monotonic() - 1)
    end = time.monotonic() + 90
    while time.monotonic() < end and not (catalogue_of(home.config).all() and catalogue_of(home.config).all()[-1].restored_at):
        done.tick()
        time.sleep(0.1)
    (backup,) = catalogue_of(home.config).all()
    end = time.monotonic() + 30
    while done._working is not None and time.monotonic() < end:
        done.tick()
        time.sleep(0.05)
    assert done._working is None
    log = (home.config.logs / "backup.log").read_text()
    assert backup.restored_at, log
    assert "records are the same" in log
    assert not (home.config.home / "drill").exists()
    done.tick()
    assert done._working is None, "nothing more is due"
    assert said == []
    done.stop()


def test_a_drill_finds_what_a_copy_lacks_and_what_is_not_the_same(home: House) -> None:
    """A record that the backup should have, one that was changed behind its version, and a key that opens nothing."""
    vault = home.vault()
    made = home.people(vault, 3)
    log = home.config.audit_log
    seal(home, log)
    time.sleep(1.1)
    kept = catalogue_of(home.config)
    backup = create(home.config, policy.load(), home.embedded.admin_dsn)
    closed(home)
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731
    assert drill(home.config, policy.load(), kept, backup, home.embedded.admin_dsn, quiet).records >= 3
    with home.admin() as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute(
            "UPDATE vault.record SET ciphertexts[1] = ciphertexts[1] || '\\x00' WHERE record_id = %s", (made[0].record,)
        )
    with pytest.raises(BackupError, match="is not what it is"):
        drill(home.config, policy.load(), kept, backup, home.embedded.admin_dsn, quiet)
    with home.admin() as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("UPDATE vault.record SET versions[1] = versions[1] + 1 WHERE record_id = %s", (made[0].record,))
        admin.execute(
            "UPDATE vault.record SET created_at = created_at - interval '1 day', record_id = gen_random_uuid() WHERE record_id = %s",
            (made[1].record,),
        )
    with pytest.raises(BackupError, match="lacks record"):
        drill(home.config, policy.load(), kept, backup, home.embedded.admin_dsn, quiet)
    assert not (home.config.home / "drill").exists()


def test_a_drill_asks_whether_who_was_erased_is_absent(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what ended after the backup, which the copy knows by the register alone: a person, a record, and the line of neither when it is not replayed."""
    vault = home.vault()
    gone, stays, _ = home.people(vault, 3)
    second = vault.create(
        home.token, "provide", "integration", [NewRecord("account", {"name": "second"}, "organisation", subject=stays.subject)]
    )[0]
    seal(home, home.config.audit_log)
    time.sleep(1.1)
    kept = catalogue_of(home.config)
    backup = create(home.config, policy.load(), home.embedded.admin_dsn)
    closed(home)
    vault.erase(home.token, [gone.subject], "provide", "integration")
    vault.erase_records(home.token, [(stays.subject, second.record)], "provide", "integration")
    seal(home, home.config.audit_log)
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731

    def held() -> Drilled:
        return drill(home.config, policy.load(), kept, backup, home.embedded.admin_dsn, quiet)

    found = held()
    assert (found.erased, found.ended, found.replayed) == (1, 2, 3)
    lines = replaying.register.lines
    for people, word in ((False, f"{gone.subject} was erased"), (True, f"Record {second.record} ended")):
        # Only the lines of records are replayed, and then only those of people.
        monkeypatch.setattr(replaying.register, "lines", lambda *args, people=people: [
            line for line in lines(*args) if (line["record"] is None) == people
        ])  # fmt: skip
        with pytest.raises(BackupError, match=word):
            held()
    monkeypatch.setattr(replaying, "_ended", lambda *_: 0)
    with pytest.raises(BackupError, match="back in the copy"):
        held()
