"""Lines out of pieces of a stream. Only LF ends a line: values may hold other characters that Unicode counts as line ends (U+2028)."""

from __future__ import annotations

from armonika.client.bounds import MOST_LINE
from armonika.client.errors import UnexpectedAnswer


class Lines:
    """Feed pieces, take whole lines; `rest` is what has no end yet."""

    def __init__(self, most: int = MOST_LINE) -> None:
        self._most, self._size = most, 0
        self._pieces: list[bytes] = []

    @property
    def rest(self) -> bytes:
        """What no line feed has ended."""
        return b"".join(self._pieces)

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece ends, without empty ones. Raises UnexpectedAnswer for one that is too long."""
        first, *others = piece.split(b"\n")
        self._pieces.append(first)
        self._size += len(first)
        if self._size > self._most:
            raise UnexpectedAnswer(f"a line of more than {self._most} bytes")
        if not others:
            return []
        whole = [self.rest, *others[:-1]]
        self._pieces, self._size = [others[-1]], len(others[-1])
        return [line for line in whole if line]
