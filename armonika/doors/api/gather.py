"""Reads, look-ups and questions about tokens that arrive together share one call of the store. An item's failure is its own; a full queue refuses at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from armonika.trust.vault.errors import Unavailable, VaultError
from armonika.trust.vault.types import Ask, Find, Outcome, Record, SecretHash

log = logging.getLogger("armonika.api")
MOST = 256
"""Items of a call that was put together; what came together is not parted."""
WAITING = 4096
"""Items that may wait."""
A = TypeVar("A", Ask, Find, SecretHash)
ReadMany = Callable[[Sequence[A]], Awaitable[list[Outcome]]]
Waiting = tuple[Sequence[A], asyncio.Future[list[Outcome]]]
"""Asks that came together, and who waits for what becomes of them."""


def _tell(batch: Sequence[Waiting[A]], error: VaultError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


class Gatherer(Generic[A]):
    """At most `lanes` batches are under way; what arrives meanwhile makes the next one."""

    def __init__(self, read_many: ReadMany[A], lanes: int = 2, waiting: int = WAITING) -> None:
        self._read_many: ReadMany[A] = read_many
        self._lanes, self._most_waiting = lanes, waiting
        self._waiting: deque[Waiting[A]] = deque()
        self._items = 0
        self._running: set[asyncio.Task[None]] = set()

    async def read(self, ask: A) -> list[Record]:
        """The records of one ask. Raises the item's own error."""
        (outcome,) = await self.read_all((ask,))
        if outcome.error is not None:
            raise outcome.error
        return list(outcome.records)

    async def read_all(self, asks: Sequence[A]) -> list[Outcome]:
        """What became of each of some asks that came together, which share a batch. Raises what became of all."""
        if self._items >= self._most_waiting:
            raise Unavailable("too many requests wait; try again in a moment")
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append((asks, future))
        self._items += len(asks)
        if len(self._running) < self._lanes:
            task = asyncio.create_task(self._lane())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def _lane(self) -> None:
        await asyncio.sleep(0)
        while batch := self._next():
            asks = batch[0][0] if len(batch) == 1 else [ask for some, _ in batch for ask in some]
            try:
                results = await self._read_many(asks)
            except VaultError as error:
                _tell(batch, error)
                continue
            except BaseException as error:
                # Told at once: who waits here has nobody else to end it.
                _tell(batch, Unavailable("the store does not answer now; try again in a moment"))
                if not isinstance(error, Exception):
                    raise
                log.error("a call of the store failed", exc_info=error)
                continue
            at = 0
            for some, future in batch:
                if not future.done():
                    future.set_result(results[at : at + len(some)])
                at += len(some)

    def _next(self) -> list[Waiting[A]]:
        """Who waits and has not hung up, up to `MOST` items; who came first, whatever the number."""
        batch: list[Waiting[A]] = []
        items = 0
        while self._waiting and (not batch or items + len(self._waiting[0][0]) <= MOST):
            one = self._waiting.popleft()
            self._items -= len(one[0])
            if not one[1].done():
                batch.append(one)
                items += len(one[0])
        return batch
