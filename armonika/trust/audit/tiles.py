"""Tiles and entry bundles as files (C2SP tlog-tiles), each written whole and durably or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from armonika.trust.audit.tree import node_hash

WIDTH = 256


def tile_name(number: int) -> str:
    """The path of tile number N in groups of three digits: x001/x234/067."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """tile/<level>/<N> or tile/<level>/<N>.p/<width>; level `entries` for bundles."""
    return f"tile/{level}/{tile_name(number)}" + (f".p/{width}" if width < WIDTH else "")


def write(path: Path, content: bytes) -> None:
    """Atomically: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, content)
    _sync(path.parent)


def write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """Many files, each whole or not at all; all are durable when this returns. Several at a time, since the disk is what is waited for."""
    folders = {path.parent for path, _ in files}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(_replace, path, content) for path, content in files]:
            done.result()
    for folder in folders:
        _sync(folder)


def drop_partial(path: Path) -> None:
    """Removes the partial tiles or bundles of a full one, which is durable: a partial of each second would otherwise outgrow the log many times over
    (c2sp.org/tlog-tiles allows it)."""
    shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


def tidy(folder: Path) -> None:
    """Drops what a crash left, or a time that kept all of them: partials beside their full tile or bundle."""
    for here, below, names in os.walk(folder / "tile"):
        there = set(names)
        for name in below:
            if name.endswith(".p") and name[:-2] in there:
                drop_partial(Path(here, name[:-2]))
        below[:] = [name for name in below if not name.endswith(".p")]


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(path)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each behind its length as two big-endian bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def up(hashes: Sequence[bytes]) -> bytes:
    """The hash of one full tile: its entry in the level above."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]
