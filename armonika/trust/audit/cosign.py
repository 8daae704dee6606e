"""Cosignatures of a witness (C2SP tlog-cosignature): Ed25519 `cosignature/v1`, and ML-DSA-44 `subtree/v1` beside it, as advised for new logs."""

from __future__ import annotations

import base64
import hashlib

from armonika.trust import crypto

ED25519, MLDSA44 = b"\x04", b"\x06"


def key_id(name: str, kind: bytes, public: bytes) -> bytes:
    """SHA-256(name ‖ LF ‖ kind ‖ public key), the first four bytes."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def vkey(name: str, kind: bytes, public: bytes) -> str:
    """The verifier key: name+hex(key id)+base64(kind ‖ public key)."""
    return f"{name}+{key_id(name, kind, public).hex()}+{base64.b64encode(kind + public).decode()}"


def ed25519_message(text: bytes, at: int) -> bytes:
    """What an Ed25519 cosigner signs: header, time, and the whole body of the checkpoint."""
    return b"cosignature/v1\ntime " + str(at).encode() + b"\n" + text


def mldsa44_message(name: str, origin: str, size: int, root: bytes, at: int) -> bytes:
    """What an ML-DSA-44 cosigner signs: the structure `cosigned_message` for the whole tree."""
    return (
        b"subtree/v1\n\0" + bytes((len(name.encode()),)) + name.encode() + at.to_bytes(8, "big") + bytes((len(origin.encode()),)) + origin.encode()
        + (0).to_bytes(8, "big") + size.to_bytes(8, "big") + root
    )  # fmt: skip


def lines(name: str, ed25519: bytes, mldsa44: bytes, text: bytes, origin: str, size: int, root: bytes, at: int) -> bytes:
    """Both signature lines for the checkpoint with this body. `ed25519` and `mldsa44` are private seeds, `at` POSIX seconds."""
    signed = (
        (ED25519, crypto.ed25519_public(ed25519), crypto.ed25519_sign(ed25519, ed25519_message(text, at))),
        (MLDSA44, crypto.mldsa44_public(mldsa44), crypto.mldsa44_sign(mldsa44, mldsa44_message(name, origin, size, root, at))),
    )
    return b"".join(
        f"\u2014 {name} {base64.b64encode(key_id(name, kind, public) + at.to_bytes(8, 'big') + signature).decode()}\n".encode()
        for kind, public, signature in signed
    )
