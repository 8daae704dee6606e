"""The catalogue of backups: one folder each, `manifest.json` beside the sealed files; the archive of the write-ahead log beside them all.

Nothing in a backup can be opened with what is in it: it is sealed to the backup key, and data keys in it are wrapped by epochs that the keyring
alone holds, until they are destroyed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from armonika.store.private_files import write_private

_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{6}")
_SEGMENT = re.compile(r"[0-9A-F]{24}")
MANIFEST, BASE, LOG, WAL = "manifest.json", "base.tar.sealed", "log.tar.sealed", "wal"


class BackupError(Exception):
    """A backup cannot be made, verified or restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup. `files` maps names to SHA-256 of the sealed bytes; `epochs` are those that it needs, `name/number`."""

    backup_id: str
    created_at: str
    site: str
    server: int
    first_segment: str
    tree_size: int
    epochs: tuple[str, ...]
    files: dict[str, str]
    bytes: int
    verified_at: str | None = None
    restored_at: str | None = None

    @property
    def created(self) -> datetime:
        """When it was begun: nothing that ended before is in it."""
        return datetime.fromisoformat(self.created_at)


class Catalogue:
    """The backups in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wal = folder / WAL

    def all(self) -> list[Backup]:
        """Every finished backup, oldest first. Raises BackupError when the manifest of one is damaged, OSError for what this user may not read: a backup
        that is not seen must not count as none, for keys are destroyed when no backup needs them. (`Path.glob` passes over it without a word.)"""
        found, damaged = self.look()
        if damaged:
            raise BackupError(
                f"{damaged[0]} is damaged, so that nobody can say what this backup needs. Put it back from a copy of the folder, or remove {damaged[0].parent}."
            )
        return found

    def look(self) -> tuple[list[Backup], list[Path]]:
        """Every finished backup whose manifest can be read, oldest first, and the manifests that are damaged. Raises OSError as `all` does."""
        found, damaged = [], []
        for folder in sorted(self.folder.iterdir()) if self.folder.exists() else ():
            try:
                found.append(_read(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (ValueError, TypeError, KeyError):
                if _ID.fullmatch(folder.name):
                    damaged.append(folder / MANIFEST)
        return sorted(found, key=lambda backup: backup.created), damaged

    def get(self, wanted: str) -> Backup:
        """A backup by its id, or the newest for `latest`, whatever became of the others. Raises BackupError."""
        known, damaged = self.look()
        for backup in reversed(known):
            if wanted in ("latest", backup.backup_id):
                return backup
        for path in damaged:
            if path.parent.name == wanted:
                raise BackupError(f"{path} is damaged. Put it back from a copy of the folder, or take another backup.")
        if not known:
            raise BackupError(
                f"There is no backup in {self.folder}: is it the folder that ARMONIKA_BACKUPS or ARMONIKA_HOME should lead to?"
            )
        raise BackupError(f"There is no backup {wanted} in {self.folder}. `armonika backup list` shows {len(known)}.")

    def path(self, backup: Backup, name: str) -> Path:
        """A file of a backup."""
        return self.folder / backup.backup_id / name

    def write(self, backup: Backup) -> None:
        """Writes the manifest: a backup without one is unfinished and counts for nothing."""
        write_private(self.folder / backup.backup_id / MANIFEST, json.dumps(asdict(backup), indent=1).encode())

    def mark(self, backup: Backup, **when: str) -> Backup:
        """Records when it was verified or restored as a drill."""
        marked = replace(backup, **when)  # type: ignore[arg-type]
        self.write(marked)
        return marked

    def segments(self) -> dict[str, Path]:
        """Archived segments by name."""
        return {path.name.rsplit(".", 2)[0]: path for path in sorted(self.wal.glob("*.sealed"))} if self.wal.exists() else {}

    def gap(self, first: str, held: Iterable[str]) -> str | None:
        """The segment behind which one is missing, of those from segment `first` on that are archived or `held` (by a backup itself); None when they follow
        each other to the newest."""
        names = {name[8:]: name for name in (*held, *self.segments()) if _SEGMENT.fullmatch(name) and name[8:] >= first[8:]}
        for before, after in pairwise(sorted(names)):
            high, low = int(before[:8], 16), int(before[8:], 16)
            # The low part begins anew at a power of two: 256 with segments of 16 MB, else with other ones.
            if (int(after[:8], 16), int(after[8:], 16)) not in (
                (high, low + 1),
                *([(high + 1, 0)] if low & (low + 1) == 0 else []),
            ):
                return names[before]
        return None

    def expire(self, at: datetime, keep: timedelta) -> list[str]:
        """Removes backups older than `keep`, unfinished ones of a day ago, and segments that none of the others needs. Returns what is gone."""
        gone = []
        for backup in self.all():
            if at - backup.created >= keep:
                # The manifest goes first: what is half removed is no backup.
                self.path(backup, MANIFEST).unlink()
                shutil.rmtree(self.folder / backup.backup_id)
                gone.append(backup.backup_id)
        living = self.all()
        for folder in self.folder.iterdir() if self.folder.exists() else ():
            if (
                folder.is_dir()
                # What else lies on that disk is nobody's to remove.
                and _ID.fullmatch(folder.name)
                and not (folder / MANIFEST).exists()
                and at.timestamp() - folder.stat().st_mtime > 86400
            ):
                shutil.rmtree(folder)
                gone.append(folder.name)
        oldest = min((backup.first_segment for backup in living), default=None)
        for name, path in self.segments().items():
            if len(name) == 24 and (
                (oldest is None and at.timestamp() - path.stat().st_mtime >= keep.total_seconds())
                or (oldest is not None and name[8:] < oldest[8:])
            ):
                path.unlink()
                gone.append(name)
        return gone


def _read(folder: Path) -> Backup:
    """The manifest in a folder. Raises ValueError, TypeError, KeyError when it is damaged, or is that of another folder: what expires is removed by its name."""
    content = json.loads((folder / MANIFEST).read_bytes())
    known = {field.name for field in fields(Backup)}
    made = Backup(**{name: value for name, value in {**content, "epochs": tuple(content["epochs"])}.items() if name in known})
    if made.backup_id != folder.name or made.created.tzinfo is None or not _SEGMENT.fullmatch(made.first_segment):
        raise ValueError("not the manifest of this folder")
    if any(Path(name).name != name for name in made.files):
        raise ValueError("a file outside of its folder")
    return made


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
