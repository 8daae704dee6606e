"""The sealer over a stand-in for the database's side: what it writes, in which order, and what it does at each wrong state."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from armonika.trust import crypto
from armonika.trust.audit import entry, note, sealer, tiles, tree
from armonika.trust.audit.cosigning import Post, post
from armonika.trust.audit.sealer import AnotherSealer, Sealer, SealerError
from armonika.trust.audit.verify import read_checkpoint
from armonika.trust.audit.verify import verify as verify_log
from tests.audit.rows import Rows, row

KEY = bytes(range(32))
ORIGIN = "armonika.test/audit"
VKEY = note.vkey(ORIGIN, crypto.ed25519_public(KEY))


def opened(rows: Rows, folder: Path, witness: Post | None = None) -> Sealer:
    made = Sealer(rows, folder, ORIGIN, KEY, witness)  # type: ignore[arg-type]
    made.load()
    return made


def sealed(rows: Rows, folder: Path) -> Sealer:
    one = opened(rows, folder)
    while one.seal():
        pass
    return one


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(folder: Path, size: int) -> None:
    report = verify_log(folder, VKEY)
    assert (report.findings, report.size) == ([], size)


def grown(folder: Path, counts: Sequence[int]) -> dict[str, bytes]:
    rows = Rows(0)
    one = opened(rows, folder)
    for count in counts:
        rows.count = count
        before = rows.sealed
        assert one.seal() == count - before
        whole(folder, count)
    assert one.seal() == 0
    return files(folder)


def test_an_empty_log_has_a_checkpoint_and_its_key(tmp_path: Path) -> None:
    assert Sealer(Rows(0), tmp_path, ORIGIN, KEY).load() == 0  # type: ignore[arg-type]
    assert (tmp_path / "log.vkey").read_text() == VKEY + "\n"
    assert read_checkpoint((tmp_path / "checkpoint").read_bytes(), VKEY) == (ORIGIN, 0, tree.root([]))
    assert set(files(tmp_path)) == {"log.vkey", "checkpoint"}


def test_every_size_has_its_tiles_bundles_and_checkpoint(tmp_path: Path) -> None:
    step = grown(tmp_path / "a", [1, 2, 255, 256, 257, 511, 512, 700, 1025])
    at_once = grown(tmp_path / "b", [1025])
    assert at_once.items() <= step.items()
    leaves = [tree.leaf_hash(entry.encode(row(n))) for n in range(1025)]
    wanted = {"checkpoint", "log.vkey", "tile/1/000.p/4", "tile/0/004.p/1", "tile/entries/004.p/1"}
    wanted |= {f"tile/{kind}/00{n}" for kind in (0, "entries") for n in range(4)}
    assert set(at_once) == wanted
    assert at_once["tile/1/000.p/4"] == b"".join(tiles.up(leaves[at : at + 256]) for at in range(0, 1024, 256))
    assert at_once["tile/0/003"] == b"".join(leaves[768:1024])


def test_what_is_sealed_is_published_once(tmp_path: Path) -> None:
    rows = Rows(0)
    one = opened(rows, tmp_path)
    before = (tmp_path / "checkpoint").read_bytes()
    (tmp_path / "checkpoint").unlink()
    one.publish()
    assert not (tmp_path / "checkpoint").exists(), "nothing was sealed yet"
    (tmp_path / "checkpoint").write_bytes(before)
    for rows.count in (100, 300, 301):
        assert one.seal(publish=False)
    assert (tmp_path / "checkpoint").read_bytes() == before
    one.publish()
    whole(tmp_path, 301)
    assert not list(tmp_path.glob("tile/0/000.p/*"))
    (tmp_path / "checkpoint").unlink()
    one.publish()
    assert not (tmp_path / "checkpoint").exists(), "nothing new, nothing written"


def test_tiles_of_entries_that_the_database_lost_are_written_again(tmp_path: Path) -> None:
    """Numbered, written, not yet signed, and then the machine fell and the newest rows with it: others have their numbers now."""
    sealed(Rows(300), tmp_path)
    signed = (tmp_path / "checkpoint").read_bytes()
    sealed(Rows(700, sealed=300), tmp_path)
    for name in ("tile/0/001", "tile/entries/001"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    (tmp_path / "checkpoint").write_bytes(signed)
    opened(Rows(700, sealed=700), tmp_path)
    whole(tmp_path, 700)


def test_tiles_of_the_second_level_are_made_when_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiles of four hashes, so that four levels fit into a few hundred entries."""
    monkeypatch.setattr(sealer, "WIDTH", 4)
    monkeypatch.setattr(sealer.tiles, "WIDTH", 4)
    leaves = [tree.leaf_hash(entry.encode(row(n))) for n in range(300)]
    for size in (4, 15, 16, 17, 63, 64, 65, 256, 257, 300):
        folder = tmp_path / str(size)
        sealed(Rows(size), folder)
        made = files(folder)
        level, hashes = 0, leaves[:size]
        while hashes:
            for at in range(0, len(hashes), 4):
                part = hashes[at : at + 4]
                name = f"tile/{level}/{tiles.tile_path(0, at // 4, 256).removeprefix('tile/0/')}" + (
                    f".p/{len(part)}" if len(part) < 4 else ""
                )
                assert made.get(name) == b"".join(part), (size, name)
            hashes = [tree.root(hashes[at : at + 4]) if level == 0 else tree.node_hash(tree.node_hash(*hashes[at : at + 2]), tree.node_hash(*hashes[at + 2 : at + 4])) for at in range(0, len(hashes) // 4 * 4, 4)]  # fmt: skip
            level += 1


def test_batches_are_bounded_and_pages_end_at_the_signed_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (sealer.BATCH, sealer.RECHECKED) == (10_000, 100_000)
    assert (sealer.BEHIND, sealer.AHEAD) == (3, 4), (
        "50,000 entries in memory at most; what came late waits for four pages at most"
    )
    monkeypatch.setattr(sealer, "BATCH", 100)
    rows = Rows(250)
    one = opened(rows, tmp_path)
    assert [one.seal() for _ in range(4)] == [100, 100, 50, 0]
    again = opened(rows, tmp_path)
    assert again._frontier.size == 250
    rows.sealed, rows.count = 370, 370
    assert Sealer(rows, tmp_path, ORIGIN, KEY).load() == 370  # type: ignore[arg-type]
    whole(tmp_path, 370)


def test_files_that_are_lost_are_made_again_and_those_that_are_there_are_left(tmp_path: Path) -> None:
    sealed(Rows(700), tmp_path)
    before = files(tmp_path)
    old = (tmp_path / "tile/0/000").stat().st_mtime_ns
    for name in (
        "tile/0/001",
        "tile/entries/000",
        "tile/0/002.p/188",
        "tile/entries/002.p/188",
        "tile/1/000.p/2",
        "log.vkey",
        "checkpoint",
    ):
        (tmp_path / name).unlink()
        opened(Rows(700, sealed=700), tmp_path)
        assert files(tmp_path) == before, name
    assert (tmp_path / "tile/0/000").stat().st_mtime_ns == old


@pytest.mark.parametrize("size", [512, 700])
def test_what_was_altered_of_the_signed_log_is_left_for_the_verifier_to_find(tmp_path: Path, size: int) -> None:
    sealed(Rows(size), tmp_path)
    path = tmp_path / "tile/entries/001"
    altered = path.read_bytes()[:-1] + b"x"
    path.write_bytes(altered)
    opened(Rows(size, sealed=size), tmp_path)
    assert path.read_bytes() == altered
    assert verify_log(tmp_path, VKEY).findings != []


def test_a_row_that_was_altered_behind_its_leaf_stops_it(tmp_path: Path) -> None:
    sealed(Rows(600), tmp_path)
    rows = Rows(600, sealed=600)
    real = rows.execute

    def altered(statement: str, parameters: Sequence[Any] = (), **more: Any) -> Rows:
        found = real(statement, parameters, **more)
        if "leaves" in statement and "append" not in statement:
            assert statement == f"SELECT leaf_hash, {sealer._SELECT} FROM vault.leaves(%s, %s)"
            rows.found = [(one[0], one[1], one[2], "erase", *one[4:]) if one[1] == 300 else one for one in rows.found]
        return found

    rows.execute = altered  # type: ignore[method-assign]
    before = files(tmp_path)
    with pytest.raises(SealerError, match="entry 300 differs from its sealed leaf"):
        opened(rows, tmp_path)
    assert files(tmp_path) == before
    assert sealer._SELECT.startswith("audit_id, at, ")
    assert {part for part in sealer._SELECT.split(", ") if "::" in part} == {"actor::text", "subject::text", "record::text"}


def test_a_database_of_another_log_or_an_older_copy_is_refused(tmp_path: Path) -> None:
    sealed(Rows(600), tmp_path)
    before = files(tmp_path)
    with pytest.raises(SealerError, match="holds 599 sealed entries, the signed log 600: it is an older copy"):
        opened(Rows(600, sealed=599), tmp_path)
    other = Rows(700, sealed=700)
    real = other.execute
    other.execute = lambda statement, parameters=(), **more: real(statement, (parameters[0] + 1, parameters[1]), **more)  # type: ignore[method-assign,assignment]
    with pytest.raises(SealerError, match="another log than the signed checkpoint"):
        opened(other, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("damaged", [b"", b"x", None])
def test_without_a_readable_checkpoint_everything_is_read(tmp_path: Path, damaged: bytes | None) -> None:
    sealed(Rows(600), tmp_path)
    before = files(tmp_path)
    (tmp_path / "checkpoint").unlink() if damaged is None else (tmp_path / "checkpoint").write_bytes(damaged)
    opened(Rows(600, sealed=600), tmp_path)
    assert files(tmp_path) == before


class Failing(Rows):
    """Refuses to append with a SQLSTATE."""

    def __init__(self, count: int, sqlstate: str) -> None:
        super().__init__(count)
        self.sqlstate = sqlstate

    def execute(self, statement: str, parameters: Sequence[Any] = (), **more: Any) -> Rows:
        if "append_leaves" in statement:
            error = psycopg.Error("no")
            error.sqlstate = self.sqlstate
            raise error
        return super().execute(statement, parameters, **more)


def test_who_comes_second_yields_and_writes_nothing(tmp_path: Path) -> None:
    for sqlstate, kind in (("AR409", AnotherSealer), ("AR500", psycopg.Error)):
        one = opened(Failing(10, sqlstate), tmp_path)
        before = files(tmp_path)
        with pytest.raises(kind):
            one.seal()
        assert files(tmp_path) == before
        assert one._frontier.size == 0


@pytest.mark.parametrize("step", ["seal", "publish"])
def test_files_that_cannot_be_written_end_the_next_step_and_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    rows = Rows(300)
    one = opened(rows, tmp_path)
    with monkeypatch.context() as full:
        full.setattr(sealer.tiles, "write_all", lambda files: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert one.seal(publish=False) == 300
        rows.count = 400
        one._files_pool.submit(int).result()
        with pytest.raises(OSError, match="No space left"):
            getattr(one, step)()
        assert rows.sealed == 300, "nothing is numbered beyond what has no files"
    assert read_checkpoint((tmp_path / "checkpoint").read_bytes(), VKEY)[1] == 0
    sealed(rows, tmp_path)
    whole(tmp_path, 400)


def test_pages_are_looked_for_ahead_so_often_and_then_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 100)
    monkeypatch.setattr(sealer, "AHEAD", 2)
    asked: list[int | None] = []

    class Listening(Rows):
        def execute(self, statement: str, parameters: Sequence[Any] = (), **more: Any) -> Rows:
            if "unsealed" in statement:
                asked.append(parameters[1])
            return super().execute(statement, parameters, **more)

    one = opened(Listening(650), tmp_path)
    assert [one.seal(publish=False) for _ in range(8)] == [100] * 6 + [50, 0]
    assert asked == [None, 99, 199, None, 399, 499, None, None], "a page that is not full is the last of its kind"
    one.publish()
    whole(tmp_path, 650)


def test_an_empty_page_ahead_is_asked_for_again_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 100)
    one = opened(rows := Rows(100), tmp_path)
    assert one.seal() == 100
    assert one._ahead is not None
    assert one._ahead.result() == []
    rows.count = 130
    assert [one.seal(), one.seal()] == [30, 0]
    whole(tmp_path, 130)


def test_files_may_be_so_many_pages_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "BATCH", 256)
    gate, real = threading.Event(), sealer.tiles.write_all

    entered: list[int] = []

    def slow(files: Any) -> None:
        entered.append(len(files))
        assert gate.wait(20)
        real(files)

    monkeypatch.setattr(sealer.tiles, "write_all", slow)
    one = opened(rows := Rows(256 * 9), tmp_path)
    for _ in range(sealer.BEHIND + 1):
        assert one.seal(publish=False) == 256
    waiting = threading.Thread(target=one.seal, kwargs={"publish": False})
    waiting.start()
    waiting.join(0.3)
    assert (waiting.is_alive(), rows.sealed) == (True, 256 * (sealer.BEHIND + 1)), "nothing is numbered meanwhile"
    assert len(entered) == 1, "pages are written one after the other: each goes on from the one before"
    gate.set()
    waiting.join(20)
    while one.seal():
        continue
    whole(tmp_path, 256 * 9)


def test_what_is_asked_and_told_is_what_the_database_has(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    forms: list[bool] = []

    class Listening(Rows):
        def execute(self, statement: str, parameters: Sequence[Any] = (), **more: Any) -> Rows:
            asked.append((statement, parameters))
            forms.append(bool(more.get("binary")))
            return super().execute(statement, parameters, **more)

    sealed(Listening(3), tmp_path)
    leaves = [tree.leaf_hash(entry.encode(row(n))) for n in range(3)]
    assert asked == [
        (f"SELECT leaf_hash, {sealer._SELECT} FROM vault.leaves(%s, %s)", (0, 10_000)),
        (f"SELECT {sealer._SELECT} FROM vault.unsealed(%s, %s::bigint)", (10_000, None)),
        ("SELECT vault.append_leaves(%s, %b::bigint[], %b::bytea[])", (0, [0, 1, 2], leaves)),
        (f"SELECT {sealer._SELECT} FROM vault.unsealed(%s, %s::bigint)", (10_000, None)),
    ]
    assert forms == [True, True, False, True], "rows come as bytes: text would be parsed for each of them"


def test_it_goes_on_from_its_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "RECHECKED", 300)
    for size in (256, 555, 556, 557, 700, 1100, 1325, 2100):
        folder = tmp_path / str(size)
        first = sealed(Rows(size), folder)
        rows = Rows(size, sealed=size)
        again = opened(rows, folder)
        assert rows.asked_from == max(0, size - 300) // 256 * 256, size
        assert (again._frontier.size, again._frontier.root(), again._levels, again._bundle) == (
            size,
            first._frontier.root(),
            first._levels,
            first._bundle,
        )
        rows.count += 600
        while again.seal():
            pass
        whole(folder, size + 600)


def test_tiles_that_are_wrong_or_lost_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer, "RECHECKED", 0)
    sealed(Rows(1000), tmp_path)
    path = tmp_path / "tile/1/000.p/3"
    held = path.read_bytes()
    for damaged in (None, held[:-1], bytes([held[0] ^ 1]) + held[1:]):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        rows = Rows(1000, sealed=1000)
        opened(rows, tmp_path)
        assert rows.asked_from == 0
        assert path.read_bytes() == held


