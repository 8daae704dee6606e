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
    """Every line in order, checked. A last line that a crash cut off is left out. Raises RegisterBroken."""
    if not path.exists():
        return
    before = ""
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not raw:
            continue
        try:
            content = json.loads(raw)
            signature = base64.b64decode(content.pop("sig"), validate=True)
        except (ValueError, KeyError, AttributeError, TypeError):
            if raw == path.read_bytes().rsplit(b"\n", 1)[-1]:
                return
            raise RegisterBroken(f"line {number} of {path} cannot be read") from None
        try:
            crypto.ed25519_verify(public, signature, _canonical(content))
        except crypto.InvalidSignature:
            raise RegisterBroken(f"line {number} of {path} is altered, or signed by another key") from None
        if content["prev"] != before:
            raise RegisterBroken(f"before line {number} of {path} a line was taken out or put in")
        before = crypto.sha256(raw).hex()
        yield content


class Register:
    """The writer. One at a time: the sealer."""

    def __init__(self, connection: psycopg.Connection[Any], folder: Path, private: bytes) -> None:
        self._connection, self._path, self._private = connection, folder / FILE, private
        self._before = ""

    def load(self) -> int:
        """Checks what is there and finds its end; cuts off a line that a crash left unfinished. Returns the number of lines."""
        count = 0
        for _ in lines(self._path, crypto.ed25519_public(self._private)):
            count += 1
        if self._path.exists():
            raw = self._path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            if whole != raw:
                os.truncate(self._path, len(whole))
            if whole:
                self._before = crypto.sha256(whole.rstrip(b"\n").rsplit(b"\n", 1)[-1]).hex()
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
