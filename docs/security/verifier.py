"""Verifies a log of Armonika, a proof file or a certificate of an erasure, with nothing of Armonika: written from audit-log.md beside it, which says what each
byte is. Needs Python 3.11 and `cryptography` (50 or newer). Exit status 0: it holds; 1: it does not, with the reason on standard error.
"""

import argparse
import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

Key = tuple[str, bytes, bytes, bytes]
LOG, ED25519, MLDSA44 = b"\x01", b"\x04", b"\x06"
WIDTH = 256


def need(holds: object, words: str) -> None:
    if not holds:
        raise SystemExit(f"It does not hold: {words}.")


def keys(path: Path | None) -> list[Key]:
    """The verifier keys of a file: name, key id, kind, public key."""
    found = []
    for line in path.read_text().splitlines() if path else ():
        name, identity, encoded = line.split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        need(hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == identity, f"the key {name} has another id")
        found.append((name, bytes.fromhex(identity), raw[:1], raw[1:]))
    return found


def checkpoint(text: str, log: Key, witnesses: list[Key]) -> tuple[int, bytes]:
    """Size and root, when the log and every named witness have signed them."""
    body, _, lines = text.partition("\n\n")
    body += "\n"
    origin, size, root, *more = body.split("\n")
    need(origin == log[0] and more == [""], "the checkpoint is of another log, or has more lines")
    signatures = [(name, base64.b64decode(blob)) for _, name, blob in (line.split(" ") for line in lines.splitlines())]
    for name, identity, kind, public in (log, *witnesses):
        own = [blob[4:] for signer, blob in signatures if signer == name and blob[:4] == identity]
        need(own, f"{name} has not signed the checkpoint with the key {identity.hex()}")
        for blob in own:
            at, rest = blob[:8], blob[8:]
            if kind == LOG:
                Ed25519PublicKey.from_public_bytes(public).verify(blob, body.encode())
            elif kind == ED25519:
                said = f"cosignature/v1\ntime {int.from_bytes(at)}\n{body}"
                Ed25519PublicKey.from_public_bytes(public).verify(rest, said.encode())
            else:
                need(kind == MLDSA44, f"the key {identity.hex()} is of no kind that is known")
                names = bytes([len(name)]) + name.encode() + at + bytes([len(origin)]) + origin.encode()
                said_ = b"subtree/v1\n\0" + names + bytes(8) + int(size).to_bytes(8) + base64.b64decode(root)
                MLDSA44PublicKey.from_public_bytes(public).verify(rest, said_)
    return int(size), base64.b64decode(root)


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def tree(hashes: list[bytes]) -> bytes:
    """The root of RFC 6962 over leaf hashes, or over the roots of whole subtrees of one size."""
    while len(hashes) > 1:
        odd = hashes[len(hashes) & ~1 :]
        hashes = [node(*hashes[at : at + 2]) for at in range(0, len(hashes) - 1, 2)] + odd
    return hashes[0] if hashes else hashlib.sha256().digest()


def tile(folder: Path, kind: str, number: int, width: int) -> bytes:
    """A tile or bundle: the full one, or the partial one of this width."""
    name, rest = f"{number % 1000:03}", number // 1000
    while rest:
        name, rest = f"x{rest % 1000:03}/{name}", rest // 1000
    full = folder / "tile" / kind / name
    return (full if full.exists() else full.with_name(f"{full.name}.p") / str(width)).read_bytes()


