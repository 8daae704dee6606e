"""Requests that arrive together share a call of the store, whole, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from armonika.doors.api.gather import MOST, Gatherer
from armonika.trust.vault.errors import Forbidden, Unavailable, VaultError
from armonika.trust.vault.types import Ask, Outcome, Record, SecretHash

SECRET = SecretHash(b"s" * 32)


def some(count: int) -> list[Ask]:
    return [Ask(SECRET, uuid4(), "account", ["name"], "provide", "integration") for _ in range(count)]


class Store:
    """Answers each ask with a record of its person; `calls` are the sizes of what it was asked. It answers when `open` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[int] = []
        self.open = asyncio.Event()
        self.error = error

    async def read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        self.calls.append(len(asks))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return [Outcome([Record(ask.subject, uuid4(), "account", {}, {}, 1)]) for ask in asks]


def asked(gatherer: Gatherer[Ask], asks: list[Ask]) -> asyncio.Task[list[Outcome]]:
    return asyncio.get_running_loop().create_task(gatherer.read_all(asks))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_waits_together_is_asked_together_and_never_parted() -> None:
    async def run() -> None:
        store = Store()
        gatherer: Gatherer[Ask] = Gatherer(store.read_many, lanes=1)
        groups = [some(n) for n in (3, 1, 60, 100, 90, MOST + 1, 2, MOST)]
        first = asked(gatherer, groups[0])
        await settled()
        tasks = [first, *(asked(gatherer, group) for group in groups[1:])]
        await settled()
        assert store.calls == [3]
        store.open.set()
        for group, task in zip(groups, tasks, strict=True):
            assert [one.records[0].subject for one in await task] == [ask.subject for ask in group]
        assert store.calls == [3, 251, MOST + 1, 2, MOST], "in the order of their coming; what is larger goes alone"

    asyncio.run(run())


def test_no_more_are_under_way_than_there_are_lanes() -> None:
    async def run() -> None:
        store = Store()
        gatherer: Gatherer[Ask] = Gatherer(store.read_many, lanes=2)
        tasks = []
        for _ in range(5):
            tasks.append(asked(gatherer, some(200)))
            await settled()
        assert store.calls == [200, 200]
        store.open.set()
        await asyncio.gather(*tasks)
        assert store.calls == [200] * 5

    asyncio.run(run())


def test_who_hung_up_is_not_asked_for() -> None:
    async def run() -> None:
        store = Store()
        gatherer: Gatherer[Ask] = Gatherer(store.read_many, lanes=1, waiting=10)
        first = asked(gatherer, some(1))
        await settled()
        gone, stays = asked(gatherer, some(9)), asked(gatherer, some(4))
        await settled()
        with pytest.raises(Unavailable, match="too many"):
            await gatherer.read_all(some(1))
        gone.cancel()
        await settled()
        store.open.set()
        assert [len(await task) for task in (first, stays)] == [1, 4]
        assert store.calls == [1, 4]
        assert len(await gatherer.read_all(some(10))) == 10, "there is room again"

    asyncio.run(run())


@pytest.mark.parametrize(("raised", "told"), [(Forbidden("no"), Forbidden), (RuntimeError("broken"), Unavailable)])
def test_what_ends_a_call_is_told_to_all_of_it_and_to_nobody_else(raised: Exception, told: type[VaultError]) -> None:
    async def run() -> None:
        store = Store(raised)
        gatherer: Gatherer[Ask] = Gatherer(store.read_many, lanes=1)
        first = asked(gatherer, some(1))
        await settled()
        tasks = [first, asked(gatherer, some(MOST)), asked(gatherer, some(2))]
        await settled()
        store.open.set()
        for task in tasks:
            with pytest.raises(told):
                await asyncio.wait_for(task, 5)
        store.error = None
        assert len(await asyncio.wait_for(gatherer.read_all(some(3)), 5)) == 3

    asyncio.run(run())
