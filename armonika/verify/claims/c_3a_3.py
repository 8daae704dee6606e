"""3a.3: a backup exists, in Algeria, sealed, and it restores."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from armonika.policy import Policy
from armonika.settings import CHECKOUT
from armonika.verify import places
from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.sabotage import Plant

SITE = "DZ"
MOST_AGE = timedelta(days=2)
MOST_SINCE_DRILL = timedelta(days=31)
LATE = timedelta(days=2)
MOST_MAKING = timedelta(hours=12)
"""How long a backup may be in the making before what lies there counts."""
_PLAIN = (b"PG_VERSION" + bytes(500) + b"ustar") * 3000
_MARKS = (b"ustar", b"PG_VERSION", b"BEGIN", b"pg_wal", b'"audit_id"')


class Claim:
    """The newest backup is at most two days old; each is of the site that the policy names, no older than it keeps them, whole to the byte, and looks like
    noise: no mark of a database, not compressible. So do the segments of the write-ahead log, which has no gap, and nothing else lies beside them. A restore drill is held there and then by the command that an operator would use; without one, a month-old record does not count."""

    claim, hours = "3a.3", 48
    folder: Path | None = None
    drilled: bool = False

    def examine(self, context: Context) -> Evidence:
        folder = self.folder or places.backups(context)
        manifests = sorted(folder.glob("*/manifest.json"), key=lambda path: str(json.loads(path.read_text())["created_at"]))
        if not manifests:
            raise CannotProbe("no backup has been made yet: `armonika backup create` (`serve` makes one a day)")
        evidence = Evidence()
        if not self.drilled and self.folder is None:
            if context.settings.database_url:
                raise CannotProbe(
                    "of a server of your own no restore is tried here: restore to another machine (docs/operate.md)"
                )
            done = subprocess.run(
                [sys.executable, "-m", "armonika.doors.cli.main", "backup", "drill", "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=600
            )  # fmt: skip
            self.drilled = done.returncode == 0
            evidence.expect(self.drilled, f"the newest backup does not restore: {done.stderr.strip()[-200:]}")
            evidence.summary = f"restored and compared: {done.stdout.strip()}".replace("\n", " ")
        self._newest(evidence, json.loads(manifests[-1].read_text()))
        listed = {folder / name for name in ("wal/archive.pub",)}
        for path in manifests:
            manifest = json.loads(path.read_text())
            listed |= {path, *(path.parent / name for name in manifest["files"])}
            self._each(evidence, manifest, context.policy)
            for name, digest in manifest["files"].items():
                self._file(evidence, path.parent / name, digest)
        self._beside(evidence, folder, listed)
        if self.folder is None:
            self._archived(evidence, context, folder, json.loads(manifests[-1].read_text()))
        evidence.control = _noise(os.urandom(1 << 18)) and not _noise(b"PG_VERSION" + bytes(1 << 18))
        return evidence

    def _newest(self, evidence: Evidence, manifest: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        age = now - datetime.fromisoformat(manifest["created_at"])
        evidence.expect(age <= MOST_AGE, f"the newest backup is {age.days} days old")
        restored = manifest.get("restored_at")
        evidence.expect(
            bool(restored) and now - datetime.fromisoformat(str(restored)) <= MOST_SINCE_DRILL, "no restore was tried for a month"
        )

    def _each(self, evidence: Evidence, manifest: dict[str, Any], policy: Policy) -> None:
        site, kept = policy.copies.site, timedelta(days=policy.copies.keep_days)
        evidence.expect(manifest["site"] == site == SITE, f"a backup is in {manifest['site']}, the policy says {site}")
        age = datetime.now(UTC) - datetime.fromisoformat(manifest["created_at"])
        evidence.expect(
            age <= kept + LATE, f"a backup of {age.days} days ago is still there, and the policy keeps them {kept.days}"
        )

    def _file(self, evidence: Evidence, path: Path, digest: str) -> None:
        found, noise, number = hashlib.sha256(), path.exists(), 0
        if noise:
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    found.update(piece)
                    # Short marks come up in noise too, once in many gigabytes: of the rest every 64th piece is looked at, for what compresses.
                    if number % 64 == 0:
                        noise = noise and (_noise(piece[64:]) if number == 0 else not _packs(piece))
                    number += 1
        evidence.expect(found.hexdigest() == digest, f"{path.name} is not what its manifest says")
        evidence.expect(noise, f"{path.name} is not encrypted")

    def _beside(self, evidence: Evidence, folder: Path, listed: set[Path]) -> None:
        """What no manifest names: finished segments of the write-ahead log, which must be noise, and what is being made; nothing else."""
        fresh = time.time() - MOST_MAKING.total_seconds()
        for path in sorted(folder.rglob("*")):
            if path in listed or not path.is_file() or (path.name.startswith(".") and path.stat().st_mtime > fresh):
                continue
            segment = path.parent.name == "wal" and path.name.endswith(".sealed")
            making = path.parent.parent == folder and path.name.endswith(".sealed") and path.stat().st_mtime > fresh
            evidence.expect(segment or making, f"{path.name} lies beside the backups and belongs to none")
            with path.open("rb") as file:
                evidence.expect(_noise(file.read(1 << 20)[64:]), f"{path.name} is not encrypted")

    def _archived(self, evidence: Evidence, context: Context, folder: Path, manifest: dict[str, Any]) -> None:
        """The write-ahead log arrives: what failed is not newer than what succeeded, and from the newest backup on no segment is missing."""
        ((failing,),) = context.rows("SELECT last_failed_time IS NOT NULL AND last_failed_time >= coalesce(last_archived_time, '-infinity') AND last_failed_time > clock_timestamp() - interval '1 hour' FROM pg_stat_archiver")  # fmt: skip
        evidence.expect(not failing, "the server cannot archive its log: nothing since can be restored")
        names = sorted(path.name.split(".", 1)[0] for path in (folder / "wal").glob("*.sealed"))
        held = [
            int(name[8:16], 16) * 256 + int(name[16:], 16)
            for name in names
            if len(name) == 24 and name >= manifest["first_segment"]
        ]
        evidence.expect(bool(held), "no segment of the log since the newest backup is archived")
        gaps = [number for number in range(min(held, default=0), max(held, default=0) + 1) if number not in set(held)]
        evidence.expect(not gaps, f"{len(gaps)} segments of the log are missing in the archive")

    def sabotages(self) -> Iterator[Sabotage]:
        def manifest(**changed: str) -> Callable[[Path], None]:
            def change(folder: Path) -> None:
                path = folder / "manifest.json"
                path.write_text(json.dumps(json.loads(path.read_text()) | changed))

            return change

        def beside(folder: Path) -> None:
            (folder / "base.tar").write_bytes(_PLAIN)

        def segment(folder: Path) -> None:
            (folder.parent / "wal").mkdir()
            (folder.parent / "wal" / f"{1:024X}.1.sealed").write_bytes(_PLAIN)

        def another(folder: Path, **changed: str) -> None:
            before = shutil.copytree(folder, folder.parent / "another")
            created = {"created_at": (datetime.now(UTC) - timedelta(days=3)).isoformat(timespec="seconds")}
            manifest(**created | changed)(before)

        def older(folder: Path) -> None:
            another(folder, created_at=(datetime.now(UTC) - timedelta(days=50)).isoformat(timespec="seconds"))

        def abroad(folder: Path) -> None:
            another(folder, site="FR")

        def plain(folder: Path) -> None:
            content = _PLAIN
            (folder / "base.tar.sealed").write_bytes(content)
            found = json.loads((folder / "manifest.json").read_text())
            found["files"]["base.tar.sealed"] = hashlib.sha256(content).hexdigest()
            (folder / "manifest.json").write_text(json.dumps(found))

        def cut(folder: Path) -> None:
            path = folder / "base.tar.sealed"
            path.write_bytes(path.read_bytes()[:-1000])

        old = (datetime.now(UTC) - timedelta(days=40)).isoformat(timespec="seconds")
        yield Sabotage("a backup abroad", self._copy(manifest(site="FR")))
        yield Sabotage("a backup that is not encrypted", self._copy(plain))
        yield Sabotage("an unsealed copy beside the backup", self._copy(beside))
        yield Sabotage("a segment of the log that is not encrypted", self._copy(segment))
        yield Sabotage("a backup that is kept for 50 days", self._copy(older))
        yield Sabotage("an older backup abroad", self._copy(abroad))
        yield Sabotage("a backup that is cut off", self._copy(cut))
        yield Sabotage("no backup for 40 days", self._copy(manifest(created_at=old)))
        yield Sabotage("no restore was tried for 40 days", self._copy(manifest(restored_at=old)))

    def _copy(self, change: Callable[[Path], None]) -> Plant:
        """A copy of the newest backup, changed; the backups themselves stay as they are."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            source = places.backups(context)
            newest = max(source.glob("*/manifest.json"), key=lambda path: str(json.loads(path.read_text())["created_at"])).parent
            with tempfile.TemporaryDirectory() as place:
                shutil.copytree(newest, Path(place) / newest.name)
                change(Path(place) / newest.name)
                self.folder = Path(place)
                try:
                    yield context
                finally:
                    self.folder = None

        return planted


def _noise(content: bytes) -> bool:
    """Whether bytes look like a ciphertext: no known mark, and nothing to compress."""
    return bool(content) and not any(mark in content for mark in _MARKS) and not _packs(content)


def _packs(content: bytes) -> bool:
    return len(zlib.compress(content, 1)) <= 0.99 * len(content)
