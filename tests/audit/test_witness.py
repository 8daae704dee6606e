"""The witness: every answer of tlog-witness, no roll-back and no fork, one memory for two processes, and a sealer that goes on without it."""

from __future__ import annotations

import base64
import hashlib
import threading
from contextlib import closing
from pathlib import Path

import pytest

from armonika.entry.witness import handler
from armonika.gates.channel import Channel, Connection, Listener
from armonika.supervisor.certificates import hand_out
from armonika.trust import crypto
from armonika.trust.audit import note, tree
from armonika.trust.audit.cosigning import cosignatures, post
from armonika.trust.audit.witness import SIZE, Witness
from armonika.trust.certificates import Authority
from tests.audit.test_proofs import ORIGIN, Log

NOW = 1_790_000_000


@pytest.fixture
def log() -> Log:
    return Log(600)


def checkpoint(log: Log, size: int, root: bytes | None = None, private: bytes | None = None) -> bytes:
    return note.sign(
        note.checkpoint(ORIGIN, size, tree.root(log.leaves[:size]) if root is None else root), ORIGIN, private or log.private
    )


def request(log: Log, old: int, size: int) -> bytes:
    proof = tree.consistency(log.leaves[:size], old) if 0 < old < size else []
    return f"old {old}\n".encode() + b"".join(base64.b64encode(one) + b"\n" for one in proof) + b"\n" + checkpoint(log, size)


def test_it_cosigns_what_extends_and_nothing_else(log: Log, tmp_path: Path) -> None:
    witness = Witness(tmp_path, "w.example", {ORIGIN: log.vkey})
    name = hashlib.sha256(ORIGIN.encode()).hexdigest()
    assert witness.checkpoint(name) is None
    assert witness.add_checkpoint(request(log, 0, 0), NOW)[0] == 200
    assert witness.add_checkpoint(request(log, 0, 100), NOW)[0] == 200
    assert witness.add_checkpoint(request(log, 0, 200), NOW) == (409, SIZE, b"100\n")
    assert witness.add_checkpoint(request(log, 100, 100), NOW)[0] == 200
    status, _, lines = witness.add_checkpoint(request(log, 100, 600), NOW)
    assert status == 200
    assert lines.count(b"\n") == 2
    stored = witness.checkpoint(name)
    assert stored is not None
    assert stored == checkpoint(log, 600) + lines, "the log's own signature and both of the witness"
    assert witness.add_checkpoint(request(log, 600, 500), NOW)[0] == 400
    assert witness.add_checkpoint(request(log, 100, 600), NOW)[0] == 409
    assert witness.checkpoint("../" + name) is None


def test_forks_and_bad_requests_have_their_answers_and_change_nothing(log: Log, tmp_path: Path) -> None:
    witness = Witness(tmp_path, "w.example", {ORIGIN: log.vkey})
    assert witness.add_checkpoint(request(log, 0, 300), NOW)[0] == 200
    other = Log(0)
    forked = [*log.leaves[:299], b"f" * 32, *log.leaves[300:]]
    proof = b"".join(base64.b64encode(one) + b"\n" for one in tree.consistency(forked, 300))
    good = request(log, 300, 600)
    cases = {
        "a fork with its own proof": (b"old 300\n" + proof + b"\n" + checkpoint(log, 600, tree.root(forked)), 422),
        "another root at the same size": (b"old 300\n\n" + checkpoint(log, 300, b"r" * 32), 422),
        "no proof": (b"old 300\n\n" + checkpoint(log, 600), 422),
        "a proof cut short": (b"\n".join(good.split(b"\n")[:2]) + b"\n\n" + checkpoint(log, 600), 422),
        "another key": (b"old 300\n\n" + checkpoint(log, 600, private=other.private), 403),
        "a damaged signature": (good[:-6] + b"AAAA=\n", 403),
        "an unknown log": (good.replace(ORIGIN.encode(), b"other.example"), 404),
        "a number with a zero": (good.replace(b"old 300", b"old 0300"), 400),
        "a negative number": (good.replace(b"old 300", b"old -1"), 400),
        "no old line": (good.split(b"\n", 1)[1], 400),
        "too many lines": (b"old 300\n" + (base64.b64encode(b"h" * 32) + b"\n") * 64 + b"\n" + checkpoint(log, 600), 400),
        "no base64": (b"old 300\n!!!\n\n" + checkpoint(log, 600), 400),
        "nothing": (b"", 400),
        "bytes": (bytes(range(256)), 400),
    }
    for name, (body, status) in cases.items():
        assert witness.add_checkpoint(body, NOW)[0] == status, name
    assert witness.add_checkpoint(good, NOW)[0] == 200
    fresh = Witness(tmp_path / "fresh", "w.example", {ORIGIN: log.vkey})
    assert fresh.add_checkpoint(b"old 0\n" + base64.b64encode(b"h" * 32) + b"\n\n" + checkpoint(log, 5), NOW)[0] == 422, (
        "a proof from nothing"
    )
    assert fresh.add_checkpoint(b"old 0\n\n" + checkpoint(log, 0, b"r" * 32), NOW)[0] == 422, "an empty tree has one root"


