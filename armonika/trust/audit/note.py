"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint)."""

from __future__ import annotations

import base64
import hashlib

from armonika.trust import crypto

_ED25519 = b"\x01"


def key_id(name: str, public: bytes) -> bytes:
    """The first four bytes of SHA-256(name ‖ LF ‖ 0x01 ‖ public key)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def vkey(name: str, public: bytes) -> str:
    """The verifier key of a log: name+hex(key id)+base64(0x01 ‖ public key)."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def checkpoint(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint: origin, size, root, each on a line."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def sign(text: str, name: str, private: bytes) -> bytes:
    """The note: text, an empty line, and the signature line."""
    public = crypto.ed25519_public(private)
    signature = base64.b64encode(key_id(name, public) + crypto.ed25519_sign(private, text.encode())).decode()
    return f"{text}\n\u2014 {name} {signature}\n".encode()
