"""The witness and its caller, answer by answer (c2sp.org/tlog-witness): each wrong request has its status, and nothing is remembered of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from armonika.store.private_files import KeyFileError
from armonika.trust import crypto
from armonika.trust.audit import cosign, cosigning, note, tree, verify_proof, witness
from armonika.trust.audit.cosigning import cosignatures
from armonika.trust.audit.witness import SIZE, TEXT, Witness
from tests.trust.memory_log import LOG, ORIGIN, VKEY, MemoryLog

NAME, NOW = "w.example/w", 1_790_000_000
LOGS = {size: MemoryLog(size) for size in (0, 1, 2, 5, 8, 9)}
HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()


def signed(size: int, root: bytes | None = None, origin: str = ORIGIN, private: bytes = LOG) -> bytes:
    return note.sign(note.checkpoint(origin, size, LOGS[size].root if root is None else root), origin, private)


def proof(old: int, size: int) -> list[bytes]:
    return tree.consistency(LOGS[size].leaves, old) if 0 < old < size else []


def request(old: int | str, size: int, hashes: list[bytes] | None = None, raw: bytes | None = None) -> bytes:
    lines = proof(int(old), size) if hashes is None else hashes
    return f"old {old}\n".encode() + b"".join(base64.b64encode(one) + b"\n" for one in lines) + b"\n" + (raw or signed(size))


@pytest.fixture
def one(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "w", NAME, {ORIGIN: VKEY})


def test_its_keys_are_made_once_and_kept_for_itself(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "w"
    first = Witness(folder, NAME, {})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "witness.key").stat().st_mode) == 0o600
    held = json.loads((folder / "witness.key").read_bytes())
    assert set(held) == {"ed25519", "mldsa44"}
    ed, ml = (base64.b64decode(held[name]) for name in ("ed25519", "mldsa44"))
    wanted = (
        cosign.vkey(NAME, cosign.ED25519, crypto.ed25519_public(ed))
        + "\n"
        + cosign.vkey(NAME, cosign.MLDSA44, crypto.mldsa44_public(ml))
        + "\n"
    )
    assert first.vkeys() == Witness(folder, NAME, {}).vkeys() == wanted


def test_a_cosigned_checkpoint_holds_the_logs_signature_and_both_of_its_own(one: Witness) -> None:
    assert one.checkpoint(HASH) is None
    status, kind, lines = one.add_checkpoint(request(0, 5), NOW)
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    text = signed(5).partition(b"\n\n")[0] + b"\n"
    first, second = lines.decode().splitlines()
    ed, ml = one.vkeys().splitlines()
    assert first.encode() == cosign.lines(NAME, one._ed25519, one._mldsa44, text, ORIGIN, 5, LOGS[5].root, NOW).splitlines()[0]
    verify_proof.cosignatures(text.decode(), [first, second], ORIGIN, 5, LOGS[5].root, [ed, ml])
    assert first.startswith(f"\u2014 {NAME} ")
    assert second.startswith(f"\u2014 {NAME} ")
    assert ed != ml
    assert one.checkpoint(HASH) == signed(5) + lines
    for wrong in (HASH[:-1], HASH + "0", "../" + HASH, HASH[:-1] + ".", HASH[:-1] + "/", "0" * 64):
        assert one.checkpoint(wrong) is None


def test_only_the_logs_signature_is_kept_of_what_came(one: Witness) -> None:
    other = f"\u2014 {NAME}x ".encode() + base64.b64encode(bytes(68)) + b"\n"
    status, _, lines = one.add_checkpoint(request(0, 2, raw=signed(2) + other), NOW)
    assert status == 200
    assert one.checkpoint(HASH) == signed(2) + lines
    again = signed(2).rpartition(b"\n\n")[2]
    status, _, lines = one.add_checkpoint(request(2, 2, raw=signed(2) + again + other), NOW)
    assert one.checkpoint(HASH) == signed(2) + again + lines
    assert stat.S_IMODE((one._folder / ".lock").stat().st_mode) == 0o600


def test_the_private_half_of_each_pair_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness.crypto, "ed25519_generate", lambda: (b"a" * 32, b"b" * 32))
    assert Witness(tmp_path, NAME, {})._ed25519 == b"a" * 32


def test_it_goes_forward_alone(one: Witness) -> None:
    assert one.add_checkpoint(request(0, 0), NOW)[0] == 200
    assert one.add_checkpoint(request(0, 2), NOW)[0] == 200
    assert one.add_checkpoint(request(0, 5), NOW) == (409, SIZE, b"2\n")
    assert one.add_checkpoint(request(1, 5), NOW) == (409, "text/x.tlog.size", b"2\n")
    assert one.add_checkpoint(request(2, 2), NOW)[0] == 200
    assert one.add_checkpoint(request(2, 9), NOW)[0] == 200
    before = one.checkpoint(HASH)
    assert one.add_checkpoint(request(9, 8), NOW) == (400, TEXT, b"the old size is beyond the checkpoint\n")
    assert one.add_checkpoint(request(2, 5), NOW) == (409, SIZE, b"9\n")
    assert one.checkpoint(HASH) == before


@pytest.mark.parametrize(
    ("old", "size", "hashes", "root"),
    [
        (0, 0, None, bytes(32)), (0, 5, [bytes(32)], None), (5, 9, [], None), (5, 9, [bytes(32)] * 4, None), (5, 5, None, bytes(32)), (5, 9, None, bytes(32)),
        (5, 5, [bytes(32)], None),
    ],
)  # fmt: skip
def test_what_is_not_consistent_is_422(one: Witness, old: int, size: int, hashes: list[bytes] | None, root: bytes | None) -> None:
    if old:
        assert one.add_checkpoint(request(0, old), NOW)[0] == 200
    before = one.checkpoint(HASH)
    answer = one.add_checkpoint(request(old, size, hashes, signed(size, root)), NOW)
    assert answer[:2] == (422, TEXT)
    text = b"the checkpoint is not consistent with the one before\n" if old else b"the checkpoint is not consistent\n"
    assert answer[2] == text
    assert one.checkpoint(HASH) == before


def test_whose_signature_it_is_decides(one: Witness) -> None:
    assert one.add_checkpoint(request(0, 2, raw=signed(2, private=bytes(32))), NOW) == (
        403,
        TEXT,
        b"no valid signature of the log\n",
    )
    assert one.add_checkpoint(request(0, 2, raw=signed(2, origin="log.example/b")), NOW) == (
        404,
        TEXT,
        b"this log is not known here\n",
    )
    unsigned = signed(2).partition(b"\n\n")[0] + b"\n\n"
    assert one.add_checkpoint(request(0, 2, raw=unsigned), NOW)[0] == 403
    assert one.checkpoint(HASH) is None


MALFORMED: list[Callable[[bytes], bytes]] = [
    lambda body: b"", lambda body: b"\xff" + body, lambda body: body.replace(b"old 0", b"0", 1), lambda body: body.replace(b"old 0", b"old 00", 1),
    lambda body: body.replace(b"old 0", b"old -1", 1), lambda body: body.replace(b"old 0", b"old +0", 1), lambda body: body.replace(b"old 0", "old \u0660".encode(), 1),
    lambda body: body.replace(b"old 0", b"old \xc2\xb2", 1), lambda body: body.replace(b"old 0", b"old 1" + b"0" * 19, 1), lambda body: body.replace(b"old 0", b"odd 0", 1),
    lambda body: body.replace(b"\n\n", b"\n", 1).replace(b"\n\n", b"\n", 1), lambda body: body.replace(b"old 0\n", b"old 0\n!\n", 1),
    lambda body: body.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(31)) + b"\n", 1), lambda body: body.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(33)) + b"\n", 1),
    lambda body: body[:-1], lambda body: body.replace(b"\n5\n", b"\n05\n"), lambda body: body.replace(base64.b64encode(LOGS[5].root), base64.b64encode(LOGS[5].root[:31])),
    lambda body: body.replace(base64.b64encode(LOGS[5].root), b"!"), lambda body: b"old 0\n\n" + ORIGIN.encode() + b"\n", lambda body: body.rpartition(b"\n\n")[0] + b"\n",
    lambda body: body.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(32)) + b"!\n", 1),
    lambda body: body.replace(base64.b64encode(LOGS[5].root), b"!" + base64.b64encode(LOGS[5].root)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_what_is_no_request_is_400(one: Witness, number: int) -> None:
    whole = request(0, 5)
    body = MALFORMED[number](whole)
    assert body != whole
    assert one.add_checkpoint(body, NOW) == (400, TEXT, b"not an add-checkpoint request\n")
    assert one.checkpoint(HASH) is None


def test_bounds_are_exact(one: Witness) -> None:
    assert (witness.MOST_LINES, witness.MOST_BYTES) == (63, 65536)
    lines = [bytes(32)] * 63
    assert one.add_checkpoint(request(0, 5, lines), NOW)[0] == 422
    assert one.add_checkpoint(request(0, 5, [*lines, bytes(32)]), NOW)[0] == 400
    room = 65536 - len(request(0, 5))
    pad = f"\u2014 {ORIGIN}x ".encode()
    filled = signed(5) + pad + base64.b64encode(bytes((room - len(pad) - 1) // 4 * 3))
    filled += b"=" * 0 + b"\n"
    body = request(0, 5, raw=filled)
    fits = body[:-1] + b" " * (65536 - len(body)) + b"\n"
    assert len(fits) == 65536
    assert one.add_checkpoint(fits[:-1] + b" \n", NOW)[2] == b"not an add-checkpoint request\n"
    assert one.add_checkpoint(fits, NOW)[2] != b"not an add-checkpoint request\n"
    assert one.add_checkpoint(b"old " + b"9" * 19 + b"\n\n" + signed(5), NOW)[2].startswith(b"the old size")
    assert one.add_checkpoint(b"old 1" + b"0" * 19 + b"\n\n" + signed(5), NOW)[2].startswith(b"not an")


def test_two_over_one_folder_do_one_after_the_other(one: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held from the look at what is kept until the new one is written; two forks of one size cannot both be signed."""
    fork = MemoryLog(5)
    fork.leaves = [tree.leaf_hash(b"fork" + bytes([n])) for n in range(5)]
    raw = note.sign(note.checkpoint(ORIGIN, 5, tree.root(fork.leaves)), ORIGIN, LOG)
    second = Witness(tmp_path / "w", NAME, {ORIGIN: VKEY})
    reached, answers = threading.Event(), []
    real = cosign.lines

    def slow(*words: object) -> bytes:
        reached.set()
        threading.Event().wait(0.2)
        return real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(witness.cosign, "lines", slow)
    first = threading.Thread(target=lambda: answers.append(one.add_checkpoint(request(0, 5), NOW)[0]))
    first.start()
    reached.wait(5)
    answers.append(second.add_checkpoint(request(0, 5, raw=raw), NOW)[0])
    first.join()
    assert sorted(answers) == [200, 409]


