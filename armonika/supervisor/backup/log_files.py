"""The files of a log that is being written: a copy of them is a whole log at every moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def each(log: Path, take: Callable[[Path], None]) -> None:
    """Hands every folder and file of a log to `take`, the checkpoint before what it signs. A partial tile that went since it was seen is a full one now, which
    is taken in its place. What is being written, and links, are left out: a log has none, and a link would lead a copy elsewhere. Raises OSError."""
    taken: set[Path] = set()

    def one(path: Path) -> None:
        if path in taken or path.is_symlink() or (path.name.startswith(".") and path.name.endswith(".new")):
            return
        try:
            take(path)
        except FileNotFoundError:
            partial = path if path.suffix == ".p" else path.parent
            if partial.suffix != ".p":
                raise
            one(partial.with_suffix(""))
            return
        taken.add(path)

    def gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error
        one(Path(error.filename))

    for here, below, names in os.walk(log, onerror=gone):
        below.sort()
        one(Path(here))
        for name in sorted(names):
            one(Path(here, name))
        full = Path(here).with_suffix("")
        if here.endswith(".p") and full.exists():
            one(full)


def copy(log: Path, target: Path) -> None:
    """A copy of a log in the folder `target`, which is made. Raises OSError."""

    def take(path: Path) -> None:
        there = target / path.relative_to(log)
        if path.is_dir():
            there.mkdir(exist_ok=True)
        else:
            shutil.copyfile(path, there, follow_symlinks=False)
        shutil.copystat(path, there, follow_symlinks=False)

    each(log, take)
