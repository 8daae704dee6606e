"""Creations that arrive together are stored in one transaction for each token and purpose. An item's failure is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from armonika.trust.vault import AsyncVault
from armonika.trust.vault.errors import Unavailable, VaultError
from armonika.trust.vault.types import Created, NewRecord, SecretHash

MOST = 128
WAITING = 2048
_Use = tuple[SecretHash, str, str, str | None]


class Creations:
    """At most `lanes` transactions are under way; what arrives meanwhile makes the next ones."""

    def __init__(self, vault: AsyncVault, lanes: int = 2) -> None:
        self._vault, self._lanes = vault, lanes
        self._waiting: dict[_Use, list[tuple[NewRecord, asyncio.Future[Created]]]] = {}
        self._count = 0
        self._running: set[asyncio.Task[None]] = set()

    async def create(self, secret: SecretHash, purpose: str, reason: str, reference: str | None, new: NewRecord) -> Created:
        """One new person. Raises the item's own error; it is acknowledged after its commit."""
        if self._count >= WAITING:
            raise Unavailable("too many requests wait; try again in a moment")
        future: asyncio.Future[Created] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((secret, purpose, reason, reference), []).append((new, future))
        self._count += 1
        if len(self._running) < self._lanes:
            task = asyncio.create_task(self._lane())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future

    async def _lane(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            use = next(iter(self._waiting))
            held = self._waiting.pop(use)
            batch, rest = held[:MOST], held[MOST:]
            if rest:
                self._waiting[use] = rest
            self._count -= len(batch)
            living = [(new, future) for new, future in batch if not future.done()]
            try:
                await self._store(use, living)
            except BaseException:
                for _, future in living:
                    if not future.done():
                        future.set_exception(Unavailable("the store does not answer now; try again in a moment"))
                raise

    async def _store(self, use: _Use, items: Sequence[tuple[NewRecord, asyncio.Future[Created]]]) -> None:
        """All at once; when that is refused nothing of it is stored, and each is tried alone."""
        if not items:
            return
        secret, purpose, reason, reference = use
        try:
            made = await self._vault.create(secret, purpose, reason, [new for new, _ in items], reference)
        except VaultError as error:
            if len(items) == 1:
                if not items[0][1].done():
                    items[0][1].set_exception(error)
                return
            for item in items:
                await self._store(use, [item])
            return
        for (_, future), one in zip(items, made, strict=True):
            if not future.done():
                future.set_result(one)
