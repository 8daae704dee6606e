"""What is taken of an answer at most, and what of its words is told: a server that is broken, or not the one meant, fills no memory and no log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from armonika.client.errors import UnexpectedAnswer

MOST_BYTES = 256 * 1024 * 1024
"""Of an answer as a whole."""
MOST_TOLD = 1024 * 1024
"""Of an answer that is a problem."""
MOST_LINE = 32 * 1024 * 1024
"""Of one line of an export: 62 values of 64 KiB, escaped, are less."""
PATIENCE = 4.0
"""Read timeouts that a whole answer, or one line of an export, may take."""
_WORDS = 500
_CODE = re.compile(r"[a-z][a-z-]{0,63}")


class Secret:
    """A token that shows nowhere but where it is asked for."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Secret()"


def packed(headers: Mapping[str, str]) -> bool:
    """Whether the body of an answer is packed."""
    return headers.get("content-encoding", "identity").strip().lower() != "identity"


class Gathered:
    """The pieces of one answer's body, counted. Raises UnexpectedAnswer for one that is packed (it could unpack to anything, and was not asked for) and for
    one that is too large."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self._status, self._most = status, MOST_BYTES if status < 300 else MOST_TOLD
        self._pieces: list[bytes] = []
        self._size = 0
        if packed(headers):
            raise UnexpectedAnswer(f"status {status} with a packed body", status)

    def add(self, piece: bytes) -> None:
        """One piece more."""
        self._size += len(piece)
        if self._size > self._most:
            raise UnexpectedAnswer(f"status {self._status} with more than {self._most} bytes", self._status)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


def words(text: str, private: Iterable[str]) -> str:
    """A server's words for a message: on one line, not long, and withheld when they repeat what was sent and is nobody else's."""
    if any(secret in text for secret in private):
        return "(withheld: it repeats what was sent)"
    return "".join(letter if letter.isprintable() else " " for letter in text[:_WORDS])


def code_of(kind: str) -> str:
    """The last part of a problem's type, when it is a name; empty otherwise."""
    code = kind.rpartition(":")[2]
    return code if _CODE.fullmatch(code) else ""


def private_of(body: bytes | None) -> frozenset[str]:
    """The personal values in a request's body: of fields, and addresses that are looked up. What is shorter than three characters tells nobody apart."""
    found = _values(msgspec.json.decode(body)) if body else ()
    return frozenset(text for text in found if isinstance(text, str) and len(text) > 2)


def _values(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, inner in part.items():
            if name == "values":
                yield from inner.values()
            elif name == "email":
                yield inner
            elif name == "emails":
                yield from inner
            else:
                yield from _values(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _values(inner)
