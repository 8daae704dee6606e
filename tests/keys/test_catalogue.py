"""The catalogue of backups as another user sees it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from armonika.supervisor.backup.catalogue import Backup, BackupError, Catalogue


def test_backups_that_may_not_be_read_are_not_none(folder: Path) -> None:
    (folder / "20261125T000000-aaaaaa").mkdir(mode=0o700)
    (folder / "a file").write_text("")
    assert Catalogue(folder).all() == [], "an unfinished one counts for nothing"
    assert Catalogue(folder / "nothing").all() == []
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    else:
        (folder / "20261125T000000-aaaaaa").chmod(0)
    try:
        with pytest.raises(PermissionError):
            Catalogue(folder).all()
    finally:
        if root:
            os.seteuid(0)
        else:
            (folder / "20261125T000000-aaaaaa").chmod(0o700)


def manifest(within: Path, **changed: object) -> Path:
    """A finished backup as its folder holds it."""
    name = str(changed.pop("folder", "20261125T000000-aaaaaa"))
    (within / name).mkdir()
    made = Backup(name, "2026-11-25T00:00:00+00:00", "DZ", 18, "0" * 23 + "5", 0, ("account/1",), {"base.tar.sealed": "x"}, 0)
    path = within / name / "manifest.json"
    path.write_text(json.dumps({**asdict(made), **changed}))
    return path


@pytest.mark.parametrize(
    "changed",
    [
        {"backup_id": "../../elsewhere"},
        {"backup_id": "20261125T000000-bbbbbb"},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-25T00:00:00"},
        {"first_segment": "x"},
        {"files": {"../x": "y"}},
        {"epochs": 1},
    ],
)
def test_a_damaged_manifest_stops_what_ends_and_not_what_restores(tmp_path: Path, changed: dict[str, object]) -> None:
    manifest(tmp_path, folder="20261124T000000-cccccc")
    damaged = manifest(tmp_path, **changed)
    kept = Catalogue(tmp_path)
    for end in (kept.all, lambda: kept.expire(datetime.now(UTC), timedelta(days=0))):
        with pytest.raises(BackupError, match="is damaged"):
            end()
    assert damaged.exists()
    assert kept.look()[1] == [damaged]
    assert kept.get("latest").backup_id == "20261124T000000-cccccc"
    with pytest.raises(BackupError, match="is damaged"):
        kept.get("20261125T000000-aaaaaa")
    damaged.write_text("{")
    assert kept.look()[1] == [damaged]


def test_a_manifest_of_a_later_release_is_read(tmp_path: Path) -> None:
    manifest(tmp_path, something="new")
    assert len(Catalogue(tmp_path).all()) == 1


def test_a_gap_in_the_archive_is_found(tmp_path: Path) -> None:
    kept = Catalogue(tmp_path)
    kept.wal.mkdir()

    def archived(*names: str) -> str | None:
        for path in kept.wal.iterdir():
            path.unlink()
        for name in names:
            (kept.wal / f"{name}.{'0' * 16}.sealed").touch()
        return kept.gap("0000000100000000000000FD", ["0000000100000000000000FD", "archive_status"])

    whole = ["0000000100000000000000FD", "0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000"]
    assert archived(*whole, "00000002.history", "000000020000000100000001", "0000000100000000000000FD.00000028.backup") is None
    assert archived(*whole[1:]) is None, "the first is in the backup"
    assert archived(*whole[:1], *whole[2:]) == whole[0]
    assert archived(*whole[:2], *whole[3:]) == whole[1]
    assert archived(*whole, "000000010000000100000002") == whole[3]
    assert archived("0000000100000000000000F0", *whole) is None, "what is older is of no account"
    assert archived(whole[3], "000000010000000300000000") == whole[0]


def test_what_else_lies_on_the_disk_of_backups_stays(tmp_path: Path) -> None:
    """`ARMONIKA_BACKUPS` names a whole disk: its other folders have no manifest either, or one of another kind."""
    later = datetime.now(UTC) + timedelta(days=400)
    for name in ("lost+found", "photographs", "aside"):
        (tmp_path / name).mkdir()
    (tmp_path / "photographs" / "manifest.json").write_text("{}")
    (tmp_path / "20261125T000000-bbbbbb").mkdir()
    assert Catalogue(tmp_path).expire(later, timedelta(days=35)) == ["20261125T000000-bbbbbb"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aside", "lost+found", "photographs"]
