"""A copy of a log that is being written is a whole log, and never leads out of its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armonika.supervisor.backup.log_files import copy, each
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.verify import verify
from tests.audit.rows import Rows

KEY = bytes(range(32))


def begun(folder: Path, count: int) -> tuple[Rows, Sealer]:
    rows = Rows(count)
    sealer = Sealer(rows, folder, "armonika.test/audit", KEY)  # type: ignore[arg-type]
    sealer.load()
    while sealer.seal():
        pass
    return rows, sealer


def findings(folder: Path) -> list[str]:
    return verify(folder, (folder / "log.vkey").read_text()).findings


@pytest.mark.parametrize("more", [1, 200, 212, 300, 700])
@pytest.mark.parametrize("at", range(12))
def test_whatever_is_sealed_while_it_is_copied_the_copy_is_whole(more: int, at: int, tmp_path: Path) -> None:
    rows, sealer = begun(tmp_path / "log", 300)
    seen = 0

    def take(path: Path) -> None:
        nonlocal seen
        if seen == at:
            rows.count += more
            sealer.seal()
        seen += 1
        there = tmp_path / "copy" / path.relative_to(tmp_path / "log")
        if path.is_dir():
            there.mkdir()
        else:
            there.write_bytes(path.read_bytes())

    each(tmp_path / "log", take)
    assert findings(tmp_path / "copy") == []


@pytest.mark.parametrize("kept", ["44", "1", None])
def test_partials_that_are_going_are_taken_from_the_full_one(kept: str | None, tmp_path: Path) -> None:
    """The sealer is half way through removing them."""
    rows, sealer = begun(tmp_path / "log", 257)
    rows.count = 300
    sealer.seal()
    partials = tmp_path / "log/tile/0/001.p"
    assert {path.name for path in partials.iterdir()} == {"1", "44"}

    def take(path: Path) -> None:
        if path == partials:
            held = {one: one.read_bytes() for one in partials.iterdir()}
            rows.count = 512
            sealer.seal()
            if kept:
                partials.mkdir()
                (partials / kept).write_bytes(held[partials / kept])
        there = tmp_path / "copy" / path.relative_to(tmp_path / "log")
        there.mkdir() if path.is_dir() else shutil.copyfile(path, there)

    each(tmp_path / "log", take)
    assert findings(tmp_path / "copy") == []


def test_links_and_what_is_being_written_are_left_out(tmp_path: Path) -> None:
    begun(tmp_path / "log", 300)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "log/tile/0/link").symlink_to(tmp_path / "secret")
    (tmp_path / "log/tile/link").symlink_to(tmp_path)
    (tmp_path / "log/.checkpoint.new").write_bytes(b"half")
    copy(tmp_path / "log", tmp_path / "copy")
    assert findings(tmp_path / "copy") == []
    left = {path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*")}
    assert not {Path("tile/0/link"), Path("tile/link"), Path(".checkpoint.new")} & left


def test_what_is_missing_and_no_partial_is_told(tmp_path: Path) -> None:
    begun(tmp_path / "log", 3)

    def take(path: Path) -> None:
        raise FileNotFoundError(path)

    with pytest.raises(FileNotFoundError):
        each(tmp_path / "log", take)
