"""Ways to plant a bad state that is always undone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from armonika.verify.context import Context
from armonika.verify.http import Answer

Plant = Callable[[Context], AbstractContextManager[Context]]


def swap(fragment: str, before: bytes, after: bytes) -> Plant:
    """A proxy that changes the first `before` to `after` in the pages whose address holds `fragment`."""

    def route(url: str, answer: Answer) -> Answer:
        if fragment in url:
            answer.body = answer.body.replace(before, after, 1)
        return answer

    return lambda context: context.altered(route)


def rows(*statements: str) -> Plant:
    """Changes in the database, rolled back afterwards."""
    return lambda context: context.planted(*statements)
