"""What answers mean: results, or the problem that they tell (RFC 9457)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TypeVar
from uuid import UUID

import msgspec

from armonika.client.bounds import code_of, words
from armonika.client.errors import BY_CODE, ConnectionFailed, Problem, UnexpectedAnswer
from armonika.client.lines import Lines
from armonika.client.types import Checkpoint, Done, Made, Outcome, Person, Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    private: Callable[[], frozenset[str]] = field(default=frozenset, repr=False)
    """What was sent with the request and no message may repeat: the token, values of people."""


class _Told(msgspec.Struct):
    type: str = "about:blank"
    title: str = "Failed"
    status: int = 0
    detail: str = ""


class Result(msgspec.Struct):
    """One item of a batch's answer."""

    status: int
    made: Made | None = None
    person: Person | None = None
    entry: int | None = None
    problem: _Told | None = None


class _Results(msgspec.Struct):
    results: list[Result]


class Found(msgspec.Struct):
    """The answer to a look-up."""

    people: list[Person]


def media_type(headers: Mapping[str, str]) -> str:
    """The media type of an answer, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def problem(answer: Answer) -> Problem | UnexpectedAnswer:
    """The error that an answer is which is no success."""
    error = _problem(answer)
    error.retry_after = retry_after(answer.headers)
    return error


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After in either of its forms (RFC 9110 §10.2.3). A date counts from the answer's own Date, so that no clock is needed."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _problem(answer: Answer) -> Problem | UnexpectedAnswer:
    if answer.status < 400 or media_type(answer.headers) != "application/problem+json":
        return UnexpectedAnswer(
            f"status {answer.status} without a problem document: is this the machine API's address?", answer.status
        )
    told = _decoded(answer.body, _Told)
    return (
        UnexpectedAnswer(_FORM.format(answer.status), answer.status)
        if told is None
        else _error(told, answer.status, answer.private())
    )


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
        found = None if self._ended else _decoded(line, Record)
        if found is not None:
            self._count += 1
            return found
        last = _decoded(line, End)
        if last is None or self._ended or (last.end, last.person, last.records) != (True, self._person, self._count):
            raise UnexpectedAnswer("a line of an export that is not of the documented form")
        self._ended = True
        return None

    def finish(self) -> None:
        """The stream ended. Raises ConnectionFailed when it was cut off."""
        if self._lines.rest or not self._ended:
            raise ConnectionFailed("the export was cut off")


_FORM = "status {} with a body that is not of the documented form"


def decode(answer: Answer, kind: type[T]) -> T:
    """The body as what it must be. Raises UnexpectedAnswer."""
    found = _decoded(answer.body, kind)
    if found is None:
        raise UnexpectedAnswer(_FORM.format(answer.status), answer.status)
    return found


def _decoded(body: bytes, kind: type[T]) -> T | None:
    """None for what is not of this form. An error raised while another is handled keeps that one, and this one may hold the body."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _error(told: _Told, status: int, private: Iterable[str]) -> Problem:
    code = code_of(told.type)
    return BY_CODE.get(code, Problem)(status, code, words(told.title, private), words(told.detail, private))


@dataclass(frozen=True, slots=True)
class Asked:
    """What records may be in an answer: of one dataset, with these fields at most, and of these people where they were named by id."""

    dataset: str
    fields: frozenset[str]
    people: tuple[UUID, ...] | None = None

    def holds(self, person: Person, number: int) -> bool:
        """Whether a person is the one that was asked for in this place, with nothing that was not asked for."""
        return (self.people is None or self.people[number] == person.id) and all(
            record.dataset == self.dataset
            and self.fields.issuperset(record.values)
            and record.values.keys() == record.versions.keys()
            for record in person.records
        )


def person_of(answer: Answer, asked: Asked) -> Person:
    """A person with the validator of this read, which is in the ETag field when the answer is of one person. Raises UnexpectedAnswer for another one."""
    person = decode(answer, Person)
    if not asked.holds(person, 0):
        raise UnexpectedAnswer("the answer is about something else than was asked")
    return replace(person, etag=answer.headers.get("etag", person.etag))


def found_in(answer: Answer, asked: Asked) -> Person | None:
    """The one person that a look-up found, if any. Raises UnexpectedAnswer for several, and for what was not asked for."""
    people = decode(answer, Found).people
    if len(people) > 1 or not all(asked.holds(person, 0) for person in people):
        raise UnexpectedAnswer("the answer is about something else than was asked")
    return people[0] if people else None


def outcomes(
    answer: Answer, count: int, value_of: Callable[[Result, int], T | None]
) -> list[Outcome[T]]:  # fmt: skip
    """An outcome for each item. `value_of` takes a result and its place; an item that is not what was asked in that place has an error. Raises
    UnexpectedAnswer when their number is not that of the request."""
    results = decode(answer, _Results).results
    if len(results) != count:
        raise UnexpectedAnswer(f"{len(results)} results for {count} items")
    private = answer.private() if any(result.problem is not None for result in results) else frozenset[str]()
    return [_outcome(result, value_of(result, number), private) for number, result in enumerate(results)]


def _outcome(result: Result, value: T | None, private: Iterable[str]) -> Outcome[T]:
    if result.problem is not None and result.status >= 400:
        return Outcome(error=_error(result.problem, result.status, private))
    if value is not None and result.problem is None and result.status in (200, 201):
        return Outcome(value)
    return Outcome(error=UnexpectedAnswer("an item with neither the result that was asked for nor a problem"))


def done_of(result: Result, number: int) -> Done | None:
    """What was done for one item."""
    return None if result.entry is None else Done(result.entry)


def person_in(asked: Asked) -> Callable[[Result, int], Person | None]:
    """Takes the person of one item, when it is the one that was asked for in this place."""
    return lambda result, number: result.person if result.person is not None and asked.holds(result.person, number) else None


def made_once() -> Callable[[Result, int], Made | None]:
    """Takes what was made for one item; nobody is made for two."""
    seen: set[UUID] = set()

    def made(result: Result, number: int) -> Made | None:
        one = result.made
        if one is None or one.id in seen:
            return None
        seen.add(one.id)
        return one

    return made


_CHECKPOINT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n\n(?:\u2014 [^\n]+\n)+")


def checkpoint_of(answer: Answer) -> Checkpoint:
    """A checkpoint with at least one signature (C2SP tlog-checkpoint). Raises UnexpectedAnswer."""
    text = answer.body.decode("utf-8", "replace")
    found = _CHECKPOINT.fullmatch(text)
    if found is None:
        raise UnexpectedAnswer("the answer is no checkpoint")
    origin, size, root = found.groups()
    return Checkpoint(origin, int(size), base64.b64decode(root), text)
