"""Logs that somebody made to mislead or to harm who verifies them: each is a finding, and nothing else happens."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from armonika.trust.audit import note, tiles
from armonika.trust.audit import verify as verifier
from armonika.trust.audit.verify import Broken, read_checkpoint
from armonika.trust.audit.verify_tiles import verify_tiles
from tests.trust.memory_log import LOG, ORIGIN, VKEY, WITNESSES
from tests.trust.test_verifier import LOGS, found, lay

HOSTILE: list[tuple[str, Callable[[Path], object]]] = [
    ("a folder", lambda path: path.mkdir()), ("a pipe", lambda path: os.mkfifo(path)), ("a link to itself", lambda path: path.symlink_to(path)),
    ("a link out of the folder", lambda path: path.symlink_to("/dev/zero")), ("a link to a file", lambda path: path.symlink_to("/etc/hostname")),
    ("a gigabyte and more", lambda path: (path.touch(), os.truncate(path, 1 << 34))), ("a socket", lambda path: socket.socket(socket.AF_UNIX).bind(str(path))),
]  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind, _ in HOSTILE])
@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000", "tile/entries/000", "tile/1/000.p/1"])
def test_whatever_lies_in_the_place_of_a_file_is_a_finding(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    monkeypatch.chdir((folder / name).parent)
    (folder / name).unlink()
    dict(HOSTILE)[kind](Path(Path(name).name))
    (finding,) = found(folder)
    assert {"checkpoint": "checkpoint", "tile/0/000": "entry 0", "tile/entries/000": "entry 0", "tile/1/000.p/1": "tile 1/000"}[
        name
    ] in finding


def test_a_folder_of_a_log_may_not_lead_out_of_it(tmp_path: Path) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    (folder / "tile/entries").rename(tmp_path / "elsewhere")
    (folder / "tile/entries").symlink_to(tmp_path / "elsewhere")
    (finding,) = found(folder)
    assert finding.startswith("entry 0 is missing: its bundle tile/entries/000 ")


@pytest.mark.parametrize(
    "content",
    [b"[" * 60_000, rb'{"audit_id":"\u001b[2JThe log is whole."}', b'{"audit_id":' + b"9" * 5000 + b"}", b'{"audit_id":{}}', b"\xff\xfe", b'{"audit_id":true}'],
)  # fmt: skip
def test_an_entry_that_was_put_in_says_nothing_of_its_own(content: bytes, tmp_path: Path) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    (folder / "tile/entries/000").write_bytes(tiles.bundle([content, *LOGS[300].entries[1:256]]))
    assert found(folder) == ["entry 0 (audit ?) is altered: its hash is not the one in the tiles"]


@pytest.mark.parametrize(
    "size", ["-1", "-0", "007", "+7", "7 ", "0x7", "7.0", "1e3", "٣", str(1 << 63), str(1 << 64), "9" * 30, "9" * 5000, ""]
)
def test_a_size_that_no_log_can_have_is_refused_although_it_is_signed(size: str, tmp_path: Path) -> None:
    text = f"{ORIGIN}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"
    raw = note.sign(text, ORIGIN, LOG)
    with pytest.raises(Broken):
        read_checkpoint(raw, VKEY)
    assert verify_tiles({}.get, raw, VKEY, WITNESSES).findings
    assert found(lay(LOGS[3], tmp_path), kept=raw)


@pytest.mark.parametrize("change", [("\n", "\r\n"), ("\n\n", "\n\x00\n\n"), ("\n\n", "\nextension\t\n\n"), ("\n\n", "\n\n\n")])
def test_letters_that_no_note_has_are_refused_although_they_are_signed(change: tuple[str, str]) -> None:
    body = note.checkpoint(ORIGIN, 3, LOGS[3].root)
    raw = note.sign(body, ORIGIN, LOG).decode().replace(*change)
    signed = note.sign(raw.partition("\n\u2014")[0].removesuffix("\r"), ORIGIN, LOG)
    for made in (raw.encode(), signed):
        with pytest.raises(Broken):
            read_checkpoint(made, VKEY)


def test_what_a_witness_cosigned_last(tmp_path: Path) -> None:
    assert verifier.last_cosigned(tmp_path / "nowhere") is None
    (tmp_path / f"{'0' * 64}.checkpoint").write_bytes(b"checkpoint")
    assert verifier.last_cosigned(tmp_path) == b"checkpoint"
