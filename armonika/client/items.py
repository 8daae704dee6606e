"""The items of a batch's answer, each in the place in which it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

import msgspec

from armonika.client.answers import Answer, Asked, Told, decode, error_of
from armonika.client.errors import UnexpectedAnswer
from armonika.client.types import Done, Made, Outcome, Person

T = TypeVar("T")


class Result(msgspec.Struct):
    """One item of a batch's answer."""

    status: int
    made: Made | None = None
    person: Person | None = None
    entry: int | None = None
    problem: Told | None = None


class _Results(msgspec.Struct):
    results: list[Result]


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
        return Outcome(error=error_of(result.problem, result.status, private))
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
