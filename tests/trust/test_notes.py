"""Signed notes, checkpoints and cosignatures (c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature), byte for byte."""

from __future__ import annotations

import base64
import hashlib

from armonika.trust import crypto
from armonika.trust.audit import cosign, note

SEED = bytes(range(32))
PUBLIC = crypto.ed25519_public(SEED)
ROOT = b"r" * 32
TEXT = "log.example/a\n7\n" + base64.b64encode(ROOT).decode() + "\n"


def test_a_verifier_key_is_name_id_and_key() -> None:
    identity = hashlib.sha256(b"log.example/a\n\x01" + PUBLIC).digest()[:4]
    assert note.key_id("log.example/a", PUBLIC) == identity
    encoded = base64.b64encode(bytes([1]) + PUBLIC).decode()
    assert note.vkey("log.example/a", PUBLIC) == f"log.example/a+{identity.hex()}+{encoded}"


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    assert note.checkpoint("log.example/a", 7, ROOT) == TEXT
    body, _, signature = note.sign(TEXT, "log.example/a", SEED).decode().partition("\n\n")
    assert body + "\n" == TEXT
    mark, name, value = signature.split(" ")
    raw = base64.b64decode(value)
    assert (mark, name, signature[-1]) == ("\u2014", "log.example/a", "\n")
    assert raw[:4] == note.key_id("log.example/a", PUBLIC)
    crypto.ed25519_verify(PUBLIC, raw[4:], TEXT.encode())


def test_cosignatures_are_of_the_specified_messages() -> None:
    assert (bytes([4]), bytes([6])) == (cosign.ED25519, cosign.MLDSA44)
    assert cosign.key_id("w", cosign.ED25519, PUBLIC) == hashlib.sha256(b"w\n\x04" + PUBLIC).digest()[:4]
    assert (
        cosign.vkey("w", cosign.MLDSA44, b"key")
        == f"w+{hashlib.sha256(b'w' + bytes([10, 6]) + b'key').hexdigest()[:8]}+{base64.b64encode(bytes([6]) + b'key').decode()}"
    )
    assert cosign.ed25519_message(b"body\n", 12) == b"cosignature/v1\ntime 12\nbody\n"
    message = b"subtree/v1\n\x00\x01w" + (12).to_bytes(8, "big") + b"\x0dlog.example/a" + bytes(8) + (7).to_bytes(8, "big") + ROOT
    assert cosign.mldsa44_message("w", "log.example/a", 7, ROOT, 12) == message
    seed = bytes(range(32, 64))
    first, second, rest = cosign.lines("w", SEED, seed, TEXT.encode(), "log.example/a", 7, ROOT, 12).split(b"\n")
    assert rest == b""
    for line, kind, public in ((first, cosign.ED25519, PUBLIC), (second, cosign.MLDSA44, crypto.mldsa44_public(seed))):
        mark, name, value = line.decode().split(" ")
        raw = base64.b64decode(value)
        assert (mark, name) == ("\u2014", "w")
        assert raw[:4] == cosign.key_id("w", kind, public)
        assert raw[4:12] == (12).to_bytes(8, "big")
        if kind == cosign.ED25519:
            crypto.ed25519_verify(public, raw[12:], cosign.ed25519_message(TEXT.encode(), 12))
        else:
            crypto.mldsa44_verify(public, raw[12:], message)
