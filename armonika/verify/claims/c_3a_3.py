"""3a.3: a backup exists, in Algeria, sealed, and it restores."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from armonika.settings import CHECKOUT
from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.sabotage import Plant

SITE = "DZ"
MOST_AGE = timedelta(days=2)
MOST_SINCE_DRILL = timedelta(days=31)
_MARKS = (b"ustar", b"PG_VERSION", b"BEGIN", b"pg_wal", b'"audit_id"')


class Claim:
    """The newest backup is at most two days old, of the site that the policy names, whole to the byte, and looks like noise: no mark of a database, not
    compressible. A restore drill is held there and then by the command that an operator would use; without one, a month-old record does not count."""

    claim, hours = "3a.3", 48
    folder: Path | None = None
    drilled: bool = False

    def examine(self, context: Context) -> Evidence:
        folder = self.folder or Path(os.environ.get("ARMONIKA_BACKUPS") or context.settings.home / "backups")
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
        manifest = json.loads(manifests[-1].read_text())
        self._newest(evidence, manifest, context.policy.copies.site)
        for name, digest in manifest["files"].items():
            self._file(evidence, manifests[-1].parent / name, digest)
        evidence.control = _noise(os.urandom(1 << 18)) and not _noise(b"PG_VERSION" + bytes(1 << 18))
        return evidence

    def _newest(self, evidence: Evidence, manifest: dict[str, Any], site: str) -> None:
        now = datetime.now(UTC)
        age = now - datetime.fromisoformat(manifest["created_at"])
        evidence.expect(age <= MOST_AGE, f"the newest backup is {age.days} days old")
        evidence.expect(manifest["site"] == site == SITE, f"the newest backup is in {manifest['site']}, the policy says {site}")
        restored = manifest.get("restored_at")
        evidence.expect(
            bool(restored) and now - datetime.fromisoformat(str(restored)) <= MOST_SINCE_DRILL, "no restore was tried for a month"
        )

    def _file(self, evidence: Evidence, path: Path, digest: str) -> None:
        content = path.read_bytes() if path.exists() else b""
        evidence.expect(hashlib.sha256(content).hexdigest() == digest, f"{path.name} is not what its manifest says")
        evidence.expect(_noise(content[64 : 1 << 20]), f"{path.name} is not encrypted")

    def sabotages(self) -> Iterator[Sabotage]:
        def manifest(**changed: str) -> Callable[[Path], None]:
            def change(folder: Path) -> None:
                path = folder / "manifest.json"
                path.write_text(json.dumps(json.loads(path.read_text()) | changed))

            return change

        def plain(folder: Path) -> None:
            content = (b"PG_VERSION" + bytes(500) + b"ustar") * 3000
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
        yield Sabotage("a backup that is cut off", self._copy(cut))
        yield Sabotage("no backup for 40 days", self._copy(manifest(created_at=old)))
        yield Sabotage("no restore was tried for 40 days", self._copy(manifest(restored_at=old)))

    def _copy(self, change: Callable[[Path], None]) -> Plant:
        """A copy of the newest backup, changed; the backups themselves stay as they are."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            source = Path(os.environ.get("ARMONIKA_BACKUPS") or context.settings.home / "backups")
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
    return bool(content) and not any(mark in content for mark in _MARKS) and len(zlib.compress(content, 1)) > 0.99 * len(content)
