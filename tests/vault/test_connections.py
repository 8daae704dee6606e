"""Connections of a door that end, run out or were never there: what may safely run twice runs again, everything else says that the store does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from armonika.trust.vault import AsyncVault, Vault, codec, new_secret
from armonika.trust.vault.errors import Unavailable
from armonika.trust.vault.reader import Store, VaultReader
from armonika.trust.vault.types import Created, NewRecord
from tests.doors import Doors
from tests.vault.both import USE, Both, account


class Single:
    """A vault of one connection, somebody in it, and a hand that cuts."""

    def __init__(self, doors: Doors) -> None:
        self.doors, self.record = doors, account()
        self.vault = Vault.open(doors.server.provisioned.credentials("api"), doors.server.dsn, size=1)  # type: ignore[attr-defined]
        self.store: Store = self.vault._store
        self.one: Created = self.create()[0]

    def create(self, record: NewRecord | None = None) -> list[Created]:
        return self.vault.create(self.doors.token, *USE, [record or self.record])

    def read(self) -> Any:
        return self.vault.read(self.doors.token, self.one.subject, "account", ["name"], *USE)

    def find(self) -> Any:
        return self.vault.find(self.doors.token, "account", "email", self.record.values["email"], ["name"], *USE)

    def whoami(self) -> Any:
        return self.vault.whoami(self.doors.token)

    def cut(self) -> None:
        """The one connection ends while it is idle."""
        pid = self.store.value("SELECT pg_backend_pid()")
        with self.doors.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


@pytest.fixture
def single(doors: Doors) -> Iterator[Single]:
    made = Single(doors)
    yield made
    made.vault.close()


def test_what_may_run_twice_is_tried_again_on_another_connection(single: Single) -> None:
    vault, store = single.vault, single.store
    for call in (
        single.whoami, single.read, single.find, vault.policies, vault.trust_report, lambda: vault.policy_document(vault.catalogue.sha256),
        lambda: store.rows("SELECT 1", repeat=True), lambda: store.value("SELECT 1", repeat=True),
    ):  # fmt: skip
        assert vault.catalogue
        single.cut()
        call()
    for call in (lambda: store.rows("SELECT 1"), lambda: store.value("SELECT 1"), lambda: vault.restrict(single.doors.token, single.one.subject, False, *USE)):  # fmt: skip
        single.cut()
        with pytest.raises(Unavailable):
            call()
    for call in (single.whoami, single.read):
        vault._known = None
        single.cut()
        call()


def test_a_connection_that_ends_between_ask_and_take(single: Single, monkeypatch: pytest.MonkeyPatch) -> None:
    real = single.store.rows

    def rows(statement: str, *words: Any, **more: Any) -> Any:
        found = real(statement, *words, **more)
        if statement in (codec.ASK, codec.ASK_FIND):
            monkeypatch.setattr(single.store, "rows", real)
            single.cut()
        return found

    for call in (single.read, single.find):
        monkeypatch.setattr(single.store, "rows", rows)
        (found,) = call()
        assert found.values == {"name": "N"}


@pytest.mark.parametrize(
    ("sqlstate", "repeated"),
    [(None, True), ("57P01", True), ("57P03", True), ("08006", True), ("57014", False), ("53300", False), ("80000", False)],
)
def test_what_is_no_lost_connection_is_not_tried_again(
    single: Single, monkeypatch: pytest.MonkeyPatch, sqlstate: str | None, repeated: bool
) -> None:
    class Lost(psycopg.OperationalError):
        pass

    Lost.sqlstate = sqlstate
    real, tries = Store._run, [0]

    def run(*words: Any) -> Any:
        tries[0] += 1
        if tries[0] == 1:
            raise Lost
        return real(*words)

    monkeypatch.setattr(single.store, "_run", run)
    if repeated:
        assert single.store.rows("SELECT 1", repeat=True) == [(1,)]
    else:
        with pytest.raises(Unavailable):
            single.store.rows("SELECT 1", repeat=True)
    assert tries[0] == 1 + repeated
    monkeypatch.setattr(single.store, "_run", lambda *_: (_ for _ in ()).throw(Lost))
    with pytest.raises(Unavailable):
        single.store.rows("SELECT 1", repeat=True)


def test_nobody_waits_for_ever_for_a_connection(single: Single) -> None:
    with single.store.connection():
        single.store._pool.timeout = 0.1
        for call in (lambda: single.store.rows("SELECT 1"), lambda: single.store.rows("SELECT 1", repeat=True), single.whoami):
            with pytest.raises(Unavailable):
                call()
    assert single.store.value("SELECT current_setting('application_name')") == "armonika api"


def test_what_a_door_takes_of_the_server(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are counted: what all doors open together must fit the server, and nobody waits longer than a browser does."""
    held, dsn = doors.server.provisioned.credentials("api"), doors.server.dsn  # type: ignore[attr-defined]
    for open_ in (Vault.open, VaultReader):
        vault = open_(held, dsn)
        pool = vault._store._pool
        assert (pool.min_size, pool.max_size, pool.timeout) == (0, 8, 5)
        with pool.connection() as connection:
            assert (connection.autocommit, connection.prepare_threshold) == (True, 2)
        vault.close()
    asked: list[dict[str, Any]] = []
    real = asyncpg.create_pool

    def create_pool(*words: Any, **more: Any) -> Any:
        asked.append(more)
        return real(*words, **more)

    monkeypatch.setattr(asyncpg, "create_pool", create_pool)

    async def look() -> list[Any]:
        vault = await AsyncVault.open(held, dsn)
        try:
            return [*(await vault._rows("SELECT current_setting('application_name'), current_setting('jit')"))[0]]
        finally:
            await vault.close()

    assert asyncio.run(look()) == ["armonika api", "off"]
    ((sizes, limits),) = [((one["min_size"], one["max_size"]), (one["timeout"], one["command_timeout"])) for one in asked]
    assert (sizes, limits) == ((1, 4), (5, 15))


def test_a_vault_that_was_closed_says_so(single: Single, doors: Doors) -> None:
    single.vault.close()
    for call in (single.whoami, lambda: single.create(account())):
        with pytest.raises(Unavailable):
            call()
    both = Both(doors, True)
    both.finish()
    with pytest.raises(Unavailable):
        asyncio.run(_read(both.vault, doors))
    assert len(new_secret()) == 43


async def _read(vault: AsyncVault, doors: Doors) -> None:
    await vault.whoami(doors.token)
