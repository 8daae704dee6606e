"""Where bytes of this installation can lie: for the searches of the claims 7a.3 and 6a.6."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from armonika.verify import sockets
from armonika.verify.context import Context

OUTSIDE = ("/tmp", "/var/tmp", "/dev/shm", "/var/log", "/var/spool", "/var/crash", "/var/lib/systemd/coredump", "/run")
"""Folders of the machine in which a process leaves what it should not: searched for what changed since a canary was made."""


def backups(context: Context) -> Path:
    """The folder of backups, as `armonika backup` takes it."""
    return Path(os.environ.get("ARMONIKA_BACKUPS") or context.settings.home / "backups").absolute()


def server(context: Context) -> list[Path]:
    """The folders of the database's server: its data and every tablespace. Empty when they cannot be read from here."""
    ((data,),) = context.rows("SELECT current_setting('data_directory')")
    spaces = context.rows("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''")
    found = [Path(data), *(Path(place) for (place,) in spaces)]
    return (
        found
        if all((place / "PG_VERSION").exists() or place.is_dir() for place in found) and os.access(found[0], os.R_OK)
        else []
    )


def own(context: Context) -> list[Path]:
    """Every folder that holds something of the installation, none of them twice."""
    memory = context.settings.credentials
    found: list[Path] = []
    for place in (context.settings.home, backups(context), *([memory] if memory.exists() else []), *server(context)):
        if place.exists() and not any(place.resolve().is_relative_to(known.resolve()) for known in found):
            found.append(place)
    return found


def changed(context: Context, since: float) -> Iterator[Path]:
    """Files outside that changed at or after `since` (POSIX seconds): of whatever process, but not of another database's server."""
    known = {str(place.resolve()) for place in own(context)}
    tops = {os.path.realpath(top) for top in OUTSIDE}
    waiting = list(tops)
    while waiting:
        folder = waiting.pop()
        if folder in known:
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        if folder not in tops and any(entry.name == "PG_VERSION" for entry in entries):
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime >= since - 1:
                    yield Path(entry.path)
            except OSError:
                continue


def deleted(context: Context) -> Iterator[Path]:
    """Files that a process of the installation holds open though they stand in no folder any more."""
    for pid in sockets.processes(context.settings.home):
        try:
            for file in os.scandir(f"/proc/{pid}/fd"):
                target = os.readlink(file.path)
                if target.endswith(" (deleted)") and not target.startswith(("/memfd:", "/dev/zero")):
                    yield Path(file.path)
        except OSError:
            continue
