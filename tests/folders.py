"""Folders for what runs as other users: those of pytest are closed to them, and too deep for the path of a socket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """A folder on disk through which everybody may pass, removed with all that is in it."""
    made = Path(tempfile.mkdtemp(prefix=f"armonika-{purpose}-", dir="/var/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