class Witnessing(BaseHTTPRequestHandler):
    """Signs whatever comes with a line that names how much it saw."""

    asked: list[bytes] = []  # noqa: RUF012
    status = 200

    def do_POST(self) -> None:
        self.asked.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"\xe2\x80\x94 w %04d\n" % len(self.asked))

    def log_message(self, *_: object) -> None:
        return


def test_cosignatures_are_added_to_the_newest_checkpoint(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Witnessing) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        port = server.server_address[1]
        address = post(lambda: HTTPConnection("127.0.0.1", port, timeout=5))
        rows = Rows(0)
        alone = opened(rows, tmp_path / "alone")
        assert not alone.cosign()
        assert not Sealer(rows, tmp_path / "none", ORIGIN, KEY, address).cosign()  # type: ignore[arg-type]
        one = opened(rows, tmp_path / "log", address)
        plain = (tmp_path / "log/checkpoint").read_bytes()
        assert one.cosign()
        assert Witnessing.asked[0].startswith(b"old 0\n")
        assert one.cosign(), "an empty log is cosigned each time"
        assert len(Witnessing.asked) == 2
        assert (tmp_path / "log/checkpoint").read_bytes() == plain + b"\xe2\x80\x94 w 0002\n"
        rows.count = 5
        one.seal()
        plain = (tmp_path / "log/checkpoint").read_bytes()
        assert one.cosign()
        assert (tmp_path / "log/checkpoint").read_bytes() == plain + b"\xe2\x80\x94 w 0003\n"
        assert one.cosign()
        assert len(Witnessing.asked) == 3, "asked once for a size"
        rows.count = 9
        one.seal()
        assert one.cosign()
        assert Witnessing.asked[-1].startswith(b"old 5\n")
        Witnessing.status = 500
        rows.count = 10
        one.seal()
        plain = (tmp_path / "log/checkpoint").read_bytes()
        assert not one.cosign()
        assert (tmp_path / "log/checkpoint").read_bytes() == plain
        server.shutdown()


