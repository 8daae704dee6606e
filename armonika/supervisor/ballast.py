"""A ballast file beside the data: deleted when the disk is full, so that PostgreSQL can recover; made again when there is room."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

BYTES = 64 * 1024 * 1024
ALARM = 0.80
SAY_AGAIN_SECONDS = 3600.0


class Ballast:
    """`check` keeps it, gives it up when needed, and says what an operator should know."""

    def __init__(self, path: Path, size: int = BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.size, self._clock = path, size, clock
        self._told: tuple[str | None, float] = (None, 0.0)

    def news(self) -> str | None:
        """`check`, and what it says when that is new, or an hour old: a disk that stays nearly full must not fill the log with it. Raises no error."""
        try:
            word = self.check()
        except OSError as error:
            word = f"{error.filename}: {error.strerror}."
        told, at = self._told
        if word == told and self._clock() - at < SAY_AGAIN_SECONDS:
            return None
        self._told = (word, self._clock())
        return word

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
