"""The register of what ended, outside the database: one signed line for each record and person, chained, only ever added to.

The sealer writes it within a second of an erasure. A restored copy replays it before it serves anything, so that nobody who was erased comes back.
Line: canonical JSON with `n`, `at`, `subject`, `record`, `compartment`, `epoch`, `entry` (the audit number), `prev` (SHA-256 of the line before) and
`sig` (Ed25519 by the log's key over the line without `sig`). The line of a whole person has `records` and `kept` in addition: how many records
ended with the erasure (each gets a line of its own, before or after), and how many the law keeps.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import psycopg

from armonika.trust import crypto

FILE = "ended.jsonl"
_PAGE = 1000


class RegisterBroken(Exception):
    """A line of the register is altered, missing or signed by another key; the message names it."""


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def lines(path: Path, public: bytes) -> Iterator[dict[str, Any]]:
    """Every line in order. A last line that a crash cut off is left out. Raises RegisterBroken; of a signature only at the end, so that nobody acts on a line
    before all are read: each signs the hash of the one before, and the signature of the last stands for them all. (Each one looked at for itself made a start
    wait 40 s for 100,000 lines.)"""
    for _, content in _checked(path, public):
        yield content


def _checked(path: Path, public: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The same with the bytes of each line."""
    before, last = "", None
    for _, raw, content, signature in _read(path):
        if content.get("prev") != before:
            raise _fault(path, public)
        before, last = crypto.sha256(raw.removesuffix(b"\n")).hex(), (content, signature)
        yield raw, content
    if last is not None and not _signed(public, *last):
        raise _fault(path, public)


def _read(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any], bytes]]:
    """Number, bytes, content and signature of each line, nothing of it checked but its form."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if raw == b"\n":
                continue
            try:
                content = json.loads(raw)
                signature = base64.b64decode(content.pop("sig"), validate=True)
            except (ValueError, KeyError, AttributeError, TypeError):
                if not raw.endswith(b"\n"):
                    return
                raise RegisterBroken(f"line {number} of {path} cannot be read") from None
            yield number, raw, content, signature


def _fault(path: Path, public: bytes) -> RegisterBroken:
    """What to say of the first line whose own signature does not hold or that does not follow the one before."""
    before = ""
    for number, raw, content, signature in _read(path):
        if not _signed(public, content, signature):
            return RegisterBroken(f"line {number} of {path} is altered, or signed by another key")
        if content.get("prev") != before:
            return RegisterBroken(f"before line {number} of {path} a line was taken out or put in")
        before = crypto.sha256(raw.removesuffix(b"\n")).hex()
    return RegisterBroken(f"{path} was changed while it was read")


def _signed(public: bytes, content: dict[str, Any], signature: bytes) -> bool:
    try:
        crypto.ed25519_verify(public, signature, _canonical(content))
    except crypto.InvalidSignature:
        return False
    return True


class Register:
    """The writer. One at a time: the sealer."""

    def __init__(self, connection: psycopg.Connection[Any], folder: Path, private: bytes) -> None:
        self._connection, self._path, self._private = connection, folder / FILE, private
        self._before = ""

    def load(self) -> int:
        """Checks what is there and finds its end; cuts off a line that a crash left unfinished. Returns the number of lines."""
        count = 0
        for raw, _ in _checked(self._path, crypto.ed25519_public(self._private)):
            count += 1
            if raw.endswith(b"\n"):
                self._before = crypto.sha256(raw.removesuffix(b"\n")).hex()
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.truncate(sum(len(raw) for raw in file if raw.endswith(b"\n")))
        return count

    def write(self) -> int:
        """Adds what ended since, durably, then says so to the database. Returns how many lines."""
        rows = self._connection.execute(
            "SELECT ended_no, at, subject, record, compartment, epoch, audit_id, records, kept FROM vault.unregistered(%s)",
            (_PAGE,),
        ).fetchall()
        if not rows:
            return 0
        out = b""
        for number, at, subject, record, compartment, epoch, entry, records, kept in rows:
            content: dict[str, Any] = {
                "v": 1, "n": number, "at": at.astimezone(UTC).isoformat(timespec="microseconds"), "subject": str(subject),
                "record": str(record) if record else None, "compartment": compartment, "epoch": epoch, "entry": entry, "prev": self._before,
            }  # fmt: skip
            if records is not None:
                content |= {"records": records, "kept": kept}
            signature = base64.b64encode(crypto.ed25519_sign(self._private, _canonical(content))).decode()
            line = _canonical(content | {"sig": signature})
            self._before = crypto.sha256(line).hex()
            out += line + b"\n"
        with self._path.open("ab") as file:
            file.write(out)
            file.flush()
            os.fsync(file.fileno())
        self._path.chmod(0o644)
        self._connection.execute("SELECT vault.mark_registered(%s::bigint[])", ([row[0] for row in rows],))
        return len(rows)