def test_every_signature_of_a_known_key_must_hold_and_others_are_passed_over(log: Log, tmp_path: Path) -> None:
    """c2sp.org/tlog-witness: 403 when "a signature line's key name and ID match a trusted key but the signature itself fails to verify"."""
    good = checkpoint(log, 100)
    body, line = good.partition(b"\n\n")[0] + b"\n\n", good.partition(b"\n\n")[2]
    raw = bytearray(base64.b64decode(line.split(b" ")[2]))
    raw[10] ^= 1
    damaged = "\u2014 ".encode() + ORIGIN.encode() + b" " + base64.b64encode(bytes(raw)) + b"\n"
    unknown = "\u2014 other.example AAAABBBB\n".encode() + "\u2014 ".encode() + ORIGIN.encode() + b" AAAABBBB\n"
    for number, (signatures, status) in enumerate(
        ((line + damaged, 403), (damaged + line, 403), (unknown, 403), (line + b"junk\n", 403), (line + b"\n", 403), (b"junk\n" + line, 403),
         (unknown + line, 200), (line + unknown, 200), (unknown * 8 + line, 200))
    ):  # fmt: skip
        witness = Witness(tmp_path / str(number), "w.example", {ORIGIN: log.vkey})
        answer = witness.add_checkpoint(b"old 0\n\n" + body + signatures, NOW)
        assert answer[0] == status, signatures
        if status == 200:
            kept = witness.checkpoint(hashlib.sha256(ORIGIN.encode()).hexdigest())
            assert kept is not None
            assert line in kept
            assert kept.endswith(answer[2])


def test_it_remembers_over_a_restart_and_two_processes_cosign_once(log: Log, tmp_path: Path) -> None:
    first = Witness(tmp_path, "w.example", {ORIGIN: log.vkey})
    keys = first.vkeys()
    assert (tmp_path / "witness.key").stat().st_mode & 0o777 == 0o600
    assert first.add_checkpoint(request(log, 0, 10), NOW)[0] == 200
    second = Witness(tmp_path, "w.example", {ORIGIN: log.vkey})
    assert second.vkeys() == keys
    answers: list[int] = []

    def submit(witness: Witness, size: int) -> None:
        answers.append(witness.add_checkpoint(request(log, 10, size), NOW)[0])

    threads = [threading.Thread(target=submit, args=((first, second)[number % 2], 20 + number)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] + [409] * 15


def certificates(folder: Path, authority: Authority, *processes: str) -> dict[str, Channel]:
    for process in processes:
        (folder / process).mkdir()
        hand_out(authority, process, folder / process, None)
    return {process: Channel(folder / process) for process in processes}


def test_the_server_and_the_client_speak_the_protocol(log: Log, tmp_path: Path) -> None:
    witness = Witness(tmp_path, "w.example", {ORIGIN: log.vkey})
    channels = certificates(tmp_path, Authority(b"a" * 32), "witness", "sealer", "worker")
    server = Listener(channels["witness"], 0, handler(witness))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def connect(process: str = "sealer") -> Connection:
        return Connection(channels[process], "witness", server.server_port, 2)

    def get(path: str) -> tuple[int, bytes]:
        with closing(connect("worker")) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    try:
        assert cosignatures(post(connect), checkpoint(log, 300), log.files.get, 0) is not None
        found = cosignatures(post(connect), checkpoint(log, 600), log.files.get, 17)
        assert found is not None, "it is told the size that the witness has, and tries again"
        assert found[1] == 600
        name = hashlib.sha256(ORIGIN.encode()).hexdigest()
        assert get(f"/{name}/checkpoint") == (200, checkpoint(log, 600) + found[0])
        assert get("/witness.vkey") == (200, witness.vkeys().encode())
        assert [get(path)[0] for path in ("/", "/nothing", "/" + "0" * 64 + "/checkpoint")] == [404, 404, 404]
        assert cosignatures(post(connect), checkpoint(log, 600, b"r" * 32), log.files.get, 600) is None
        assert post(lambda: connect("worker"))(request(log, 600, 600))[0] == 403, "only the sealer adds a checkpoint"
        assert post(connect)(request(log, 600, 600))[0] == 200
    finally:
        server.shutdown()
        server.server_close()
    assert cosignatures(post(connect), checkpoint(log, 600), log.files.get, 0) is None, "sealing goes on without a witness"


def test_mldsa_signatures_are_of_their_key_and_message() -> None:
    seed, public = crypto.mldsa44_generate()
    signature = crypto.mldsa44_sign(seed, b"message")
    assert (len(seed), len(public), len(signature)) == (32, 1312, 2420)
    assert crypto.mldsa44_public(seed) == public
    crypto.mldsa44_verify(public, signature, b"message")
    for key, blob, message in (
        (crypto.mldsa44_generate()[1], signature, b"message"),
        (public, signature, b"other"),
        (public, signature[:-1], b"message"),
        (b"", b"", b""),
    ):
        with pytest.raises(crypto.InvalidSignature):
            crypto.mldsa44_verify(key, blob, message)
