"""A ballast file beside the data: deleted when the disk is full, so that PostgreSQL can recover; made again when there is room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BYTES = 64 * 1024 * 1024
ALARM = 0.80


class Ballast:
    """`check` keeps it, gives it up when needed, and says what an operator should know."""

    def __init__(self, path: Path, size: int = BYTES) -> None:
        self.path, self.size = path, size

    def check(self) -> str | None:
        """A sentence for the operator, or None."""
        usage = shutil.disk_usage(self.path.parent)
        if self.path.exists():
            if usage.free < self.size // 4:
                self.release()
                return "The disk is full: the ballast was given up so that the database can go on. Free room now."
        elif usage.free > self.size * 3:
            self.make()
        if usage.used / usage.total > ALARM:
            return f"The disk is {usage.used * 100 // usage.total} % full."
        return None

    def make(self) -> None:
        """Writes the file; a disk without room for it is no error here."""
        try:
            with self.path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size)
        except OSError:
            self.path.unlink(missing_ok=True)

    def release(self) -> None:
        """Gives the room back."""
        self.path.unlink(missing_ok=True)
