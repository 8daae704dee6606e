"""How far a restore reaches: moments that it cannot reach are refused before anything is touched, an archive with a gap is never taken for a whole one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from armonika import policy
from armonika.supervisor import key_desk, rounds
from armonika.supervisor.backup import restore as restore_module
from armonika.supervisor.backup.catalogue import BASE, BackupError, Catalogue
from armonika.supervisor.backup.create import MARK, PUBLIC, catalogue_of, create
from armonika.supervisor.backup.restore import restore
from armonika.supervisor.installation import Installation
from armonika.supervisor.key_desk import KeyDeskError
from tests.keys.house import House, house
from tests.keys.test_backup import archived, opened, seal

POLICY = policy.load()
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        made.people(made.vault(), 2)
        seal(made)
        create(made.config, POLICY, made.embedded.admin_dsn)
        archived(made, catalogue_of(made.config))
        yield made


def command(home: House, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    extra = {"ARMONIKA_BACKUPS": str(folder)} if folder else {}
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", *words],
        env={**os.environ, "ARMONIKA_HOME": str(home.config.home), "ARMONIKA_PORT": "8000", **extra},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("moment", "word"),
    [
        ("9999-12-31T23:59:59", "still to come"),
        ("9999-12-31T23:59:59-12:00", "still to come"),
        pytest.param((datetime.now(UTC) + timedelta(hours=1)).isoformat(), "still to come", id="in an hour"),
        ("0001-01-01T00:00:00", "Take an older backup"),
        ("0001-01-01T00:00:00+14:00", "Take an older backup"),
        ("2020-01-01", "Take an older backup"),
        ("yesterday", "is no moment"),
        ("2026-13-01T00:00:00", "is no moment"),
        ("", "is no moment"),
        ("2026-11-24T10:00:00'; x = '", "is no moment"),
    ],
)
def test_a_time_that_cannot_be_is_refused_before_anything_is_touched(home: House, folder: Path, moment: str, word: str) -> None:
    place = folder / "never"
    done = command(home, "restore", "--to", str(place), "--time", moment)
    assert done.returncode == 2
    assert word in done.stderr
    assert "FATAL" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not place.exists()


def test_a_time_after_the_last_transaction_of_the_archive_is_its_end(home: House, folder: Path) -> None:
    time.sleep(1.1)
    place = folder / "restored"
    said: list[str] = []
    backup = catalogue_of(home.config).get("latest")
    done = restore(home.config, POLICY, catalogue_of(home.config), backup, place, datetime.now(UTC), said.append)
    assert any("restored to its end" in word for word in said)
    assert datetime.fromisoformat(done.until) >= backup.created
    assert (place / MARK).exists()
    embedded, _ = opened(place)
    embedded.stop()


def test_a_gap_in_the_archive_is_named_and_what_was_begun_is_removed(home: House, folder: Path) -> None:
    kept, backup = catalogue_of(home.config), catalogue_of(home.config).get("latest")
    for _ in range(3):
        home.people(home.vault())
        time.sleep(1.1)
        archived(home, kept)
    middle = datetime.now(UTC)
    time.sleep(1.1)
    for _ in range(3):
        home.people(home.vault())
        archived(home, kept)
    names = sorted(name for name in kept.segments() if len(name) == 24)
    lost = kept.segments()[names[-2]]
    aside = lost.with_suffix(".aside")
    lost.rename(aside)
    place = folder / "restored"
    try:
        for until in (None, datetime.now(UTC)):
            with pytest.raises(BackupError, match=f"follows {names[-3]} is missing"):
                restore(home.config, POLICY, kept, backup, place, until, say=lambda _: None)
            assert not place.exists()
        restore(home.config, POLICY, kept, backup, place, middle, say=lambda _: None)
        place.joinpath("x").touch()
    finally:
        aside.rename(lost)


def test_a_restore_that_was_killed_is_no_home(home: House, tmp_path: Path) -> None:
    """Half its segments are there, or none: started, it would serve what is older than what was acknowledged."""
    kept, backup = catalogue_of(home.config), catalogue_of(home.config).get("latest")
    child = os.fork()
    if child == 0:
        restore_module._segments = lambda *_: os._exit(99)  # type: ignore[assignment]
        restore(home.config, POLICY, kept, backup, tmp_path, say=lambda _: None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
    shutil.copytree(home.config.keys, tmp_path / "keys")
    with pytest.raises(BackupError, match="did not come to its end"):
        Installation(replace(home.config, home=tmp_path)).start()
    with pytest.raises(BackupError, match="not empty"):
        restore(home.config, POLICY, kept, backup, tmp_path)


def test_what_was_begun_is_removed_and_a_folder_that_was_there_stays(home: House, tmp_path: Path) -> None:
    kept, backup = catalogue_of(home.config), catalogue_of(home.config).get("latest")
    base = kept.path(backup, BASE)
    whole = base.read_bytes()
    base.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(BackupError, match="Take another backup"):
            restore(home.config, POLICY, kept, backup, tmp_path, say=lambda _: None)
    finally:
        base.write_bytes(whole)
    assert tmp_path.exists()
    assert not list(tmp_path.iterdir())


def test_a_backup_of_another_server_is_refused_or_laid_ready(home: House, tmp_path: Path) -> None:
    kept, backup = catalogue_of(home.config), catalogue_of(home.config).get("latest")
    with pytest.raises(BackupError, match="is of PostgreSQL 15"):
        restore(home.config, POLICY, kept, replace(backup, server=15), tmp_path)
    assert not list(tmp_path.iterdir())
    own = replace(home.config, database_url="host=/nowhere")
    assert restore(own, POLICY, kept, replace(backup, server=15), tmp_path, say=lambda _: None).until == ""
    assert (tmp_path / "server" / "data" / "recovery.signal").exists()
    assert (tmp_path / "keys" / "keyring.json").exists()
    assert (tmp_path / "log" / "checkpoint").exists()
    assert list((tmp_path / "server" / "wal").iterdir())


def test_backups_end_by_a_clock_that_is_trusted_and_by_no_other(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = catalogue_of(home.config)
    before = kept.all()
    home.later = datetime.now(UTC) + timedelta(days=400)
    try:
        with home.admin() as admin:
            admin.execute("UPDATE vault.retention_state SET ran_at = clock_timestamp() - interval '8 days'")
        with pytest.raises(KeyDeskError, match="confirm-clock"):
            home.desk.expire()
        done = command(home, "backup", "expire")
        assert (done.returncode, "confirm-clock" in done.stderr) == (2, True)
        with home.admin() as admin:
            admin.execute("SELECT vault.confirm_clock()")
        with monkeypatch.context() as patch:
            # This machine's clock alone was set forward: the database is another machine.
            patch.setattr(key_desk, "now", lambda: datetime.now(UTC) + timedelta(days=400))
            for end in (home.desk.expire, home.desk.tend):
                with pytest.raises(KeyDeskError, match="apart"):
                    end()
        assert kept.all() == before
    finally:
        home.later = None
        with home.admin() as admin:
            admin.execute("SELECT vault.confirm_clock()")
    assert command(home, "backup", "expire").returncode == 0
    assert kept.all() == before


def test_a_folder_with_the_archive_of_another_installation_is_refused(home: House, tmp_path: Path) -> None:
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / PUBLIC).write_bytes(b"another")
    done = command(home, "backup", "create", folder=tmp_path)
    assert done.returncode == 2
    assert "another installation" in done.stderr
    assert (tmp_path / "wal" / PUBLIC).read_bytes() == b"another"
    assert Catalogue(tmp_path).all() == []


def worked(done: rounds.Rounds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    done.tick()
    while done._working is not None and time.monotonic() < end:
        time.sleep(0.1)
        done.tick()
    assert done._working is None


def test_a_folder_of_backups_that_is_not_there_is_not_made(home: House, tmp_path: Path) -> None:
    before = home.value("SELECT current_setting('archive_command')")
    done = command(home, "backup", "create", folder=tmp_path / "mount" / "backups")
    assert done.returncode == 2
    assert "is not there" in done.stderr
    assert not list(tmp_path.iterdir())
    assert home.value("SELECT current_setting('archive_command')") == before


def test_a_restored_home_is_backed_up_at_once_and_says_so(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMONIKA_HOME", str(home.config.home))
    said: list[str] = []
    kept, before = catalogue_of(home.config), len(catalogue_of(home.config).all())
    done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append)
    worked(done)
    assert (said, len(kept.all())) == ([], before), "nothing is due"
    (home.config.home / MARK).write_text("x")
    done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append)
    worked(done)
    assert len(kept.all()) == before + 1
    assert not (home.config.home / MARK).exists()
    assert "was restored" in said[0]
    assert "archived from here on" in said[1]
    # The same where the files of a copy were put in place by hand, over the backups of before.
    home.value("SELECT 1")
    with home.admin() as admin:
        admin.execute("ALTER SYSTEM SET archive_command = '/bin/true'")
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(0.5)
    time.sleep(1)
    done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append)
    worked(done)
    assert len(kept.all()) == before + 2
    assert "archive_wal" in str(home.value("SHOW archive_command"))


def test_the_archive_moves_along_with_a_home(home: House) -> None:
    """Set to where the home was, every segment would wait until the next backup."""
    with home.admin() as admin:
        row = admin.execute("SHOW archive_command").fetchone()
        assert row is not None
        before = str(row[0])
        admin.execute(psycopg.sql.SQL("ALTER SYSTEM SET archive_command = {}").format(before.replace("/backups/", "/elsewhere/")))
        admin.execute("SELECT pg_reload_conf()")
    time.sleep(1)
    said: list[str] = []
    worked(rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append))
    time.sleep(1)
    assert home.value("SHOW archive_command") == before
    assert said == ["The archive of the database's log was set to its new place."]


def test_a_locale_that_lacks_a_sign_of_ours_is_no_error(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert command(home, "--help").returncode == 0
    assert command(home, "keys", "list").returncode == 0


def test_a_damaged_catalogue_or_a_disk_that_is_gone_does_not_end_what_serves(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(rounds, "FIRST_BACKUP_SECONDS", -1.0)
    kept = catalogue_of(home.config)
    (kept.folder / "20000101T000000-aaaaaa").mkdir()
    damaged = kept.folder / "20000101T000000-aaaaaa" / "manifest.json"
    damaged.write_text("{")
    try:
        done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append)
        done._again_at = time.monotonic() + 60
        done.tick()
        assert any("is damaged" in word for word in said)
        assert command(home, "backup", "list").returncode == 1
        for words in (("backup", "expire"), ("keys", "tend")):
            ran = command(home, *words)
            assert ran.returncode in (1, 2)
            assert "is damaged" in ran.stderr
            assert "Traceback" not in ran.stderr
    finally:
        damaged.unlink()
        damaged.parent.rmdir()

    def gone(self: Catalogue) -> None:
        raise OSError(5, "Input/output error", str(self.folder))

    monkeypatch.setattr(Catalogue, "look", gone)
    said.clear()
    done = rounds.Rounds(Installation(home.config, admin_dsn=home.embedded.admin_dsn), said.append)
    done.tick()
    done.tick()
    assert sum("Input/output error" in word for word in said) == 1, said
