"""Clients of both kinds, called in one way, so that each test runs with both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from armonika.client import AsyncClient, Client

Maker = Callable[..., Any]


class Blocking:
    """An AsyncClient called as if it were a Client, so that each test runs with both."""

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    def __repr__(self) -> str:
        return repr(self._client)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *words, **named: self._loop.run_until_complete(getattr(self._client, name)(*words, **named))

    def export(self, *words: Any) -> Iterator[Any]:
        lines = self._client.export(*words)
        while True:
            try:
                yield self._loop.run_until_complete(anext(lines))
            except StopAsyncIteration:
                return


@contextmanager
def clients(kind: str) -> Iterator[Maker]:
    """Makes clients of a kind (`sync`, `async`), which are closed in the end."""
    loop, made = asyncio.new_event_loop(), []

    def build(*words: Any, **named: Any) -> Any:
        made.append(Client(*words, **named) if kind == "sync" else Blocking(AsyncClient(*words, **named), loop))
        return made[-1]

    try:
        yield build
    finally:
        for client in made:
            client.close()
        loop.close()