def pieces(count: int) -> Iterator[tuple[int, int]]:
    """(number, width) of the tiles that hold `count` hashes."""
    yield from ((number, min(WIDTH, count - number * WIDTH)) for number in range(-(-count // WIDTH)))


def folder(path: Path, log: Key, witnesses: list[Key]) -> str:
    size, root = checkpoint((path / "checkpoint").read_text(), log, witnesses)
    level, hashes = 0, list[bytes]()
    for number, width in pieces(size):
        bundle, at = tile(path, "entries", number, width), 0
        for _ in range(width):
            length = int.from_bytes(bundle[at : at + 2])
            entry = bundle[at + 2 : at + 2 + length]
            at += 2 + length
            need(canonical(json.loads(entry)) == entry, f"entry {len(hashes)} is not canonical")
            hashes.append(leaf(entry))
    need(tree(hashes) == root, "the entries do not make the root that was signed")
    while hashes:
        for number, width in pieces(len(hashes)):
            own = b"".join(hashes[number * WIDTH :][:width])
            need(tile(path, str(level), number, width)[: 32 * width] == own, f"tile {number} of level {level} is another")
        hashes = [tree(hashes[at : at + WIDTH]) for at in range(0, len(hashes) - WIDTH + 1, WIDTH)]
        level += 1
    before, count = "", 0
    for raw in (path / "ended.jsonl").read_bytes().splitlines() if (path / "ended.jsonl").exists() else ():
        line = json.loads(raw)
        signed(line, log)
        need(line["prev"] == before, f"line {line['n']} of the register does not follow the one before")
        before, count = hashlib.sha256(raw).hexdigest(), count + 1
    return f"{size} entries, {count} lines of the register"


def canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed(line: dict[str, Any], log: Key) -> None:
    """Whether a line of the register is signed by the log."""
    plain = {name: value for name, value in line.items() if name != "sig"}
    Ed25519PublicKey.from_public_bytes(log[3]).verify(base64.b64decode(line["sig"]), canonical(plain))


def proof(text: str, log: Key, witnesses: list[Key]) -> dict[str, Any]:
    """The entry that a proof file proves."""
    head, _, note = text.partition("\n\n")
    magic, extra, place, *path = head.split("\n")
    need(magic == "c2sp.org/tlog-proof@v1" and extra[:6] == "extra " and place[:6] == "index ", "it is no proof file")
    size, root = checkpoint(note, log, witnesses)
    entry, index = base64.b64decode(extra[6:]), int(place[6:])
    need(0 <= index < size, "the index is beyond the tree")
    last, value = size - 1, leaf(entry)
    for sibling in map(base64.b64decode, path):  # RFC 9162 §2.1.3.2
        need(last, "the path is too long")
        if index & 1 or index == last:
            value = node(sibling, value)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            value = node(value, sibling)
        index, last = index >> 1, last >> 1
    need(not last and value == root, "the entry is not in the log at this place")
    return dict(json.loads(entry))


def certificate(text: str, log: Key, witnesses: list[Key]) -> str:
    content = json.loads(text)
    entry, lines, subject = proof(content["proof"], log, witnesses), content["register"], content["subject"]
    need(
        entry["operation"] == "erase" and entry["outcome"] == "granted" and entry.get("subject") == subject,
        "the entry is another",
    )
    for line in lines:
        signed(line, log)
        need(line["subject"] == subject and line["entry"] == entry["audit_id"], "a line is of another erasure")
    need(len({line["n"] for line in lines}) == len(lines), "a line stands in it twice")
    records = {line["record"] for line in lines if line["record"]}
    person = [line for line in lines if not line["record"]]
    alone = entry.get("record")
    need(records == {alone} if alone else person, "it lacks the line of the person, or of the record that the entry names")
    need(all(line.get("records", len(records)) == len(records) for line in person), "it does not name every record")
    return f"{subject}: {'erased' if person else 'one record ended'}, the keys of {len(records)} records"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Verifies a log, a proof or a certificate of an erasure with nothing of Armonika."
    )
    parser.add_argument("what", choices=("folder", "proof", "certificate"), help="what PATH is")
    parser.add_argument("path", type=Path)
    parser.add_argument("--vkey", type=Path, required=True, help="log.vkey, from where you trust it")
    parser.add_argument("--witness", type=Path, help="witness.vkey: every key in it must have cosigned")
    given = parser.parse_args()
    (log, *_), witnesses = keys(given.vkey), keys(given.witness)
    try:
        if given.what == "folder":
            print(f"It holds: {folder(given.path, log, witnesses)}.")
        elif given.what == "proof":
            print(f"It holds: {canonical(proof(given.path.read_text(), log, witnesses)).decode()}")
        else:
            print(f"It holds: {certificate(given.path.read_text(), log, witnesses)}.")
    except InvalidSignature:
        need(False, "a signature is not of its key")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        need(False, f"it cannot be read ({type(error).__name__}: {error})")


if __name__ == "__main__":
    main()
