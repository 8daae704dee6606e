"""The log as outsiders see it: from a kept checkpoint on, over HTTP, without entries; and rows that were slipped in behind it."""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from armonika.doors.cli import audit_online
from armonika.trust import crypto
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.tiles import tile_path
from armonika.trust.audit.verify import verify
from armonika.trust.audit.verify_tiles import verify_tiles
from tests.audit.rows import Rows
from tests.audit.test_proofs import Log
from tests.live import CHECKOUT, Live

KEY, _ = crypto.ed25519_generate()


class Grown:
    """A log that grows on demand, and the checkpoints it had."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, Rows(0)
        self.sealer = Sealer(self.rows, folder, "armonika.test/audit", KEY)  # type: ignore[arg-type]
        self.sealer.load()

    def to(self, size: int) -> Path:
        self.rows.count = size
        while self.sealer.seal():
            pass
        kept = self.folder.with_name(f"kept-{size}")
        kept.write_bytes((self.folder / "checkpoint").read_bytes())
        return kept

    @property
    def vkey(self) -> Path:
        return self.folder / "log.vkey"

    def flip(self, name: str, at: int = 40) -> None:
        raw = (self.folder / name).read_bytes()
        (self.folder / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


@pytest.fixture
def grown(tmp_path: Path) -> Grown:
    return Grown(tmp_path / "log")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url(grown: Grown) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(grown.folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("kept_size", [1, 255, 256, 700, 66_000])
def test_from_a_kept_checkpoint_on_nothing_before_it_is_read(grown: Grown, kept_size: int) -> None:
    kept = grown.to(kept_size)
    grown.to(67_000)
    before = kept_size // 256 * 256
    for number in range(kept_size // 256):
        (grown.folder / "tile" / "entries" / f"{number:03d}").unlink()
    report = verify(grown.folder, grown.vkey.read_text(), kept=kept.read_bytes(), from_kept=True)
    assert report.findings == []
    assert report.entries == 67_000 - before


def test_a_change_after_the_kept_checkpoint_and_a_fork_before_it_are_found(grown: Grown, tmp_path: Path) -> None:
    kept = grown.to(700)
    grown.to(1400)
    grown.flip("tile/entries/003")
    assert "altered" in verify(grown.folder, grown.vkey.read_text(), kept=kept.read_bytes(), from_kept=True).findings[0]
    grown.flip("tile/entries/003")
    grown.flip("tile/1/000.p/5", 5)
    assert "forked" in verify(grown.folder, grown.vkey.read_text(), kept=kept.read_bytes(), from_kept=True).findings[0]
    shutil.rmtree(grown.folder / "tile" / "1")
    assert "missing" in verify(grown.folder, grown.vkey.read_text(), kept=kept.read_bytes(), from_kept=True).findings[0]


def test_over_http_the_whole_log_verifies_and_its_checkpoint_is_kept(grown: Grown, url: str, tmp_path: Path) -> None:
    grown.to(66_500)
    keep = tmp_path / "mine"
    report = audit_online.check(url, grown.vkey, None, None, keep)
    assert (report.findings, report.entries) == ([], 66_500)
    grown.to(66_900)
    report = audit_online.check(url, grown.vkey, None, keep, keep)
    assert report.findings == []
    assert report.entries < 66_900 - 66_500 + 256, "what was verified before is not read again"
    assert keep.read_bytes() == (grown.folder / "checkpoint").read_bytes()


@pytest.mark.parametrize("name", ["tile/0/001", "tile/1/000.p/5", "tile/0/005.p/120", "checkpoint"])
def test_over_http_any_wrong_or_missing_file_is_found(grown: Grown, url: str, name: str, tmp_path: Path) -> None:
    grown.to(1400)
    raw = (grown.folder / name).read_bytes()
    grown.flip(name)
    assert audit_online.check(url, grown.vkey, None, None, tmp_path / "mine").findings
    assert not (tmp_path / "mine").exists(), "a log that does not verify is not kept"
    (grown.folder / name).write_bytes(raw[:-40])
    assert audit_online.check(url, grown.vkey, None, None, None).findings
    (grown.folder / name).unlink()
    if name == "checkpoint":
        with pytest.raises(audit_online.Unreachable):
            audit_online.check(url, grown.vkey, None, None, None)
    else:
        assert audit_online.check(url, grown.vkey, None, None, None).findings
    (grown.folder / name).write_bytes(raw)
    assert audit_online.check(url, grown.vkey, None, None, None).findings == []


def test_over_http_a_log_that_was_cut_off_or_forked_is_found(grown: Grown, url: str, tmp_path: Path) -> None:
    kept = grown.to(900)
    shutil.rmtree(grown.folder)
    other = Grown(grown.folder)
    other.to(600)
    assert "truncated" in audit_online.check(url, grown.vkey, None, kept, None).findings[0]
    other.rows.count = 10_000_000
    other.rows.sealed = 600
    original = other.rows.execute
    other.rows.execute = lambda s, p=(), **k: original(s, (min(p[0], 400), p[1]) if "unsealed" in s else p, **k)  # type: ignore[method-assign,assignment]
    from tests.audit import rows as rows_module

    real = rows_module.row
    rows_module.row = lambda n: (*real(n)[:-1], "1" * 64)
    try:
        other.sealer.seal()
    finally:
        rows_module.row = real
    assert "forked" in audit_online.check(url, grown.vkey, None, kept, None).findings[0]


def test_a_witness_that_is_named_must_have_signed(grown: Grown, url: str, tmp_path: Path) -> None:
    from armonika.trust.audit import cosign

    grown.to(300)
    witness = tmp_path / "witness.vkey"
    _, public = crypto.ed25519_generate()
    witness.write_text(cosign.vkey("witness.example", b"\x04", public) + "\n")
    assert "cosigned" in audit_online.check(url, grown.vkey, witness, None, None).findings[0]


def test_the_running_log_verifies_over_http_as_a_stranger_sees_it(live: Live, tmp_path: Path) -> None:
    """Empty folder, no settings of ours: address and keys only."""
    keys = [str(live.home / "log" / "log.vkey"), str(live.home / "witness" / "witness.vkey")]
    command = [
        sys.executable,
        "-m",
        "armonika.doors.cli.main",
        "audit",
        "verify",
        "--url",
        f"{live.api}/log",
        "--vkey",
        keys[0],
        "--witness",
        keys[1],
        "--keep",
        str(tmp_path / "kept"),
    ]
    for _ in range(20):
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            break
        time.sleep(0.5)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The log is whole." in done.stdout
    assert (tmp_path / "kept").read_text().startswith("armonika.dz/audit\n")


@pytest.mark.parametrize("words", [["--url", "ftp://127.0.0.1/log"], ["--url", "http://127.0.0.1:9/log"], ["--url", "nonsense"]])
def test_a_bad_address_is_told_with_the_way_out(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "audit", "verify", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().startswith("armonika:")
    assert "Traceback" not in done.stderr


def test_a_partial_tile_may_have_become_a_full_one_since_the_checkpoint() -> None:
    """c2sp.org/tlog-tiles: partial tiles may go when the full one is there. What the full one says is held against the root all the same."""
    small, large, other = Log(300), Log(512), Log(512)
    del small.files[tile_path(0, 1, 44)]
    report = verify_tiles(lambda name: small.files.get(name) or large.files.get(name), small.checkpoint, small.vkey)
    assert (report.findings, report.entries) == ([], 300)
    changed = dict(other.files)
    changed[tile_path(0, 1)] = b"x" * 8192
    assert (
        "root" in verify_tiles(lambda name: small.files.get(name) or changed.get(name), small.checkpoint, small.vkey).findings[0]
    )
    changed[tile_path(0, 1)] = b"x" * 8191
    assert (
        "missing"
        in verify_tiles(lambda name: small.files.get(name) or changed.get(name), small.checkpoint, small.vkey).findings[0]
    )
