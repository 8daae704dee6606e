"""Verifies an audit log from its folder, and against the database when one is named. Independent: nothing here comes from the writer but the
signature primitive. It names the first entry that is altered, missing, inserted, reordered or cut off."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from armonika.trust import crypto
from armonika.trust.audit.files import MOST_BUNDLE, MOST_NOTE, MOST_TILE, read_beneath, read_file

_COLUMNS = [
    "audit_id",
    "at",
    "operation",
    "outcome",
    "door",
    "actor",
    "actor_role",
    "subject",
    "record",
    "dataset",
    "fields",
    "purpose",
    "reason",
    "reference",
    "policy",
]


class Broken(Exception):
    """The log is not what its checkpoint says; the message names the first place."""


@dataclass
class Report:
    """What was looked at, and what was found."""

    size: int = 0
    root: str = ""
    entries: int = 0
    database_rows: int = 0
    unsealed: int = 0
    findings: list[str] = field(default_factory=list)


def tile_name(number: int) -> str:
    """The path of tile number N in groups of three digits (c2sp.org/tlog-tiles)."""
    text = f"{number:03d}" if number < 1000 else ""
    parts: list[str] = []
    rest = number
    while True:
        parts.insert(0, f"{rest % 1000:03d}")
        rest //= 1000
        if rest == 0:
            break
    return text or "/".join([f"x{part}" for part in parts[:-1]] + parts[-1:])


def read_checkpoint(raw: bytes, vkey: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint whose signature by `vkey` holds. Raises Broken."""
    try:
        name, identity, key = verifier_key(vkey)
        text = raw.decode()
        body, _, signatures = text.partition("\n\n")
        origin, size_text, root_text = (body + "\n").split("\n")[:3]
        root = base64.b64decode(root_text, validate=True)
        if any(letter < " " and letter != "\n" for letter in text):
            raise ValueError
        size = int(size_text) if size_text.isascii() and size_text.isdigit() else -1
        if str(size) != size_text or not 0 <= size < 1 << 63 or len(root) != 32:
            raise Broken("the checkpoint has no canonical size or root")
        if not signatures.endswith("\n"):
            raise Broken("the checkpoint is cut off")
        signed = False
        for line in signatures[:-1].split("\n"):
            mark, signer, value = line.split(" ")
            blob = base64.b64decode(value, validate=True)
            if mark != "\u2014" or not signer or len(blob) < 5:
                raise Broken("a signature line of the checkpoint cannot be read")
            # Each one of the known key must hold: a note with one that does not is malformed (c2sp.org/signed-note).
            if signer == name and blob[:4].hex() == identity:
                crypto.ed25519_verify(key[1:], blob[4:], (body + "\n").encode())
                signed = True
        if signed:
            if origin != name:
                raise Broken("the checkpoint is of another log")
            return origin, size, root
    except crypto.Unauthentic:
        raise Broken("the checkpoint's signature is not the log's") from None
    except (ValueError, UnicodeDecodeError, IndexError):
        raise Broken("the checkpoint cannot be read") from None
    raise Broken("the checkpoint carries no signature of the log")


def verifier_key(text: str) -> tuple[str, str, bytes]:
    """Name, key id in hex, and type with public key of a log's Ed25519 verifier key. Raises Broken."""
    try:
        name, identity, encoded = text.strip().split("+", 2)
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Broken("log.vkey is no Ed25519 verifier key") from None
    if key[:1] != b"\x01" or len(key) != 33 or hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() != identity:
        raise Broken("log.vkey is no Ed25519 verifier key")
    return name, identity, key


def own_vkey(folder: Path, public: bytes) -> str:
    """The verifier key of the log in `folder` when its key is `public`, whatever `log.vkey` says: who can write the folder can write that file too."""
    try:
        name = read_beneath(folder, "checkpoint", MOST_NOTE).decode().partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        name = "unknown"
    identity = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex()
    return f"{name}+{identity}+{base64.b64encode(bytes((1,)) + public).decode()}"


