"""Key files: owner-only, written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path


class KeyFileError(Exception):
    """A key file is missing, readable by others, or damaged. The message says which file and what to do."""


def write_private(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Writes `data` durably under `path` with `mode`, for `owner` (uid, gid) from the first moment: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _sweep(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            # A full disk: what is told must name the place.
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(path: Path) -> None:
    """Removes what processes that were killed while they wrote `path` left beside it: an old key must not outlive its end there. One with the number of this
    process is such a one too: in a container the numbers come again."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if _orphaned(left) or left.name.endswith(f".{os.getpid()}"):
            with contextlib.suppress(OSError):
                _remove(left)


def _orphaned(temporary: Path) -> bool:
    """Whether the process that wrote a temporary file is gone."""
    number = temporary.name.rpartition(".")[2]
    return number.isdigit() and not Path("/proc", number).exists()


def _remove(temporary: Path) -> None:
    temporary.chmod(0o600)
    with overwrite(temporary):
        temporary.unlink()


def read_private(path: Path) -> bytes:
    """Reads a key file; refuses one that group or others can read (KeyFileError)."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(
                    f"{path} is open to others (mode {mode:04o}). Nothing was changed. If you trust its content: chmod 600 {path}"
                )
            return file.read()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise KeyFileError(
                f"{path} is missing, and so is its folder. If this is to be an installation, `armonika serve` makes it; if there is one elsewhere, "
                "set ARMONIKA_HOME to it. Nothing was changed."
            ) from None
        raise KeyFileError(
            f"{path} is missing. If the setting that leads there is right, restore it from your backup of the keys; nothing was changed."
        ) from None
    except PermissionError:
        raise KeyFileError(f"{path} cannot be read by this user. Start as the user that owns it.") from None


def sweep(folder: Path) -> int:
    """Removes temporary files that a killed process left in `folder`, overwritten first: they may hold a key that ends elsewhere. Returns how many."""
    gone = 0
    for path in folder.glob(".*.*"):
        if _orphaned(path) and path.is_file():
            _remove(path)
            gone += 1
    return gone


def remove_tree(folder: Path, keys: Path) -> None:
    """Removes a folder and all that is in it; the files in `keys`, a folder below it, are overwritten first. Neither need be there."""
    for path in keys.iterdir() if keys.is_dir() else ():
        if path.is_file() and not path.is_symlink():
            _remove(path)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def overwrite(path: Path) -> Iterator[None]:
    """Around the replacement of a file: the old file's bytes are overwritten afterwards, through a descriptor held open meanwhile.

    Best effort by its nature: a copy-on-write file system or a flash drive may keep the old blocks (SECURITY.md says what follows from it).
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        size = os.fstat(descriptor).st_size
        yield
        os.pwrite(descriptor, b"\0" * size, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
