"""Tiles as files (c2sp.org/tlog-tiles): names, contents, and that a file is there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from armonika.trust.audit import tiles
from armonika.trust.audit.tree import root


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "000"),
        (7, "007"),
        (999, "999"),
        (1000, "x001/000"),
        (1234067, "x001/x234/067"),
        (999_999, "x999/999"),
        (1_000_000, "x001/x000/000"),
        (10**9 + 5, "x001/x000/x000/005"),
    ],
)
def test_names_are_groups_of_three_digits(number: int, name: str) -> None:
    assert tiles.tile_name(number) == name


def test_paths() -> None:
    assert tiles.WIDTH == 256
    assert tiles.tile_path(0, 5) == "tile/0/005"
    assert tiles.tile_path(1, 5, 256) == "tile/1/005"
    assert tiles.tile_path(0, 5, 255) == "tile/0/005.p/255"
    assert tiles.tile_path("entries", 0, 1) == "tile/entries/000.p/1"


def test_a_bundle_is_lengths_and_entries() -> None:
    assert tiles.bundle([]) == b""
    assert tiles.bundle([b"ab", b"", b"x" * 258]) == b"\x00\x02ab\x00\x00\x01\x02" + b"x" * 258


@pytest.mark.parametrize("count", [1, 2, 4, 256])
def test_a_full_tile_goes_up_as_its_root(count: int) -> None:
    hashes = [bytes([n % 256]) * 32 for n in range(count)]
    assert tiles.up(hashes) == root(hashes)


def test_files_are_written_whole_and_replace_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = tiles.os.fsync
    monkeypatch.setattr(tiles.os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor))[1])
    before = os.umask(0o077)
    path = tmp_path / "tile" / "0" / "000"
    tiles.write(path, b"one")
    assert len(synced) == 2, "the file and its folder"
    tiles.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["000"]
    synced.clear()
    many = [(tmp_path / "tile" / str(n % 2 + 5) / f"{n:03d}", bytes([n])) for n in range(9)]
    tiles.write_all(many)
    assert all(one.read_bytes() == content and one.stat().st_mode & 0o777 == 0o644 for one, content in many)
    assert len(synced) == 9 + 2
    tiles.write_all([])
    os.umask(before)


def test_what_cannot_be_written_is_told_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "000"
    tiles.write(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiles.os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        tiles.write(path, b"two")
    with pytest.raises(OSError, match="space"):
        tiles.write_all([(path, b"two")])
    assert path.read_bytes() == b"one"


def test_what_is_made_durable_is_the_whole_file_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, list[str]]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        state = os.fstat(descriptor)
        if stat.S_ISREG(state.st_mode):
            seen.append((state.st_size, sorted(os.listdir(tmp_path / "a" / "b"))))
        real(descriptor)

    monkeypatch.setattr(tiles.os, "fsync", fsync)
    before = len(os.listdir("/proc/self/fd"))
    tiles.write_all([(tmp_path / "a" / "b" / "000", b"x" * 50)])
    tiles.write(tmp_path / "a" / "b" / "001", b"y" * 50)
    assert seen == [(50, [".000.new"]), (50, [".001.new", "000"])]
    assert len(os.listdir("/proc/self/fd")) == before, "no folder stays open"


def test_one_file_of_many_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(tiles.os, "fsync", fsync)
    with pytest.raises(OSError, match="space"):
        tiles.write_all([(tmp_path / "000", b"x")])