def test_why_the_witness_did_not_cosign_is_told_until_it_does(tmp_path: Path) -> None:
    answers: list[tuple[int, bytes]] = []

    def ask(body: bytes) -> tuple[int, bytes]:
        if not answers:
            raise ConnectionRefusedError
        return answers.pop(0)

    known: list[str] = []
    one = Sealer(Rows(3), tmp_path, ORIGIN, KEY, ask, lambda: known)  # type: ignore[arg-type]
    one.load()
    one.seal()
    assert one.refusal == ""
    lines = "\u2014 w 0001\n".encode()
    for answer, why in (
        ((500, b""), "the witness answers 500 to a checkpoint of 3 entries"),
        (None, "the witness answers 500 to a checkpoint of 3 entries"),
        (
            (409, b"9"),
            "the witness has cosigned 9 entries and this log has 3: it was put back, or is another. Run `armonika audit verify`",
        ),
        ((200, lines), ""),
    ):
        answers[:] = [answer] if answer else []
        assert (one.cosign(), one.refusal) == (answer == (200, lines), why)
    one._cosigned, known[:] = 0, [VKEY]
    answers[:] = [(200, lines)]
    assert (one.cosign(), one.refusal) == (False, "what the witness answered are not its signatures of this checkpoint")


def test_partials_go_when_the_full_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a second would outgrow the log a hundred times. What a reader with an older checkpoint asks for is in the full one."""
    made = grown(tmp_path / "a", range(1, 1031, 7))
    assert {name.partition(".p")[0] for name in made if ".p/" in name} == {"tile/0/004", "tile/entries/004", "tile/1/000"}
    monkeypatch.setattr(tiles, "drop_partial", lambda path: None)
    rows = Rows(0)
    one = opened(rows, tmp_path / "b")
    kept = {}
    for rows.count in range(1, 1031, 7):
        one.seal()
        kept[rows.count] = (tmp_path / "b/checkpoint").read_bytes()
    monkeypatch.undo()
    assert len(files(tmp_path / "b")) > 300
    opened(rows, tmp_path / "b")
    assert files(tmp_path / "b") == made, "what was kept before is removed at the start"
    for checkpoint in kept.values():
        (tmp_path / "b/checkpoint").write_bytes(checkpoint)
        assert verify_log(tmp_path / "b", VKEY).findings == []
