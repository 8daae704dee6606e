"""The folder of a log: what its witness signed, what a partial file held, what cannot be read."""

from __future__ import annotations

from pathlib import Path

from armonika.trust import crypto
from armonika.trust.audit import note
from armonika.trust.audit.verify_tiles import cosigned_in
from tests.trust.memory_log import ORIGIN, VKEY, WITNESSES
from tests.trust.test_verifier import LOGS, flip, found, lay


def test_a_folder_whose_checkpoint_its_witness_did_not_sign_is_a_finding(tmp_path: Path) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    assert cosigned_in(folder, VKEY, WITNESSES) == []
    note_, _, lines = LOGS[300].checkpoint.partition(b"\n\n")
    (folder / "checkpoint").write_bytes(note_ + b"\n\n" + lines.split(b"\n")[0] + b"\n")
    assert cosigned_in(folder, VKEY, []) == [], "nobody was named"
    (finding,) = cosigned_in(folder, VKEY, WITNESSES)
    assert finding.endswith("may not have it yet: try again")
    other = note.vkey(ORIGIN, crypto.ed25519_public(bytes(32)))
    assert len(cosigned_in(folder, other, [])) == 1, "nor is it the log's"


def test_what_a_partial_file_held_is_taken_from_the_full_one(tmp_path: Path) -> None:
    """A reader with an older checkpoint: the sealer removes the partial one when the full one is there."""
    folder, newer = lay(LOGS[300], tmp_path / "a"), lay(LOGS[513], tmp_path / "b")
    (folder / "tile/entries/001.p/44").unlink()
    assert found(folder) == ["entry 256 is missing: its bundle tile/entries/001.p/44 is not there"]
    (folder / "tile/entries/001").write_bytes((newer / "tile/entries/001").read_bytes())
    assert found(folder) == []
    (folder / "tile/0/001.p/44").unlink()
    assert len(found(folder)) == 1
    (folder / "tile/0/001").write_bytes((newer / "tile/0/001").read_bytes())
    assert found(folder) == []
    flip(folder / "tile/entries/001", 12)
    assert found(folder) != []


def test_what_cannot_be_read_is_told_with_its_reason(tmp_path: Path) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    for name, said in (("tile/entries/000", "its bundle tile/entries/000 cannot be read (is no regular file)"), ("checkpoint", "cannot be read (is no regular file)")):  # fmt: skip
        (folder / name).unlink()
        (folder / name).mkdir()
        (finding,) = found(folder)
        assert said in finding
