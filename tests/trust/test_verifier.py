"""Both verifiers on small logs made by hand: every damage has its word and its place, and a whole log has none."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from armonika.trust import crypto
from armonika.trust.audit import note, tiles, tree
from armonika.trust.audit import verify as verifier
from armonika.trust.audit.verify import Broken, entries, read_checkpoint, stack_at, tile_name, verify
from armonika.trust.audit.verify_tiles import verify_tiles
from tests.trust.memory_log import LOG, ORIGIN, VKEY, WITNESSES, MemoryLog

LOGS = {size: MemoryLog(size) for size in (0, 1, 3, 255, 256, 257, 300, 513, 1024, 1100)}
FOLDER = "entries"


def lay(log: MemoryLog, folder: Path) -> Path:
    """The log as a folder."""
    for name, content in log.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for number in range(-(-log.size // 256)):
        part = log.entries[number * 256 : number * 256 + 256]
        path = folder / tiles.tile_path("entries", number, len(part))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiles.bundle(part))
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_bytes(log.checkpoint)
    return folder


def place(level: int, tile: int, below: int) -> str:
    """What is said of hash number `below` of a level, in tile number `tile`, that is not the one of the tile below it."""
    wide = 256**level
    return (
        f"tile {level}/{tile:03d} does not hold the hash of tile {level - 1}/{below:03d}: one of them is altered, missing or cut off "
        f"(entries {below * wide} to {(below + 1) * wide - 1})"
    )


def flip(path: Path, at: int = -1) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(bytes(raw))


def found(folder: Path, **more: Any) -> list[str]:
    return verify(folder, VKEY, **more).findings


@pytest.mark.parametrize("size", LOGS)
def test_a_whole_log_has_no_finding(size: int, tmp_path: Path) -> None:
    log = LOGS[size]
    seen: list[tuple[int, int]] = []
    report = verify(lay(log, tmp_path), VKEY + "\n", progress=lambda at, of: seen.append((at, of)))
    assert (report.size, report.root, report.entries, report.database_rows, report.unsealed, report.findings) == (
        size,
        log.root.hex(),
        size,
        0,
        0,
        [],
    )
    assert seen == [(at, size) for at in range(0, size, 1000)]
    for kept in [kept for kept in LOGS if kept <= size]:
        assert found(tmp_path, kept=LOGS[kept].checkpoint) == []
        report = verify(tmp_path, VKEY, kept=LOGS[kept].checkpoint, from_kept=True)
        assert (report.findings, report.entries) == ([], size - kept // 256 * 256)
        outside = verify_tiles(log.files.get, log.checkpoint, VKEY, WITNESSES, LOGS[kept].checkpoint)
        assert (outside.findings, outside.entries, outside.size, outside.root) == (
            [],
            size - kept // 256 * 256,
            size,
            log.root.hex(),
        )
    assert verify_tiles(log.files.get, log.checkpoint, VKEY).findings == []


@pytest.mark.parametrize(("number", "name"), [(0, "000"), (7, "007"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067"), (10**9, "x001/x000/x000/000")])  # fmt: skip
def test_tile_names(number: int, name: str) -> None:
    assert tile_name(number) == name


def test_each_damage_of_a_folder_is_named(tmp_path: Path) -> None:
    def damaged(change: Callable[[Path], object], size: int = 300) -> str:
        folder = lay(LOGS[size], tmp_path / str(len(list(tmp_path.iterdir()))))
        change(folder)
        (finding,) = found(folder)
        return finding

    last = "tile/entries/001.p/44"
    assert damaged(lambda f: (f / "checkpoint").unlink()).endswith("checkpoint is missing")
    assert damaged(lambda f: (f / last).unlink()) == f"entry 256 is missing: its bundle {last} is not there"
    assert damaged(lambda f: (f / last).write_bytes((f / last).read_bytes()[:-1])) == "entry 299 is cut off in its bundle"
    assert (
        damaged(lambda f: (f / last).write_bytes((f / last).read_bytes() + b"x"))
        == "after entry 299 its bundle holds more than it should"
    )
    assert damaged(lambda f: (f / last).write_bytes(b"")) == "entry 256 is cut off in its bundle"
    assert damaged(lambda f: (f / last).write_bytes(b"\0\0" + (f / last).read_bytes())) == "entry 256 is cut off in its bundle"
    assert damaged(lambda f: flip(f / last, -2)).startswith("entry 299 (audit 29")
    assert damaged(lambda f: flip(f / last, 3)) == "entry 256 (audit ?) is altered: its hash is not the one in the tiles"
    assert (
        damaged(lambda f: flip(f / "tile/0/001.p/44", 33))
        == "entry 257 (audit 257) is altered: its hash is not the one in the tiles"
    )
    assert damaged(lambda f: (f / "tile/0/001.p/44").unlink()) == "entry 256: its tile is missing or of a wrong size"
    assert (
        damaged(lambda f: (f / "tile/0/001.p/44").write_bytes((f / "tile/0/001.p/44").read_bytes() + b"x"))
        == "entry 256: its tile is missing or of a wrong size"
    )

    def both(folder: Path) -> None:
        log = MemoryLog(300)
        log.entries[7] = b'{"v":1,"audit_id":999}'
        log.leaves[7] = tree.leaf_hash(log.entries[7])
        (folder / "tile/entries/000").write_bytes(tiles.bundle(log.entries[:256]))
        (folder / "tile/0/000").write_bytes(b"".join(log.leaves[:256]))

    assert damaged(both) == place(1, 0, 0)

    def beneath_a_partial(folder: Path) -> None:
        log = MemoryLog(300)
        log.entries[299] = b'{"v":1,"audit_id":999}'
        log.leaves[299] = tree.leaf_hash(log.entries[299])
        (folder / last).write_bytes(tiles.bundle(log.entries[256:]))
        (folder / "tile/0/001.p/44").write_bytes(b"".join(log.leaves[256:]))

    assert (
        damaged(beneath_a_partial)
        == "the entries do not make the root of the checkpoint: entries and tiles were altered together"
    )
    folder = lay(LOGS[300], tmp_path / "long")
    bundle = (folder / "tile/entries/000").read_bytes()
    (folder / "tile/entries/000").write_bytes(b"\xff\xff" + bundle[2:])
    assert found(folder) == ["entry 0 is cut off in its bundle"]


def test_entries_of_every_length_are_read(tmp_path: Path) -> None:
    (tmp_path / "tile/entries").mkdir(parents=True)
    path = tmp_path / "tile/entries/000.p/3"
    path.parent.mkdir()
    held = [b"a", b"b" * 300, b"c" * 65535]
    path.write_bytes(tiles.bundle(held))
    assert list(entries(tmp_path, 3)) == held
    assert list(entries(tmp_path, 0)) == []


def test_a_kept_checkpoint_shows_what_was_cut_off_or_forked(tmp_path: Path) -> None:
    fork = MemoryLog(300)
    fork.checkpoint = note.sign(note.checkpoint(ORIGIN, 257, bytes(32)), ORIGIN, LOG)
    at_end = note.sign(note.checkpoint(ORIGIN, 300, bytes(32)), ORIGIN, LOG)
    folder = lay(LOGS[300], tmp_path / "a")
    assert found(folder, kept=LOGS[513].checkpoint) == [
        "truncated: the kept checkpoint has 513 entries, this log 300; entry 300 is the first that is gone"
    ]
    for from_kept in (False, True):
        assert found(folder, kept=fork.checkpoint, from_kept=from_kept) == [
            "forked: the first 257 entries are not those of the kept checkpoint"
        ]
        assert found(folder, kept=at_end, from_kept=from_kept) == [
            "forked: the first 300 entries are not those of the kept checkpoint"
        ]
    log = LOGS[300]
    for kept, word in ((fork.checkpoint, "forked: the first 257 "), (at_end, "forked: the first 300 "), (LOGS[513].checkpoint, "truncated: the kept checkpoint has 513 entries, this log 300")):  # fmt: skip
        assert verify_tiles(log.files.get, log.checkpoint, VKEY, (), kept).findings[0].startswith(word)
    assert found(folder, kept=b"x") == ["the kept checkpoint: the checkpoint cannot be read"]


def test_what_makes_a_root_is_every_entry_and_every_tile_before(tmp_path: Path) -> None:
    folder = lay(LOGS[1100], tmp_path / "a")
    for first in range(0, 1100, 256):
        verifier.makes(folder, 1100, LOGS[1100].root, first)
        with pytest.raises(Broken, match="do not make the root"):
            verifier.makes(folder, 1100, bytes(32), first)
    flip(folder / "tile/entries/003", 40)
    with pytest.raises(Broken, match="entry 769"):
        verifier.makes(folder, 1100, LOGS[1100].root, 512)
    verifier.makes(folder, 1100, LOGS[1100].root, 1024)


def test_the_key_of_a_log_is_not_what_its_folder_says(tmp_path: Path) -> None:
    folder = lay(LOGS[3], tmp_path / "a")
    (folder / "log.vkey").write_text(note.vkey(ORIGIN, crypto.ed25519_public(bytes(32))))
    assert verifier.own_vkey(folder, crypto.ed25519_public(LOG)) == VKEY
    (folder / "checkpoint").unlink()
    assert verifier.own_vkey(folder, crypto.ed25519_public(LOG)).startswith("unknown+")


def test_from_a_kept_checkpoint_on_the_tiles_before_it_must_make_its_root(tmp_path: Path) -> None:
    folder = lay(LOGS[1100], tmp_path / "a")
    (folder / "tile/entries/000").unlink()
    kept = LOGS[513].checkpoint
    assert found(folder, kept=kept) == ["entry 0 is missing: its bundle tile/entries/000 is not there"]
    assert found(folder, kept=kept, from_kept=True) == []
    flip(folder / "tile/1/000.p/4", 40)
    assert found(folder, kept=kept, from_kept=True) == ["forked: the first 513 entries are not those of the kept checkpoint"]
    (folder / "tile/1/000.p/4").write_bytes((folder / "tile/1/000.p/4").read_bytes()[:40])
    assert found(folder, kept=kept, from_kept=True) == ["a tile of level 1 before entry 512 is missing or cut off"]
    (folder / "tile/1/000.p/4").unlink()
    assert found(folder, kept=kept, from_kept=True) == ["a tile of level 1 before entry 512 is missing or cut off"]


def test_whole_subtrees_from_hashes_of_any_level() -> None:
    leaves = LOGS[1100].leaves
    fetch = verifier.stored_in(LOGS[1100].files.get, 1100)
    for first in range(0, 1100, 256):
        stack: list[tuple[int, bytes]] = []
        for leaf in leaves[:first]:
            verifier.merge(stack, leaf)
        assert stack_at(fetch, first) == stack
        assert verifier.fold(stack) == tree.root(leaves[:first])
    with pytest.raises(Broken, match="a tile of level 0 before entry 3"):
        stack_at(lambda level, at: None, 3)
    assert fetch(0, 1099) == leaves[1099]
    assert fetch(1, 3) == tiles.up(leaves[768:1024])
    assert fetch(0, 255) == leaves[255]
    assert fetch(0, 256) == leaves[256]
    assert stack_at(lambda level, at: leaves[at], 3) == [(1, tree.root(leaves[:2])), (0, leaves[2])]


def test_each_tile_is_fetched_once() -> None:
    asked: list[str] = []

    def fetch(name: str) -> bytes | None:
        asked.append(name)
        return LOGS[1100].files.get(name)

    assert verify_tiles(fetch, LOGS[1100].checkpoint, VKEY).findings == []
    assert sorted(set(asked)) == sorted(LOGS[1100].files)
    assert len([name for name in asked if name.startswith("tile/0/")]) <= 2 * 5


@pytest.mark.parametrize("name", LOGS[1100].files)
def test_every_tile_that_is_wrong_or_missing_is_found_from_outside(name: str) -> None:
    log = LOGS[1100]
    content = log.files[name]
    level, tile = name.split("/")[1:3]
    for damaged in (
        None,
        b"",
        content[:-1],
        content[:-32],
        bytes([content[0] ^ 1]) + content[1:],
        content[:-1] + bytes([content[-1] ^ 1]),
        content + b"x",
    ):
        files = {**log.files, name: damaged}
        report = verify_tiles(files.get, log.checkpoint, VKEY)
        assert len(report.findings) == 1, (name, damaged and len(damaged))
        if damaged is None:
            assert f"tile {level}/{tile.partition('.')[0]}" in report.findings[0]


@pytest.mark.parametrize("at", range(4))
def test_from_a_kept_checkpoint_on_upper_tiles_are_looked_at_from_there(at: int) -> None:
    log = LOGS[1100]
    content = bytearray(log.files["tile/1/000.p/4"])
    content[at * 32] ^= 1
    found = verify_tiles(
        {**log.files, "tile/1/000.p/4": bytes(content)}.get, log.checkpoint, VKEY, (), LOGS[513].checkpoint
    ).findings
    if at < 2:
        assert found == ["forked: the first 513 entries are not those of the kept checkpoint"]
    else:
        assert found == [place(1, 0, at)]


def test_tiles_of_the_second_level_are_looked_at_too() -> None:
    log = MemoryLog(66_000)
    assert {name for name in log.files if not name.startswith("tile/0/")} == {"tile/1/000", "tile/1/001.p/1", "tile/2/000.p/1"}
    assert verify_tiles(log.files.get, log.checkpoint, VKEY).findings == []
    kept = note.sign(note.checkpoint(ORIGIN, 65_700, tree.root(log.leaves[:65_700])), ORIGIN, LOG)
    assert verify_tiles(log.files.get, log.checkpoint, VKEY, (), kept).findings == []
    for name, at, finding in (
        ("tile/2/000.p/1", 0, place(2, 0, 0)),
        ("tile/1/001.p/1", 0, place(1, 1, 256)),
        ("tile/1/000", 255 * 32, place(1, 0, 255)),
    ):
        content = bytearray(log.files[name])
        content[at] ^= 1
        assert verify_tiles({**log.files, name: bytes(content)}.get, log.checkpoint, VKEY).findings == [finding]


def test_a_witness_that_is_named_must_have_signed() -> None:
    log = LOGS[300]
    unsigned = log.checkpoint.partition(b"\n\n")[0] + b"\n\n" + log.checkpoint.partition(b"\n\n")[2].split(b"\n")[0] + b"\n"
    assert verify_tiles(log.files.get, unsigned, VKEY).findings == []
    (finding,) = verify_tiles(log.files.get, unsigned, VKEY, WITNESSES).findings
    assert finding.endswith(". A checkpoint that is seconds old may not have it yet: try again")
    lines = log.checkpoint.decode().split("\n")
    for at, line in enumerate(lines):
        if line.startswith("\u2014 witness"):
            blob = bytearray(base64.b64decode(line.split(" ")[2]))
            blob[-1] ^= 1
            broken = "\n".join(
                [*lines[:at], line.rpartition(" ")[0] + " " + base64.b64encode(bytes(blob)).decode(), *lines[at + 1 :]]
            )
            (finding,) = verify_tiles(log.files.get, broken.encode(), VKEY, WITNESSES).findings
            assert (
                finding == "a cosignature is not of its witness. A checkpoint that is seconds old may not have it yet: try again"
            )


BAD: list[tuple[Callable[[str], str], str]] = [
    (lambda raw: "", "cannot be read"), (lambda raw: raw.replace("\n3\n", "\n03\n"), "canonical"), (lambda raw: raw.replace("\n3\n", "\n+3\n"), "canonical"),
    (lambda raw: raw.replace("\n3\n", "\n\u0663\n"), "canonical"), (lambda raw: raw.replace("\n3\n", "\n\n"), "cannot be read|canonical"),
    (lambda raw: raw.replace(raw.split("\n")[2], base64.b64encode(bytes(31)).decode()), "canonical"), (lambda raw: raw.replace(raw.split("\n")[2], "!" + raw.split("\n")[2]), "cannot be read"),
    (lambda raw: raw.replace("\n3\n", "\n4\n"), "signature is not the log's"), (lambda raw: raw.partition("\n\n")[0] + "\n\n", "cut off"),
    (lambda raw: raw.replace("\u2014 ", "- "), "signature line of the checkpoint cannot be read"), (lambda raw: raw.replace(f"\u2014 {ORIGIN} ", "\u2014 other "), "carries no signature"),
    (lambda raw: raw.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN}\n", "cannot be read"), (lambda raw: raw.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN} !!!!\n", "cannot be read"),
    (lambda raw: raw.partition("\n\n")[0] + f"\n\n\u2014 {ORIGIN} !" + raw.partition("\n\n")[2].split("\n")[0].split(" ")[2] + "\n", "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_no_checkpoint_is_refused(number: int) -> None:
    change, why = BAD[number]
    raw = LOGS[3].checkpoint.decode()
    assert change(raw) != raw
    with pytest.raises(Broken, match=why):
        read_checkpoint(change(raw).encode(), VKEY)


def test_a_checkpoint_is_of_the_key_that_is_named() -> None:
    raw = LOGS[3].checkpoint
    assert read_checkpoint(raw, VKEY) == (ORIGIN, 3, LOGS[3].root)
    assert read_checkpoint(raw, VKEY + "\n") == read_checkpoint(raw, " " + VKEY)
    name, identity, encoded = VKEY.split("+", 2)
    other = note.vkey(ORIGIN, crypto.ed25519_public(bytes(32)))
    with pytest.raises(Broken, match="carries no signature"):
        read_checkpoint(raw, other)
    key = base64.b64decode(encoded)
    for wrong in (
        f"{name}+{'0' * 8}+{encoded}",
        f"{name}+{identity}+{base64.b64encode(bytes([2]) + key[1:]).decode()}",
        f"x+{identity}+{encoded}",
    ):
        with pytest.raises(Broken, match="no Ed25519 verifier key"):
            read_checkpoint(raw, wrong)
    for wrong in ("", "a+b", f"{name}+{identity}+!{encoded}"):
        with pytest.raises(Broken, match="no Ed25519 verifier key"):
            read_checkpoint(raw, wrong)
    with pytest.raises(Broken, match="cannot be read"):
        read_checkpoint(b"\xff" + raw, VKEY)
    foreign = note.sign(note.checkpoint("log.example/b", 3, LOGS[3].root), ORIGIN, LOG)
    with pytest.raises(Broken, match="of another log"):
        read_checkpoint(foreign, VKEY)
    forged = raw.replace(b"\n3\n", b"\n1\n")
    with pytest.raises(Broken, match="not the log's"):
        read_checkpoint(forged, VKEY)


AT = datetime(2026, 11, 25, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))


def row(number: int, **more: object) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "audit_id": number + 10, "at": AT, "operation": "read", "outcome": "granted", "door": "api", "actor": UUID(int=1), "actor_role": "integration", "subject": UUID(int=2),
        "record": None, "dataset": "account", "fields": ["name", "email"], "purpose": "provide", "reason": "own-view", "reference": None, "policy": "0" * 64,
    }  # fmt: skip
    made = plain | {"leaf_no": number}
    made["leaf_hash"] = tree.leaf_hash(verifier.database_entry(made))
    return made | more


def database(count: int, **changes: Any) -> Callable[[int, int], list[dict[str, Any]]]:
    def rows(first: int, most: int) -> list[dict[str, Any]]:
        assert most == 1000
        return [row(n) | changes.get(f"at_{n}", {}) for n in range(first, min(first + most, count))]

    return rows


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 1,300 entries that stand in a database."""
    log = MemoryLog(0)
    log.size = 1300
    log.entries = [verifier.database_entry(row(n)) for n in range(1300)]
    log.leaves = [tree.leaf_hash(entry) for entry in log.entries]
    for number in range(6):
        part = log.leaves[number * 256 : number * 256 + 256]
        log.files[tiles.tile_path(0, number, len(part))] = b"".join(part)
    log.files[tiles.tile_path(1, 0, 5)] = b"".join(tiles.up(log.leaves[at : at + 256]) for at in range(0, 1280, 256))
    log.checkpoint = note.sign(note.checkpoint(ORIGIN, 1300, tree.root(log.leaves)), ORIGIN, LOG)
    return lay(log, tmp_path_factory.mktemp("real"))


