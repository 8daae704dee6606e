"""What answers mean: results, or the problem that they tell (RFC 9457)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from armonika.client.errors import BY_CODE, Problem, UnexpectedAnswer
from armonika.client.types import Checkpoint, Done, Made, Outcome, Person, Record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


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


def problem(answer: Answer) -> Problem | UnexpectedAnswer:
    """The error that an answer of 300 or more is."""
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
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return UnexpectedAnswer(
            f"status {answer.status} without a problem document: is this the machine API's address?", answer.status
        )
    try:
        told = decode(answer, _Told)
    except UnexpectedAnswer as error:
        return error
    return _error(told, answer.status)


def record_of(line: bytes) -> Record:
    """One line of an export. Raises UnexpectedAnswer."""
    return decode(Answer(200, {}, line), Record)


def decode(answer: Answer, kind: type[T]) -> T:
    """The body as what it must be. Raises UnexpectedAnswer."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeError):
        raise UnexpectedAnswer(f"status {answer.status} with a body that is not of the documented form", answer.status) from None


def _error(told: _Told, status: int) -> Problem:
    code = told.type.rpartition(":")[2]
    return BY_CODE.get(code, Problem)(status, code, told.title, told.detail)


def person_of(answer: Answer) -> Person:
    """A person with the validator of this read, which is in the ETag field when the answer is of one person."""
    person = decode(answer, Person)
    return replace(person, etag=answer.headers.get("etag", person.etag))


def done_of(result: Result) -> Done | None:
    """What was done for one item."""
    return None if result.entry is None else Done(result.entry)


def outcomes(answer: Answer, count: int, value_of: Callable[[Result], T | None]) -> list[Outcome[T]]:
    """An outcome for each item. Raises UnexpectedAnswer when their number is not that of the request."""
    results = decode(answer, _Results).results
    if len(results) != count:
        raise UnexpectedAnswer(f"{len(results)} results for {count} items")
    return [_outcome(result, value_of(result)) for result in results]


def _outcome(result: Result, value: T | None) -> Outcome[T]:
    if result.problem is not None:
        return Outcome(error=_error(result.problem, result.status))
    return Outcome(value) if value is not None else Outcome(error=UnexpectedAnswer("an item with neither result nor problem"))


def checkpoint_of(answer: Answer) -> Checkpoint:
    """The three lines of a checkpoint (C2SP tlog-checkpoint). Raises UnexpectedAnswer."""
    try:
        text = answer.body.decode()
        origin, size, root = text.split("\n")[:3]
        return Checkpoint(origin, int(size), base64.b64decode(root, validate=True), text)
    except (ValueError, binascii.Error):
        raise UnexpectedAnswer("the answer is no checkpoint") from None
