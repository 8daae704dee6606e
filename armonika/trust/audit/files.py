"""Files of a log, read by those who do not trust whoever wrote them: regular files only, never more than they may hold, and no way out of the folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST_TILE, MOST_BUNDLE, MOST_NOTE, MOST_VKEYS = 256 * 32, 256 * (2 + 65535), 1 << 18, 1 << 16
"""Bytes of a tile, of an entry bundle (c2sp.org/tlog-tiles), of a checkpoint or proof, and of a file of verifier keys."""
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


def read_file(path: Path, most: int) -> bytes:
    """The content of a file that somebody named. Raises OSError when it is missing, no regular file, or longer than `most` bytes."""
    return _whole(os.open(path, _FLAGS), path, most)


def read_beneath(folder: Path, name: str, most: int) -> bytes:
    """The content of the file `name` (parts with `/` between them) in `folder`; no part of it may be a symbolic link, since that would lead to what the
    reader may see and the writer of the folder may not. Raises OSError as `read_file` does."""
    *above, last = name.split("/")
    if any(part in ("", ".", "..") for part in (*above, last)):
        raise FileNotFoundError(errno.ENOENT, "no name of a file", name)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
            os.close(opened)
            opened = below
        return _whole(os.open(last, _FLAGS | os.O_NOFOLLOW, dir_fd=opened), folder / name, most)
    finally:
        os.close(opened)


def _whole(descriptor: int, path: Path, most: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"holds more than the {most} bytes that it may", str(path))
    return content