def last_cosigned(folder: Path) -> bytes | None:
    """What the witness over `folder` cosigned last, None where it is on another machine: a log that was put back together with its database is behind it.
    To be read before the log's own checkpoint, which is never older. Raises OSError."""
    for path in sorted(folder.glob("*.checkpoint")):
        return read_file(path, MOST_NOTE)
    return None


def entries(folder: Path, size: int, first: int = 0) -> Iterator[bytes]:
    """Every entry in order, from the bundles, beginning with number `first`, a multiple of 256. Raises Broken naming the first that is missing."""
    for number in range(first // 256, (size + 255) // 256):
        width = min(256, size - number * 256)
        raw, whole = _bundle(folder, number, width)
        at = 0
        for position in range(width):
            length = int.from_bytes(raw[at : at + 2], "big")
            if at + 2 + length > len(raw) or length == 0:
                raise Broken(f"entry {number * 256 + position} is cut off in its bundle")
            yield raw[at + 2 : at + 2 + length]
            at += 2 + length
        if at != len(raw) and not whole:
            raise Broken(f"after entry {number * 256 + width - 1} its bundle holds more than it should")


def _bundle(folder: Path, number: int, width: int) -> tuple[bytes, bool]:
    """The bytes of a bundle of `width` entries, and whether they are those of the full one: a partial one may go when the full one is there."""
    name = f"tile/entries/{tile_name(number)}"
    path = name + (f".p/{width}" if width < 256 else "")
    try:
        return read_beneath(folder, path, MOST_BUNDLE), False
    except OSError as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        if width < 256:
            with contextlib.suppress(OSError):
                return read_beneath(folder, name, MOST_BUNDLE), True
    raise Broken(f"entry {number * 256} is missing: its bundle {path} {why}")


def merge(stack: list[tuple[int, bytes]], value: bytes) -> None:
    """Adds a leaf hash to the whole subtrees so far (RFC 9162 §2.1.2)."""
    height = 0
    while stack and stack[-1][0] == height:
        value = hashlib.sha256(b"\x01" + stack.pop()[1] + value).digest()
        height += 1
    stack.append((height, value))


def fold(stack: list[tuple[int, bytes]]) -> bytes:
    """The root over the whole subtrees (RFC 9162 §2.1.1)."""
    if not stack:
        return hashlib.sha256(b"").digest()
    value = stack[-1][1]
    for _, left in reversed(stack[:-1]):
        value = hashlib.sha256(b"\x01" + left + value).digest()
    return value


def stored_in(fetch: Callable[[str], bytes | None], size: int) -> Callable[[int, int], bytes | None]:
    """Hash number `index` of a tile level, as the tiles of a log of `size` have it; `fetch` gives the bytes of a path below the log. None of a tile that
    is missing or holds more or less than its hashes."""
    held: dict[int, tuple[int, bytes | None]] = {}

    def stored(level: int, index: int) -> bytes | None:
        tile, at = divmod(index, 256)
        if level not in held or held[level][0] != tile:
            width = min(256, (size >> 8 * level) - tile * 256)
            name = f"tile/{level}/{tile_name(tile)}"
            content = fetch(name + (f".p/{width}" if width < 256 else ""))
            if content is None and width < 256:
                # A log may remove a partial tile when the full one is there (c2sp.org/tlog-tiles), between the checkpoint and this request too.
                whole = fetch(name)
                content = whole[: width * 32] if whole is not None and len(whole) == 256 * 32 else None
            held[level] = tile, content if content is not None and len(content) == width * 32 else None
        content = held[level][1]
        return None if content is None else content[at * 32 : at * 32 + 32]

    return stored


def files(folder: Path) -> Callable[[str], bytes | None]:
    """The files of an exported folder."""

    def fetch(name: str) -> bytes | None:
        try:
            return read_beneath(folder, name, MOST_TILE)
        except OSError:
            return None

    return fetch


def stack_at(stored: Callable[[int, int], bytes | None], first: int) -> list[tuple[int, bytes]]:
    """The whole subtrees of the first `first` leaves (a multiple of 256) from tiles: `stored(level, index)` is one hash of them. What comes of it is
    believed only when a signed root does. Raises Broken when a tile is not there."""
    stack = []
    for height in reversed(range(first.bit_length())):
        if not first >> height & 1:
            continue
        level, inside = divmod(height, 8)
        begin = ((first >> height) - 1) << inside
        hashes = [stored(level, at) for at in range(begin, begin + (1 << inside))]
        if None in hashes:
            raise Broken(f"a tile of level {level} before entry {first} is missing or cut off")
        while len(hashes) > 1:
            hashes = [
                hashlib.sha256(b"\x01" + (hashes[n] or b"") + (hashes[n + 1] or b"")).digest() for n in range(0, len(hashes), 2)
            ]
        stack.append((height, hashes[0] or b""))
    return stack


def database_entry(row: dict[str, Any]) -> bytes:
    """The bytes that a database row should have as a leaf; written apart from the sealer's own encoder."""
    made: dict[str, Any] = {"v": 1}
    for column in _COLUMNS:
        value = row[column]
        if value is None:
            continue
        if column == "at" and not isinstance(value, str):
            moment = value.astimezone(UTC)
            value = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        made[column] = [str(name) for name in value] if column == "fields" else value if isinstance(value, int) else str(value)
    return json.dumps(dict(sorted(made.items())), separators=(",", ":"), ensure_ascii=False).encode()


def verify(folder: Path, vkey: str, rows: Callable[[int, int], list[dict[str, Any]]] | None = None, kept: bytes | None = None,
           progress: Callable[[int, int], None] | None = None, *, from_kept: bool = False, witnessed: bytes | None = None,
           beyond: Callable[[int], str | None] | None = None) -> Report:  # fmt: skip
    """Recomputes the log. `rows(from_leaf, count)` gives database rows with their leaf_no and leaf_hash; `kept` and `witnessed` are older checkpoints that
    this log must extend. With `from_kept` nothing before `kept` is read: the tiles must still make its root, and from there on everything is recomputed.
    `beyond(size)` names what stands in the database and not in the log. Findings are in the report, the first one first. Raises OSError for
    files that this user may not read, and what `rows` and `beyond` raise."""
    report = Report()
    try:
        size, root = _signed(folder, vkey, report)
        olds = older(kept, witnessed, vkey)
        for old_size, _, whose in olds:
            if old_size > size:
                raise Broken(
                    f"truncated: {whose} has {old_size} entries, this log {size}; entry {size} is the first that is gone"
                )
        first = olds[0][0] // 256 * 256 if kept is not None and from_kept else 0
        stack = _recompute(folder, size, first, olds, rows, report, progress)
        fetch = files(folder)
        upper(fetch, size, first)
        if fold(stack) != root:
            raise Broken("the entries do not make the root of the checkpoint: entries and tiles were altered together")
        if rows is not None:
            report.unsealed = len(rows(size, 1000))
        if beyond is not None and (found := beyond(size)) is not None:
            raise Broken(found)
    except Broken as broken:
        report.findings.append(str(broken))
    return report


def _signed(folder: Path, vkey: str, report: Report) -> tuple[int, bytes]:
    try:
        raw = read_beneath(folder, "checkpoint", MOST_NOTE)
    except OSError as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise Broken(f"{folder / 'checkpoint'} {why}") from None
    _, size, root = read_checkpoint(raw, vkey)
    report.size, report.root = size, root.hex()
    return size, root


def older(kept: bytes | None, witnessed: bytes | None, vkey: str) -> list[tuple[int, bytes, str]]:
    """Size, root and name of each older checkpoint, the kept one first. Raises Broken, naming whose it is."""
    named = ((kept, "the kept checkpoint"), (witnessed, "the checkpoint that the witness cosigned"))
    olds = []
    for raw, whose in named:
        try:
            olds += [(*read_checkpoint(raw, vkey)[1:], whose)] if raw is not None else []
        except Broken as broken:
            raise Broken(f"{whose}: {broken}") from None
    return olds


def makes(folder: Path, size: int, root: bytes, first: int) -> None:
    """Raises Broken unless the entries of a folder from `first` on, a multiple of 256, and the tiles before them make `root`."""
    if fold(_recompute(folder, size, first, (), None, Report(), None)) != root:
        raise Broken("the entries do not make the root of the checkpoint: entries and tiles were altered together")


def extends(olds: Sequence[tuple[int, bytes, str]], index: int, stack: list[tuple[int, bytes]]) -> None:
    """Raises Broken when one of the older checkpoints had `index` entries and another root than these."""
    for size, root, whose in olds:
        if size == index and fold(stack) != root:
            raise Broken(f"forked: the first {size} entries are not those of {whose}")


def _recompute(folder: Path, size: int, first: int, olds: Sequence[tuple[int, bytes, str]], rows: Callable[[int, int], list[dict[str, Any]]] | None,
               report: Report, progress: Callable[[int, int], None] | None) -> list[tuple[int, bytes]]:  # fmt: skip
    """The whole subtrees over every entry, each compared with its tile and its row."""
    hash_of = stored_in(files(folder), size)
    stack = stack_at(hash_of, first)
    held: dict[Any, list[dict[str, Any]]] = {}
    for index, content in enumerate(entries(folder, size, first), start=first):
        leaf = hashlib.sha256(b"\x00" + content).digest()
        extends(olds, index, stack)
        stored = hash_of(0, index)
        if stored is not None and stored != leaf:
            raise Broken(f"entry {index} (audit {_number(content)}) is altered: its hash is not the one in the tiles")
        if stored is None:
            raise Broken(f"entry {index}: its tile is missing or of a wrong size")
        if rows is not None:
            if (index - first) % 1000 == 0:
                held = {}
                for row in rows(index, 1000):
                    held.setdefault(row["leaf_no"], []).append(row)
            _compare(index, content, leaf, held.get(index, []))
            report.database_rows += 1
        merge(stack, leaf)
        report.entries += 1
        if progress and index % 1000 == 0:
            progress(index, size)
    extends(olds, size, stack)
    return stack


def upper(fetch: Callable[[str], bytes | None], size: int, first: int) -> None:
    """Each hash above the leaves, from entry `first` on, is that of the full tile below it: proofs are made from them. Raises Broken."""
    level = 1
    while size >> 8 * level:
        above, below = stored_in(fetch, size), stored_in(fetch, size)
        for index in range(first >> 8 * level, size >> 8 * level):
            hashes = [below(level - 1, index * 256 + at) or b"" for at in range(256)]
            while len(hashes) > 1:
                hashes = [hashlib.sha256(b"\x01" + hashes[n] + hashes[n + 1]).digest() for n in range(0, len(hashes), 2)]
            if above(level, index) != hashes[0]:
                begin = index << 8 * level
                raise Broken(
                    f"tile {level}/{tile_name(index // 256)} does not hold the hash of tile {level - 1}/{tile_name(index)}: "
                    f"one of them is altered, missing or cut off (entries {begin} to {begin + (1 << 8 * level) - 1})"
                )
        level += 1


def _number(content: bytes) -> str:
    try:
        number = json.loads(content).get("audit_id")
    except (ValueError, AttributeError, RecursionError):
        return "?"
    # A text could say anything to a terminal.
    return str(number) if type(number) is int else "?"


def _compare(index: int, content: bytes, leaf: bytes, found: Sequence[dict[str, Any]]) -> None:
    if not found:
        raise Broken(f"entry {index} (audit {_number(content)}) is missing in the database: its leaf row is gone")
    if len(found) > 1:
        raise Broken(f"entry {index} (audit {_number(content)}) stands {len(found)} times in the database: a row was put in")
    row = found[0]
    if row["audit_id"] is None or row["at"] is None:
        raise Broken(f"entry {index} (audit {_number(content)}) is missing in the database: its audit row was deleted")
    if str(row["audit_id"]) != _number(content):
        raise Broken(
            f"entry {index} is audit {_number(content)} in the log and audit {row['audit_id']} in the database: reordered or inserted"
        )
    if row["leaf_hash"] is None or bytes(row["leaf_hash"]) != leaf:
        raise Broken(f"entry {index} (audit {_number(content)}): the database holds another leaf hash")
    if database_entry(row) != content:
        raise Broken(f"entry {index} (audit {_number(content)}) is altered in the database")
