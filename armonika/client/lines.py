"""Lines out of pieces of a stream. Only LF ends a line: values may hold other characters that Unicode counts as line ends (U+2028)."""

from __future__ import annotations


class Lines:
    """Feed pieces, take whole lines; `rest` is what has no end yet."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece ends, without empty ones."""
        *whole, self.rest = (self.rest + piece).split(b"\n")
        return [line for line in whole if line]
