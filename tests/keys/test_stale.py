"""Keys and backups against what is out of date: a keyring opened before another process renewed it, and a clock that jumped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store.turn import MigrationError
from armonika.supervisor.backup.catalogue import Backup
from armonika.supervisor.backup.create import catalogue_of
from armonika.supervisor.key_desk import KeyDeskError
from armonika.trust.keys import Keyring
from armonika.trust.keys.provision import provision
from tests.keys.house import house


def test_a_start_beside_a_renewal_writes_no_keyring_that_opens_nothing(tmp_path: Path) -> None:
    first = Keyring.open_or_create(tmp_path)
    first.ensure(["account"])
    starting = Keyring.open_or_create(tmp_path)
    first.renew()
    starting.ensure(["account", "billing"])
    again = Keyring.open(tmp_path)
    assert again.service("site") == first.service("site")
    assert again.epochs.active("billing") == 1
    assert starting.log_key() == again.log_key()


def test_a_clock_that_jumped_removes_no_backup(tmp_path: Path) -> None:
    with house() as home:
        kept, at = catalogue_of(home.config), datetime.now(UTC)
        kept.folder.mkdir(parents=True, exist_ok=True)
        backup = Backup("one", at.isoformat(timespec="seconds"), "DZ", 18, "0" * 24, 0, (), {}, 0)
        (kept.folder / "one").mkdir()
        kept.write(backup)
        # What a clock forty days ahead looks like: to the job's last run and to the desk.
        home.value("UPDATE vault.retention_state SET ran_at = ran_at - interval '40 days' RETURNING 1")
        home.later = at + timedelta(days=40)
        with pytest.raises(KeyDeskError):
            home.desk.tend()
        assert kept.all() == [backup]
        home.value("SELECT vault.confirm_clock()")
        home.desk.tend()
        assert not kept.all()


def test_keys_from_before_a_rotation_stop_the_start_and_say_so() -> None:
    """The copy of the keys folder that was made before the last rotation: what was written since is under an epoch that it does not hold."""
    with house() as home:
        file = home.config.keys / "keyring.json"
        before = file.read_bytes()
        home.desk.prepare(["account"], "test")
        prepared = file.read_bytes()
        home.desk.rotate(["account"], "test")
        newest = file.read_bytes()
        for older in (before, prepared):
            file.write_bytes(older)
            with pytest.raises(MigrationError, match="is older than the database, which holds epoch 2 of account"):
                provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
            assert file.read_bytes() == older
        file.write_bytes(newest)
        provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
