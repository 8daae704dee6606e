"""The journal of the keys in its file: nobody without the keyring writes a line, and none is changed, moved or taken away unseen."""

from __future__ import annotations

import json
import re
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from armonika.store.private_files import KeyFileError
from armonika.trust.keys import Keyring, RootKeyError, journal
from armonika.trust.keys.ceremony import Ceremony, CeremonyError, restore
from armonika.trust.keys.journal import FILE, Journal, lacking, missing, moment
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.providers import choose
from armonika.trust.keys.providers.sealed_file import SealedFile

REFERENCE = re.compile("[A-P]{8}-[0-9]{12}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Keyring.open_or_create(tmp_path / "keys").ensure(["account"])
    return tmp_path / "keys"


def act(folder: Path, name: str = journal.CREDENTIALS, door: str | None = "site") -> None:
    with alone(folder):
        ring = Keyring.open(folder)
        ring.act(name, door)
        ring.save()


def held(folder: Path) -> Journal:
    return Keyring.open(folder).journal()


def done(folder: Path) -> list[tuple[str, str | None]]:
    found = held(folder)
    assert found.faults == ()
    return [(line.act, line.door) for line in found.lines]


def test_what_is_done_is_written_down_in_its_order(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert done(folder) == []
    ceremony = Ceremony()
    assert ceremony.finish(folder, ceremony.shares[:3]).journal() == held(folder)
    (folder / "root.key").unlink()
    restore(folder, ceremony.shares[1:4], choose(folder))
    act(folder)
    with alone(folder):
        Keyring.open(folder).renew_authority()
    Keyring.open(folder).renew()
    (tmp_path / "elsewhere").mkdir()

    class Elsewhere(SealedFile):
        name = "openbao"

    with alone(folder):
        ring = Keyring.open(folder)
        ring.renew(Elsewhere(tmp_path / "elsewhere"))
    monkeypatch.setattr("armonika.trust.keys.keyring.choose", lambda *_: Elsewhere(tmp_path / "elsewhere"))
    monkeypatch.setenv("ARMONIKA_ROOT", "openbao")
    assert done(folder) == [
        (journal.CEREMONY, None), (journal.RECOVERED, None), (journal.CREDENTIALS, "site"), (journal.AUTHORITY, None), (journal.MOVED, None),
    ]  # fmt: skip
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    references = [line.reference for line in held(folder).lines]
    assert len(set(references)) == 5
    for line in held(folder).lines:
        assert REFERENCE.fullmatch(line.reference)
        assert moment(line.reference) == line.at
        assert abs(datetime.now(UTC) - line.at).total_seconds() < 600


def test_what_was_refused_is_not_written_down(folder: Path) -> None:
    ceremony, other = Ceremony(), Ceremony()
    with pytest.raises(CeremonyError):
        ceremony.finish(folder, other.shares[:3])
    ceremony.finish(folder, ceremony.shares[:3])
    for shares in (ceremony.shares[:3], other.shares[:3]):
        with pytest.raises((RootKeyError, CeremonyError)):
            restore(folder, shares, choose(folder))
    assert done(folder) == [(journal.CEREMONY, None)]


def test_a_keyring_that_is_not_finished_writes_nothing_down(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "keys")
    with pytest.raises(RootKeyError, match="not finished"):
        ring.act(journal.CREDENTIALS, "site")
    assert not (tmp_path / "keys" / FILE).exists()


def test_a_line_that_is_changed_forged_moved_or_taken_away_is_missed(folder: Path, tmp_path: Path) -> None:
    for door in ("site", "api", "worker", "sealer"):
        act(folder, door=door)
    whole = (folder / FILE).read_bytes().splitlines(keepends=True)
    marks = [line.mark for line in held(folder).lines]
    Keyring.open_or_create(tmp_path / "other").ensure(["account"])
    act(tmp_path / "other")
    stranger = (tmp_path / "other" / FILE).read_bytes()
    first = json.loads(whole[0])
    without = json.dumps({name: value for name, value in first.items() if name != "mark"}).encode() + b"\n"
    for lines, kept in (
        (whole[1:], 3), (whole[:-1], 3), ([*whole[:1], *whole[2:]], 3), ([whole[1], whole[0], *whole[2:]], 4), ([*whole, whole[0]], 5),
        ([whole[0].replace(b"site", b"mail"), *whole[1:]], 3), ([*whole, stranger], 4), ([stranger, *whole[1:]], 3), ([], 0), ([without, *whole[1:]], 3),
        ([*whole, b"{}\n"], 4), ([*whole, b"\xff\n"], 4), ([*whole, b"[" * 100_000 + b"\n"], 4), ([*whole, b'{"mark":1}\n'], 4), ([*whole[:3], whole[3][:40]], 3),
    ):  # fmt: skip
        (folder / FILE).write_bytes(b"".join(lines))
        found = held(folder)
        assert (len(found.lines), bool(found.faults)) == (kept, True), lines
        # What comes next does not hide it.
        act(folder, door="console")
        after = held(folder)
        assert after.lines[-1].door == "console"
        assert set(found.faults) <= {*after.faults, *marks}
        assert after.faults
        ring = Keyring.open(folder)
        ring._content["journal"] = marks[-1]
        ring.save()
    (folder / FILE).unlink()
    assert held(folder).faults == (marks[-1],)
    (folder / FILE).write_bytes(b"".join(whole))
    (folder / FILE).chmod(0o600)
    assert held(folder).faults == ()
    (folder / FILE).chmod(0o644)
    with pytest.raises(KeyFileError, match="open to others"):
        held(folder)


def test_the_keyring_knows_the_newest_line(folder: Path) -> None:
    for door in ("site", "api"):
        act(folder, door=door)
        (*_, newest) = held(folder).lines
        whole = (folder / FILE).read_bytes()
        for left in (whole[: whole.rindex(b"\n", 0, -1) + 1] if whole.count(b"\n") > 1 else b"", None):
            (folder / FILE).unlink() if left is None else (folder / FILE).write_bytes(left)
            assert held(folder).faults == (newest.mark,)
        (folder / FILE).write_bytes(whole)
        (folder / FILE).chmod(0o600)


def test_what_is_missing_counts_once_whoever_names_it(folder: Path) -> None:
    for door in ("site", "api", "worker"):
        act(folder, door=door)
    lines = (folder / FILE).read_bytes().splitlines(keepends=True)
    entries = {line.reference: line.act for line in held(folder).lines} | {"ABCDEFGH-1": journal.BROKEN}
    references = list(entries)
    assert missing(held(folder), entries) == []
    (folder / FILE).write_bytes(lines[0] + lines[2])
    assert missing(held(folder), entries) == [references[1]], "named by the next line and by its entry"
    assert len(missing(held(folder), {})) == 1
    (folder / FILE).write_bytes(lines[0])
    assert missing(held(folder), entries) == sorted(references[1:3])
    (folder / FILE).write_bytes(b"".join(lines) + b"x\n")
    assert len(missing(held(folder), entries)) == 1


def test_an_old_keyring_put_back_loses_no_line(folder: Path, tmp_path: Path) -> None:
    act(folder, door="api")
    shutil.copy(folder / "keyring.json", tmp_path)
    act(folder, door="site")
    before = done(folder)
    shutil.copy(tmp_path / "keyring.json", folder)
    assert done(folder) == before
    act(folder, door="worker")
    assert done(folder) == [*before, (journal.CREDENTIALS, "worker")]


def test_no_two_lines_are_the_same_whatever_the_clock_says(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole folder is put back and the clock set: what is done again is another line."""

    class Still(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(2026, 11, 26, 4, 10, 28, tzinfo=UTC)

    monkeypatch.setattr(journal, "datetime", Still)
    shutil.copytree(folder, tmp_path / "copy")
    for one in (folder, tmp_path / "copy"):
        act(one)
    (first,), (second,) = held(folder).lines, held(tmp_path / "copy").lines
    assert first.at == second.at
    assert first.reference != second.reference


# Made by hand, with SHA-256 and HMAC alone, under the log's key 00 01 02 … 1f.
WRITTEN = (
    b'{"act":"keys-ceremony","after":"","at":"2026-11-26T04:10:28+00:00","door":null,'
    b'"mark":"3d30b4c7ed703b55279eb7a39740ea752fca792816d6a8e946c9856bc761055c","nonce":"0001020304050607"}\n'
    b'{"act":"keys-credentials","after":"3d30b4c7ed703b55279eb7a39740ea752fca792816d6a8e946c9856bc761055c","at":"2026-11-26T04:11:00+00:00","door":"site",'
    b'"mark":"fc65da85d4d78226b5fcabcd075982944a8d9eae6d37c0853652dcd511337eac","nonce":"08090a0b0c0d0e0f"}\n'
)


def test_lines_that_were_written_before_stay_authentic_and_are_told_by_the_same_names(tmp_path: Path) -> None:
    """Another place, another order of what is authenticated, other letters or names: each line would be missed and told again."""
    key = bytes(range(32))
    path = tmp_path / "journal.jsonl"
    for turned in (True, False):
        lines = (json.loads(raw) for raw in WRITTEN.splitlines())
        path.write_bytes(
            b"".join(json.dumps(dict(reversed(one.items()))).encode() + b"\n" for one in lines) if turned else WRITTEN
        )
        path.chmod(0o600)
        held = journal.read(tmp_path, key, None)
        assert len(held.lines) == 2, "whatever the order of the names in the file"
    assert held.faults == ()
    assert [(line.act, line.door, line.reference) for line in held.lines] == [
        ("keys-ceremony", None, "DNDALEMH-261126041028"), ("keys-credentials", "site", "PMGFNKIF-261126041100"),
    ]  # fmt: skip
    assert journal.BROKEN == "keys-journal-broken"
    assert journal.ACTS == (
        "keys-ceremony",
        "keys-recovered",
        "keys-moved",
        "keys-credentials",
        "keys-authority",
        "keys-copied",
    )
    mark = journal.append(tmp_path, key, held.lines[-1].mark, journal.COPIED)
    written = json.loads(path.read_bytes().removeprefix(WRITTEN))
    assert (written["mark"], written["after"]) == (mark, held.lines[-1].mark)
    assert sorted(written) == ["act", "after", "at", "door", "mark", "nonce"]
    assert re.fullmatch("[0-9a-f]{16}", written["nonce"])
    assert lacking(["a", "b"]) == "HOBIPHDH-2"


def test_references() -> None:
    assert moment("ABCDEFGH-261126041028") == datetime(2026, 11, 26, 4, 10, 28, tzinfo=UTC)
    for other in (
        "",
        "KEY-100001",
        "ABCDEFGH-261326041028",
        "ABCDEFG-261126041028",
        "ABCDEFGH-2611260410",
        "ABCDEFGH261126041028",
    ):
        assert moment(other) is None
    assert lacking(["b", "a", "a"]) == lacking(["a", "b"]) != lacking(["a", "c"])
