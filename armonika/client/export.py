"""One person's export as it comes."""

from __future__ import annotations

from uuid import UUID

import msgspec

from armonika.client.answers import decoded
from armonika.client.errors import ConnectionFailed, UnexpectedAnswer
from armonika.client.lines import Lines
from armonika.client.types import Record


class End(msgspec.Struct, forbid_unknown_fields=True):
    """The last line of an export: it counts those before it."""

    end: bool
    person: UUID
    records: int


class Export:
    """One person's export as its pieces come. A stream may be cut off where a line ends, and then only the last line is missing. A line may take `seconds`
    (None: for ever), pauses of who reads left out."""

    def __init__(self, person: UUID, seconds: float | None) -> None:
        self._person, self._seconds = person, seconds
        self._lines, self._waited, self._count, self._ended = Lines(), 0.0, 0, False

    def feed(self, piece: bytes, waited: float) -> list[Record]:
        """The records that this piece ends, which was waited for so many seconds. Raises UnexpectedAnswer for what is no line of this export,
        ConnectionFailed when lines come too slowly."""
        lines = self._lines.feed(piece)
        self._waited = 0.0 if lines else self._waited + waited
        if self._seconds is not None and self._waited > self._seconds:
            raise ConnectionFailed("no whole answer came: too slow")
        return [record for line in lines if (record := self._record(line)) is not None]

    def _record(self, line: bytes) -> Record | None:
        """The record in a line; None for the last line."""
        found = None if self._ended else decoded(line, Record)
        if found is not None:
            self._count += 1
            return found
        last = decoded(line, End)
        if last is None or self._ended or (last.end, last.person, last.records) != (True, self._person, self._count):
            raise UnexpectedAnswer("a line of an export that is not of the documented form")
        self._ended = True
        return None

    def finish(self) -> None:
        """The stream ended. Raises ConnectionFailed when it was cut off."""
        if self._lines.rest or not self._ended:
            raise ConnectionFailed("the export was cut off")