def over(port: int, seconds: float = 5.0) -> cosigning.Post:
    return cosigning.post(lambda: HTTPConnection("127.0.0.1", port, timeout=seconds))


class Peer:
    """A witness that answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, bytes]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                peer.asked.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
                status, body = peer.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = over(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.server.shutdown()
    made.server.server_close()


LINES = "\u2014 w AAAAAAA=\n".encode()


def asked(peer: Peer, size: int, known: int, *answers: tuple[int, bytes]) -> tuple[bytes, int] | None:
    peer.answers, peer.asked = list(answers), []
    return cosignatures(peer.address, signed(size), LOGS[size].files.get, known)


def test_a_caller_asks_from_what_the_witness_knows(peer: Peer) -> None:
    assert asked(peer, 9, 5, (200, LINES)) == (LINES, 9)
    assert peer.asked == [("/add-checkpoint", request(5, 9))]
    assert asked(peer, 9, 1, (200, LINES)) == (LINES, 9)
    assert peer.asked == [("/add-checkpoint", request(1, 9))]
    for known in (0, 9):
        assert asked(peer, 9, known, (200, LINES)) == (LINES, 9)
        assert peer.asked == [("/add-checkpoint", request(known, 9))]
        assert b"\n\n" in peer.asked[0][1][:7]


def test_a_caller_that_believed_wrong_asks_again_and_not_for_ever(peer: Peer) -> None:
    assert asked(peer, 9, 0, (409, b"5\n"), (200, LINES)) == (LINES, 9)
    assert [body for _, body in peer.asked] == [request(0, 9), request(5, 9)]
    assert asked(peer, 9, 0, (409, b"9\n"), (200, LINES)) == (LINES, 9)
    assert asked(peer, 9, 0, *[(409, b"5\n")] * 5) is None
    assert len(peer.asked) == 3
    for said in (b"10\n", b"", b"x", b"-1\n", b"9" * 5000, b"9" * 16384):
        assert asked(peer, 9, 0, (409, said), (200, LINES)) is None, said
        assert len(peer.asked) == 1
    assert asked(peer, 9, 0, (409, b" " * 31 + b"5"), (200, LINES)) == (LINES, 9)
    assert asked(peer, 9, 0, (409, b"5\n" + b" " * 30 + b"x"), (200, LINES)) is None
    for status in (400, 403, 404, 422, 500):
        assert asked(peer, 9, 0, (status, b"5\n"), (200, LINES)) is None


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\n", b"signed", b"\xff\n", "\u2014 w AAAAAAA=\n\n".encode(), "\u2014 w AAAAAAA=".encode(), "\u2014 w AAAA AAAA\n".encode(), b"- w AAAAAAA=\n",
        "\u2014  w AAAAAAA=\n".encode(), "\u2014 w+v AAAAAAA=\n".encode(), "\u2014 w \n".encode(), "\u2014 w AAAAA\n".encode(), f"\u2014 {ORIGIN} AAAAAAA=\n".encode(),
        "\u2014 w AAAAAAA=\r\n".encode(),
    ],
)  # fmt: skip
def test_what_is_no_signature_line_never_reaches_the_checkpoint(peer: Peer, said: bytes) -> None:
    assert asked(peer, 9, 5, (200, said)) is None
    assert asked(peer, 9, 5, (200, "\u2014 w AAAAAAA=\n\u2014 w AAAAAAA=\n".encode())) is not None


def test_a_caller_goes_on_without_a_witness(peer: Peer) -> None:
    assert cosigning.SECONDS == 2.0
    assert cosignatures(over(9), signed(9), LOGS[9].files.get, 0) is None
    assert cosignatures(peer.address, signed(9), {}.get, 5) is None, "a proof cannot be made: nothing is asked"
    assert peer.asked == []
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as mute:
        assert cosignatures(over(mute.server_address[1], 0.1), signed(9), LOGS[9].files.get, 0) is None


def test_a_caller_takes_only_what_the_witness_signed_where_its_keys_are_known(peer: Peer, one: Witness) -> None:
    """c2sp.org/tlog-witness: lines of unknown keys are not taken over; one that does not verify would spoil the checkpoint for whoever knows the key."""
    status, _, lines = one.add_checkpoint(request(0, 9), NOW)
    assert status == 200
    keys, heard = one.vkeys().splitlines(), []

    def answered(said: bytes, keys: list[str]) -> tuple[bytes, int] | None:
        peer.answers = [(200, said)]
        return cosignatures(peer.address, signed(9), LOGS[9].files.get, 9, keys, heard.append)

    assert answered(lines, keys) == answered(lines, []) == (lines, 9)
    assert heard == []
    first, second = lines.splitlines(keepends=True)
    other = Witness(one._folder / "other", NAME, {ORIGIN: VKEY})
    _, _, foreign = other.add_checkpoint(request(0, 9), NOW)
    _, _, late = Witness(one._folder / "late", NAME, {ORIGIN: VKEY}).add_checkpoint(request(0, 8), NOW)
    wrong = [first, second, foreign, late, lines + LINES, lines + first, first + foreign.splitlines(keepends=True)[1]]
    assert [answered(said, keys) for said in wrong] == [None] * len(wrong)
    assert heard == ["what the witness answered are not its signatures of this checkpoint"] * len(wrong)


def test_why_the_witness_refused_is_told(peer: Peer) -> None:
    heard: list[str] = []
    for answer in ((409, b"10\n"), (422, b""), (500, b""), (409, b"x")):
        peer.answers = [answer]
        assert cosignatures(peer.address, signed(9), LOGS[9].files.get, 9, (), heard.append) is None
    assert heard == [
        "the witness has cosigned 10 entries and this log has 9: it was put back, or is another. Run `armonika audit verify`",
        *(f"the witness answers {status} to a checkpoint of 9 entries" for status in (422, 500, 409)),
    ]


def test_a_witness_that_sends_a_byte_now_and_then_does_not_hold_up_sealing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over_at = threading.Event()

        def drip() -> None:
            wire, _ = listening.accept()
            with wire, contextlib.suppress(OSError):
                wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                while not over_at.wait(0.02):
                    wire.sendall(b"x")

        threading.Thread(target=drip, daemon=True).start()
        port = listening.getsockname()[1]
        ask = cosigning.post(lambda: HTTPConnection("127.0.0.1", port, timeout=5), longest=0.2)
        assert cosignatures(ask, signed(9), LOGS[9].files.get, 0) is None
        over_at.set()


@pytest.mark.parametrize("state", [b"", b"x", signed(5, private=bytes(32)), None])
def test_a_witness_that_cannot_read_what_it_cosigned_cosigns_nothing(one: Witness, state: bytes | None) -> None:
    """It would begin again at nothing, and sign whatever it is given."""
    assert one.add_checkpoint(request(0, 5), NOW)[0] == 200
    path = one._folder / f"{HASH}.checkpoint"
    path.unlink()
    path.mkdir() if state is None else path.write_bytes(state)
    for old, size in ((0, 2), (0, 9), (5, 9)):
        status, kind, said = one.add_checkpoint(request(old, size), NOW)
        assert (status, kind, b"\xe2" in said) == (500, TEXT, False)


def test_a_witness_goes_on_trusting_the_key_that_it_was_given_first(tmp_path: Path) -> None:
    """Who can write the log's folder puts a key of their own there, and waits for the next start."""
    known, folder = tmp_path / "log.vkey", tmp_path / "w"
    folder.mkdir()
    known.write_text(VKEY + "\n")
    assert witness.trusted_key(folder, known) == VKEY
    known.write_text(note.vkey(ORIGIN, crypto.ed25519_public(bytes(32))))
    assert witness.trusted_key(folder, known) == VKEY
    known.unlink()
    assert witness.trusted_key(folder, known) == VKEY
    for text in ("", "a+b", VKEY[:-4], "x" * 10):
        (tmp_path / "v").mkdir(exist_ok=True)
        known.write_text(text)
        with pytest.raises(KeyFileError, match="no verifier key"):
            witness.trusted_key(tmp_path / "v", known)
    assert list((tmp_path / "v").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"ed25519": "!", "mldsa44": ""}', b"\xff"])
def test_a_damaged_key_of_a_witness_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "witness.key").write_bytes(content)
    (tmp_path / "witness.key").chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged"):
        Witness(tmp_path, NAME, {})
