"""Verifies a proof file offline: the entry is in the log, the log signed it, and witnesses saw the same log.

Independent of what writes proofs: nothing is shared but the primitives of signatures. Specifications: c2sp.org/tlog-proof, tlog-checkpoint,
signed-note, tlog-cosignature; RFC 9162 §2.1.3.2.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armonika.trust import crypto
from armonika.trust.audit.files import MOST_VKEYS, read_file

_MAGIC = "c2sp.org/tlog-proof@v1"
MAX_CHARACTERS = 200_000


class ProofRefused(Exception):
    """The proof proves nothing; the message says what is wrong."""


class NoWitness(Exception):
    """A file of witness keys holds none that can be used; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves. `cosigned` are witnesses with the POSIX second of their signature."""

    origin: str
    index: int
    size: int
    entry: dict[str, Any]
    cosigned: list[tuple[str, int]]


def witness_keys(path: Path | None) -> list[str]:
    """The verifier keys of a file, a line each. Raises OSError, UnicodeError and NoWitness: a file without a key would demand nothing."""
    if path is None:
        return []
    keys = [line for line in read_file(path, MOST_VKEYS).decode().split("\n") if line.strip()]
    try:
        for key in keys:
            _vkey(key, b"\x04\x06")
    except (ValueError, ProofRefused):
        raise NoWitness(f"{path} holds a line that is no verifier key of a witness") from None
    if not keys:
        raise NoWitness(f"{path} holds no verifier key of a witness")
    return keys


def verify_proof(text: str, log_vkey: str, witness_vkeys: Sequence[str] = ()) -> Proven:
    """Raises ProofRefused unless everything holds and every named witness has cosigned."""
    try:
        return _verify(text, log_vkey, witness_vkeys)
    except crypto.Unauthentic:
        raise ProofRefused("a signature is not of its key") from None
    except (ValueError, IndexError, TypeError, UnicodeError, RecursionError):
        raise ProofRefused("this is no proof file, or it is damaged") from None


def _verify(text: str, log_vkey: str, witness_vkeys: Sequence[str]) -> Proven:
    if len(text) > MAX_CHARACTERS or any(letter < " " and letter != "\n" for letter in text):
        raise ProofRefused("this is no proof file, or it is damaged")
    head, _, checkpoint = text.partition("\n\n")
    rows = head.split("\n")
    if rows[0] != _MAGIC or not rows[1].startswith("extra ") or not rows[2].startswith("index "):
        raise ProofRefused("this is no proof file of this log")
    content, index = base64.b64decode(rows[1][6:], validate=True), _decimal(rows[2][6:])
    path = [_hash(row) for row in rows[3:]]
    body, separator, signatures = checkpoint.partition("\n\n")
    body += "\n"
    parts = body.split("\n")
    if not separator or len(parts) < 4 or not signatures.endswith("\n"):
        raise ProofRefused("the checkpoint is cut off")
    origin, size, root = parts[0], _decimal(parts[1]), _hash(parts[2])
    lines = signatures[:-1].split("\n")
    name, kind, public = _vkey(log_vkey, b"\x01")
    if origin != name:
        raise ProofRefused("the checkpoint is of another log")
    if not _signed(lines, name, kind, public, lambda blob: crypto.ed25519_verify(public, blob, body.encode())):
        raise ProofRefused("the log has not signed the checkpoint")
    cosigned = cosignatures(body, lines, origin, size, root, witness_vkeys)
    _included(hashlib.sha256(b"\x00" + content).digest(), index, size, path, root)
    entry = json.loads(content)
    if not isinstance(entry, dict):
        raise ProofRefused("the entry is no entry of this log")
    return Proven(origin, index, size, entry, cosigned)


def cosignatures(
    body: str, lines: list[str], origin: str, size: int, root: bytes, witness_vkeys: Sequence[str]
) -> list[tuple[str, int]]:
    """Names of the witnesses with the POSIX second of their signature of a checkpoint (c2sp.org/tlog-cosignature). Raises ProofRefused unless every
    named one has signed."""
    cosigned = []
    for wanted in witness_vkeys:
        witness, mark, key = _vkey(wanted, b"\x04\x06")
        at = [0]

        def check(blob: bytes, mark: bytes = mark, key: bytes = key, witness: str = witness, at: list[int] = at) -> None:
            at[0] = int.from_bytes(blob[:8], "big")
            if not 0 < at[0] < 1 << 63:
                raise ProofRefused(f"the time of the witness {witness} is none")
            if mark == b"\x04":
                crypto.ed25519_verify(key, blob[8:], b"cosignature/v1\ntime " + str(at[0]).encode() + b"\n" + body.encode())
            else:
                names = b"".join(
                    (bytes((len(witness.encode()),)), witness.encode(), blob[:8], bytes((len(origin.encode()),)), origin.encode())
                )
                crypto.mldsa44_verify(key, blob[8:], b"subtree/v1\n\0" + names + bytes(8) + size.to_bytes(8, "big") + root)

        if not _signed(lines, witness, mark, key, check):
            raise ProofRefused(f"the witness {witness} has not cosigned the checkpoint")
        cosigned.append((witness, at[0]))
    return cosigned


def _signed(lines: list[str], name: str, kind: bytes, public: bytes, check: Any) -> bool:
    """Whether there is a signature of this key. Each one that there is must hold (c2sp.org/signed-note): `check` raises otherwise."""
    identity, signed = hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4], False
    for line in lines:
        mark, signer, value = line.split(" ")
        blob = base64.b64decode(value, validate=True)
        if mark != "\u2014" or not signer or len(blob) < 5:
            raise ProofRefused("a signature line of the checkpoint cannot be read")
        if signer == name and blob[:4] == identity:
            check(blob[4:])
            signed = True
    return signed


def _vkey(text: str, kinds: bytes) -> tuple[str, bytes, bytes]:
    name, identity, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if (
        raw[:1] not in (bytes((kind,)) for kind in kinds)
        or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != identity
    ):
        raise ProofRefused("a verifier key is damaged, or of another kind")
    return name, raw[:1], raw[1:]


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or str(int(text[:20])) != text or int(text) >= 1 << 63:
        raise ProofRefused("a number is not canonical")
    return int(text)


def _hash(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != 32 or base64.b64encode(raw).decode() != text:
        raise ProofRefused("a hash is damaged")
    return raw


def _included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    if not 0 <= index < size:
        raise ProofRefused("the index is beyond the tree")
    first, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofRefused("the proof is too long")
        if first % 2 or first == last:
            value = hashlib.sha256(b"\x01" + sibling + value).digest()
            while first and not first % 2:
                first, last = first // 2, last // 2
        else:
            value = hashlib.sha256(b"\x01" + value + sibling).digest()
        first, last = first // 2, last // 2
    if last or value != root:
        raise ProofRefused("the entry is not in this log at this place")
