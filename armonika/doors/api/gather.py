"""Reads, look-ups and questions about tokens that arrive together share one call of the store. An item's failure is its own; a full queue refuses at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from armonika.trust.vault.errors import Unavailable, VaultError
from armonika.trust.vault.types import Ask, Find, Outcome, Record, SecretHash

MOST = 256
WAITING = 4096
A = TypeVar("A", Ask, Find, SecretHash)
ReadMany = Callable[[Sequence[A]], Awaitable[list[Outcome]]]


class Gatherer(Generic[A]):
    """At most `lanes` batches are under way; what arrives meanwhile makes the next one."""

    def __init__(self, read_many: ReadMany[A], lanes: int = 2) -> None:
        self._read_many: ReadMany[A] = read_many
        self._lanes = lanes
        self._waiting: list[tuple[A, asyncio.Future[list[Record]]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def read(self, ask: A) -> list[Record]:
        """The records of one ask. Raises the item's own error."""
        if len(self._waiting) >= WAITING:
            raise Unavailable("too many requests wait; try again in a moment")
        future: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if len(self._running) < self._lanes:
            self._launch()
        return await future

    def _launch(self) -> None:
        task = asyncio.create_task(self._lane())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _lane(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            batch = [(ask, future) for ask, future in batch if not future.done()]
            if not batch:
                continue
            try:
                results = await self._read_many([ask for ask, _ in batch])
            except VaultError as error:
                results = [Outcome(error=error)] * len(batch)
            except BaseException:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(Unavailable("the store does not answer now; try again in a moment"))
                raise
            for (_, future), outcome in zip(batch, results, strict=True):
                if future.done():
                    continue
                if outcome.error is not None:
                    future.set_exception(outcome.error)
                else:
                    future.set_result(list(outcome.records))
