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
from armonika.client.errors import BY_CODE, Problem, UnexpectedAnswer
from armonika.client.types import Checkpoint, Person

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    private: Callable[[], frozenset[str]] = field(default=frozenset, repr=False)
    """What was sent with the request and no message may repeat: the token, values of people."""


class Told(msgspec.Struct):
    """A problem as it is told."""

    type: str = "about:blank"
    title: str = "Failed"
    status: int = 0
    detail: str = ""


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
    told = decoded(answer.body, Told)
    return (
        UnexpectedAnswer(_FORM.format(answer.status), answer.status)
        if told is None
        else error_of(told, answer.status, answer.private())
    )


_FORM = "status {} with a body that is not of the documented form"


def decode(answer: Answer, kind: type[T]) -> T:
    """The body as what it must be. Raises UnexpectedAnswer."""
    found = decoded(answer.body, kind)
    if found is None:
        raise UnexpectedAnswer(_FORM.format(answer.status), answer.status)
    return found


def decoded(body: bytes, kind: type[T]) -> T | None:
    """None for what is not of this form. An error raised while another is handled keeps that one, and this one may hold the body."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def error_of(told: Told, status: int, private: Iterable[str]) -> Problem:
    """The error of a problem; words that repeat any of `private` are withheld."""
    code = code_of(told.type)
    return BY_CODE.get(code, Problem)(status, code, words(told.title, private), words(told.detail, private))


_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
"""A validator as it may go back in If-Match."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What records may be in an answer: of one dataset, with these fields at most, and of these people where they were named by id."""

    dataset: str
    fields: frozenset[str]
    people: tuple[UUID, ...] | None = None

    def holds(self, person: Person, number: int) -> bool:
        """Whether a person is the one that was asked for in this place, with nothing that was not asked for."""
        named = self.people is None or self.people[number] == person.id
        return (
            named
            and (person.etag is None or _ETAG.fullmatch(person.etag) is not None)
            and all(
                record.dataset == self.dataset
                and self.fields.issuperset(record.values)
                and record.values.keys() == record.versions.keys()
                for record in person.records
            )
        )


def person_of(answer: Answer, asked: Asked) -> Person:
    """A person with the validator of this read, which is in the ETag field when the answer is of one person. Raises UnexpectedAnswer for another one."""
    person = decode(answer, Person)
    person = replace(person, etag=answer.headers.get("etag", person.etag))
    if not asked.holds(person, 0):
        raise UnexpectedAnswer("the answer is about something else than was asked")
    return person


def found_in(answer: Answer, asked: Asked) -> Person | None:
    """The one person that a look-up found, if any. Raises UnexpectedAnswer for several, and for what was not asked for."""
    people = decode(answer, Found).people
    if len(people) > 1 or not all(asked.holds(person, 0) for person in people):
        raise UnexpectedAnswer("the answer is about something else than was asked")
    return people[0] if people else None


_CHECKPOINT = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n\n(?:\u2014 [^\n]+\n)+")


def checkpoint_of(answer: Answer) -> Checkpoint:
    """A checkpoint with at least one signature (C2SP tlog-checkpoint). Raises UnexpectedAnswer."""
    text = answer.body.decode("utf-8", "replace")
    found = _CHECKPOINT.fullmatch(text)
    if found is None:
        raise UnexpectedAnswer("the answer is no checkpoint")
    origin, size, root = found.groups()
    return Checkpoint(origin, int(size), base64.b64decode(root), text)
