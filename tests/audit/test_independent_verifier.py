"""docs/security/verifier.py, which was written from docs/security/audit-log.md alone, believes what we write, and nothing else: page, verifier and log say the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.live import CHECKOUT, Live

VERIFIER = CHECKOUT / "docs" / "security" / "verifier.py"
USE = {"purpose": "provide", "reason": "integration"}


@dataclass
class Kept:
    """What an auditor took away: the log's folder, a certificate, its proof, both files of keys."""

    folder: Path

    def verify(self, what: str, path: Path) -> tuple[int, str]:
        keys = ["--vkey", self.folder / "log.vkey", "--witness", self.folder / "witness.vkey"]
        # Isolated: nothing of this checkout can be imported.
        done = subprocess.run([sys.executable, "-I", VERIFIER, what, path, *keys], cwd="/", capture_output=True, text=True, check=False)  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def kept(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("auditor")
    values = {"name": "Ñ", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
    with httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}) as api:
        person = api.post("/v1/people", json={**USE, "dataset": "account", "values": values}).json()["id"]
        for _ in range(300):
            # More than one tile and one bundle.
            api.get(f"/v1/people/{person}", params={**USE, "dataset": "account", "fields": "name"})
        assert api.delete(f"/v1/people/{person}", params=USE).status_code == 200
    end = time.monotonic() + 20
    while (made := live.command("audit", "certificate", person)).returncode or made.stdout.count("armonika.dz/witness") != 2:
        assert time.monotonic() < end, made.stderr
        time.sleep(0.3)
    (folder / "certificate").write_text(made.stdout)
    (folder / "proof").write_text(json.loads(made.stdout)["proof"])
    for _ in range(20):
        # The log goes on while it is copied: one that is cosigned, and whole, comes soon.
        shutil.rmtree(folder / "log", ignore_errors=True)
        shutil.copytree(live.home / "log", folder / "log")
        if (folder / "log" / "checkpoint").read_bytes().count(b"armonika.dz/witness") == 2:
            break
        time.sleep(0.3)
    for path in (live.home / "log" / "log.vkey", live.home / "witness" / "witness.vkey"):
        shutil.copy(path, folder)
    return Kept(folder)


def test_it_believes_a_log_a_proof_and_a_certificate(kept: Kept) -> None:
    for what, name in (("folder", "log"), ("proof", "proof"), ("certificate", "certificate")):
        status, said = kept.verify(what, kept.folder / name)
        assert status == 0, said
        assert said.startswith("It holds")


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def flipped(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def newest(level: Path) -> Path:
    """The tile at the end of a level; partial ones of before may lie beside it."""
    return max((path for path in level.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda log: flipped(log / "tile" / "entries" / "000", 40), "canonical|cannot be read|the root"),
        (lambda log: flipped(log / "tile" / "0" / "000", 40), "tile 0 of level 0"),
        (lambda log: flipped(newest(log / "tile" / "1"), 3), "tile 0 of level 1"),
        (lambda log: changed(log / "ended.jsonl", '"v":1', '"v":2'), "signature"),
        (lambda log: (log / "ended.jsonl").write_text("".join((log / "ended.jsonl").read_text().splitlines(True)[1:])), "does not follow"),
        (lambda log: changed(log / "checkpoint", "armonika.dz/witness", "armonika.dz/nobody"), "has not signed"),
    ],
)  # fmt: skip
def test_it_finds_what_is_changed_in_a_log(kept: Kept, tmp_path: Path, change: Callable[[Path], object], word: str) -> None:
    shutil.copytree(kept.folder / "log", tmp_path / "log")
    change(tmp_path / "log")
    status, said = kept.verify("folder", tmp_path / "log")
    assert status == 1
    assert any(part in said for part in word.split("|")), said
    assert "Traceback" not in said


def test_it_finds_what_is_changed_in_a_certificate(kept: Kept, tmp_path: Path) -> None:
    content = json.loads((kept.folder / "certificate").read_text())
    records = [line for line in content["register"] if line["record"]]
    for number, change in enumerate(
        ({"register": records}, {"register": content["register"] * 2}, {"subject": str(uuid4())}, {"register": []})
    ):
        path = tmp_path / str(number)
        path.write_text(json.dumps(content | change))
        status, said = kept.verify("certificate", path)
        assert status == 1, said
        assert "Traceback" not in said