def test_an_entry_of_a_row() -> None:
    assert json.loads(verifier.database_entry(row(3))) == {
        "v": 1, "audit_id": 13, "at": "2026-11-25T12:00:00.000005Z", "operation": "read", "outcome": "granted", "door": "api", "actor": str(UUID(int=1)), "actor_role": "integration",
        "subject": str(UUID(int=2)), "dataset": "account", "fields": ["name", "email"], "purpose": "provide", "reason": "own-view", "policy": "0" * 64,
    }  # fmt: skip
    made = verifier.database_entry(row(3, reason="\u0646", record=UUID(int=5), at=AT.astimezone(UTC)))
    assert made == json.dumps(json.loads(made), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert "\u0646".encode() in made
    assert str(UUID(int=5)).encode() in made


def test_the_database_must_hold_what_the_log_holds(real: Path) -> None:
    report = verify(real, VKEY, database(1300))
    assert (report.findings, report.entries, report.database_rows, report.unsealed) == ([], 1300, 1300, 0)
    assert verify(real, VKEY, database(1307)).unsealed == 7

    def finding(number: int, **change: object) -> str:
        (one,) = found(real, rows=database(1300, **{f"at_{number}": change}))
        return one

    assert finding(1001, leaf_no=1002) == "entry 1001 (audit 1011) is missing in the database: its leaf row is gone"
    assert finding(0, leaf_no=1) == "entry 0 (audit 10) is missing in the database: its leaf row is gone"
    assert finding(3, audit_id=None) == "entry 3 (audit 13) is missing in the database: its audit row was deleted"
    assert finding(3, at=None) == "entry 3 (audit 13) is missing in the database: its audit row was deleted"
    assert finding(3, audit_id=99) == "entry 3 is audit 13 in the log and audit 99 in the database: reordered or inserted"
    assert finding(3, leaf_hash=bytes(32)) == "entry 3 (audit 13): the database holds another leaf hash"
    assert finding(1299, door="site") == "entry 1299 (audit 1309) is altered in the database"
    assert finding(999, door="site") == "entry 999 (audit 1009) is altered in the database"
    assert found(real, rows=database(1299)) == ["entry 1299 (audit 1309) is missing in the database: its leaf row is gone"]


def test_from_a_kept_checkpoint_on_the_database_is_compared_from_there(real: Path) -> None:
    kept = note.sign(note.checkpoint(ORIGIN, 600, tree.root([row(n)["leaf_hash"] for n in range(600)])), ORIGIN, LOG)
    asked: list[int] = []

    def rows(first: int, most: int) -> list[dict[str, Any]]:
        asked.append(first)
        return database(1300)(first, most)

    report = verify(real, VKEY, rows, kept, from_kept=True)
    assert (report.findings, report.entries, report.database_rows) == ([], 788, 788)
    assert asked == [512, 1300]
    changed = database(1300, at_511={"door": "site"})
    assert found(real, rows=changed, kept=kept, from_kept=True) == []
    assert found(real, rows=database(1300, at_512={"door": "site"}), kept=kept, from_kept=True) == [
        "entry 512 (audit 522) is altered in the database"
    ]


def test_what_stands_beyond_the_log_is_named(real: Path) -> None:
    asked: list[int] = []
    assert found(real, beyond=asked.append) == []
    assert asked == [1300]
    assert found(real, beyond=lambda size: f"audit 7 stands beyond {size}") == ["audit 7 stands beyond 1300"]


def test_a_row_that_stands_twice_is_named_with_its_place(real: Path) -> None:
    def rows(first: int, most: int) -> list[dict[str, Any]]:
        held = database(1300)(first, most)
        return sorted(
            [*held, *(one | {"subject": None} for one in held if one["leaf_no"] == 555)], key=lambda one: int(one["leaf_no"])
        )

    assert found(real, rows=rows) == ["entry 555 (audit 565) stands 2 times in the database: a row was put in"]


def test_values_that_no_row_can_have_are_a_finding_and_no_fault(real: Path) -> None:
    for change in ({"leaf_hash": None}, {"at": "infinity"}, {"at": "0044-03-15 BC"}, {"fields": []}):
        (finding,) = found(real, rows=database(1300, at_3=change))
        assert finding.startswith("entry 3 (audit 13)")
    text = "2026-11-25T12:00:00.000005Z"
    assert found(real, rows=database(1300, at_3={"at": text})) == [], "a time may come as text"


def test_the_checkpoint_of_the_witness_must_be_extended_too(tmp_path: Path) -> None:
    folder = lay(LOGS[300], tmp_path / "a")
    for size in (0, 1, 256, 300):
        assert found(folder, witnessed=LOGS[size].checkpoint) == []
        assert found(folder, witnessed=LOGS[size].checkpoint, kept=LOGS[3].checkpoint) == []
    assert found(folder, witnessed=LOGS[513].checkpoint) == [
        "truncated: the checkpoint that the witness cosigned has 513 entries, this log 300; entry 300 is the first that is gone"
    ]
    fork = note.sign(note.checkpoint(ORIGIN, 257, bytes(32)), ORIGIN, LOG)
    for kept in (None, LOGS[3].checkpoint, LOGS[300].checkpoint):
        assert found(folder, witnessed=fork, kept=kept) == [
            "forked: the first 257 entries are not those of the checkpoint that the witness cosigned"
        ]


@pytest.mark.parametrize("name", ["tile/1/000.p/4", "tile/1/000.p/4:40", "tile/1/000.p/4:127"])
def test_tiles_above_the_leaves_are_compared_in_a_folder_too(name: str, tmp_path: Path) -> None:
    """Proofs of inclusion and consistency are made from them."""
    folder = lay(LOGS[1100], tmp_path / "a")
    path, _, at = name.partition(":")
    flip(folder / path, int(at or 0))
    assert found(folder) == [place(1, 0, int(at or 0) // 32)]
    (folder / path).unlink()
    assert found(folder) == [place(1, 0, 0)]
