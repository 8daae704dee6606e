"""The journal of the keys: what is done with the keys' files alone, a line each beside the keyring, written before it is done.

Each line names the line before it and carries an HMAC-SHA-256 under a key that is derived from the log's: who could forge a line could forge the log. The
keyring keeps the newest line that it knows, and the audit log has an entry for each (`tell.py`), so that a line that is taken away is missed by one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from armonika.store.private_files import read_private, write_private
from armonika.trust import crypto

FILE = "journal.jsonl"
CEREMONY, RECOVERED, MOVED, CREDENTIALS, AUTHORITY, COPIED = ACTS = (
    "keys-ceremony", "keys-recovered", "keys-moved", "keys-credentials", "keys-authority", "keys-copied",
)  # fmt: skip
"""The log's names of what is written down here."""
BROKEN = "keys-journal-broken"
"""The log's name of a journal that is not whole."""
_PLACE = b"armonika-keys-journal/1"
_TIME = "%y%m%d%H%M%S"


@dataclass(frozen=True, slots=True)
class Line:
    """One act. `door`: whose credentials were written; `after`: the mark of the line before, empty for the first; `mark`: 64 hex digits that authenticate it."""

    at: datetime
    act: str
    door: str | None
    after: str
    mark: str

    @property
    def reference(self) -> str:
        """What the log calls it: eight letters of the mark, and the time in UTC to the second."""
        return f"{_letters(self.mark)}-{self.at.astimezone(UTC):{_TIME}}"


@dataclass(frozen=True, slots=True)
class Journal:
    """The lines that are authentic, oldest first, and what is wrong with the rest: marks of lines that are missing, digests of what is no line."""

    lines: tuple[Line, ...] = ()
    faults: tuple[str, ...] = ()


def moment(reference: str) -> datetime | None:
    """The time in a reference of `Line`; None for any other reference."""
    letters, _, digits = reference.partition("-")
    if len(letters) != 8 or len(digits) != 12:
        return None
    try:
        return datetime.strptime(digits, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def missing(held: Journal, entries: Mapping[str, str]) -> list[str]:
    """What the journal lacks, each once: its faults, and references of `entries` (reference to act, as the log has them) that no line has."""
    written = {line.reference for line in held.lines}
    gone = {one for one, act in entries.items() if act in ACTS and one not in written}
    # A line that its neighbour or the keyring names, and whose entry is there, is one.
    named = {one.partition("-")[0] for one in gone}
    return sorted({*gone, *(one for one in held.faults if _letters(one) not in named)})


def lacking(faults: Iterable[str]) -> str:
    """The reference of these faults together, the same for the same ones: eight letters and how many there are."""
    held = sorted(set(faults))
    return f"{_letters(crypto.sha256(chr(10).join(held).encode()).hex())}-{len(held)}"


def read(folder: Path, log_key: bytes, newest: str | None) -> Journal:
    """The journal in `folder`; `newest` is the mark that the keyring keeps. Raises KeyFileError for a file that is open to others."""
    path = folder / FILE
    lines: list[Line] = []
    faults: list[str] = []
    for raw in read_private(path).splitlines() if path.exists() else ():
        line = _line(raw, log_key)
        if line is None:
            faults.append(crypto.sha256(raw).hex())
            continue
        if line.after != (lines[-1].mark if lines else ""):
            faults.append(line.after or line.mark)
        lines.append(line)
    if newest and newest not in {line.mark for line in lines}:
        faults.append(newest)
    return Journal(tuple(lines), tuple(faults))


def append(folder: Path, log_key: bytes, newest: str | None, act: str, door: str | None = None) -> str:
    """Writes one line durably and returns its mark. The caller holds the folder (`keyring.alone`), and keeps the mark in the keyring."""
    path = folder / FILE
    held = read(folder, log_key, newest)
    last = held.lines[-1].mark if held.lines else ""
    content = {
        "act": act,
        # Of a file that lacks the line that the keyring knows, the next one still names that: what is missing stays to be seen.
        "after": newest if newest and newest in held.faults else last,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "door": door,
        # So that no clock, set back, makes a line that was there before.
        "nonce": crypto.random_bytes(8).hex(),
    }
    mark = _mark(log_key, content)
    before = read_private(path) if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    write_private(path, before + _text({**content, "mark": mark}) + b"\n")
    return mark


def _line(raw: bytes, log_key: bytes) -> Line | None:
    try:
        content = json.loads(raw)
        mark = content.pop("mark")
        if not crypto.constant_time_equal(mark.encode(), _mark(log_key, content).encode()):
            return None
        return Line(datetime.fromisoformat(content["at"]), content["act"], content["door"], content["after"], mark)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _mark(log_key: bytes, content: object) -> str:
    return crypto.hmac_sha256(crypto.hmac_sha256(log_key, _PLACE), _text(content)).hex()


def _text(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _letters(digits: str) -> str:
    return "".join(chr(ord("A") + int(digit, 16)) for digit in digits[:8])
