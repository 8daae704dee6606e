"""What is done again and again costs the same however much there is, and whatever the server knows of its tables.

A crash loses what was counted since the last analysis, and a database that grows fast is never analysed in time. Each of these calls is made at one size
and at six times of it, with the statistics taken away: the pages that the server looks at (of memory or disk) must stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika.trust.audit.register import Register
from armonika.trust.audit.sealer import Sealer
from armonika.trust.keys import credentials
from armonika.trust.vault import secret_hash
from armonika.trust.vault.types import Ask, Created, NewRecord
from tests.folders import folder
from tests.keys.house import House, house

PEOPLE = 500
CALLS = {
    "a page to seal": ("sealer", "vault.unsealed(10)"),
    "the page behind one": ("sealer", "vault.unsealed(10, {last} - 30)"),
    "the first leaves": ("sealer", "vault.leaves(0, 10)"),
    "leaves in the middle": ("sealer", "vault.leaves({size} / 2, 10)"),
    "the last leaves": ("sealer", "vault.leaves({size} - 10, 10)"),
    "what the register lacks": ("sealer", "vault.unregistered(10)"),
    "keys to re-wrap": ("keeper", "vault.stale_keys({service}, 10)"),
    "look-ups to renew": ("keeper", "vault.stale_lookups({service}, 0::smallint, 0::smallint, 0, ''::bytea, 10)"),
    "epochs to settle": ("keeper", "vault.settle_epochs({service})"),
    "what is left of the erased": ("keeper", "vault.sweep({service}, 10)"),
    "the state of a rotation": ("keeper", "vault.rotation_state()"),
    "what has expired": ("retention", "vault.expire({service}, 10)"),
    "who has nothing left": ("retention", "vault.end_empty({service}, 10)"),
    "what nobody collects": ("retention", "vault.purge_stale({service}, 10)"),
    "the clock": ("retention", "vault.retention_clock()"),
}


@dataclass
class Growing:
    home: House
    sealer: Sealer
    register: Register

    def __post_init__(self) -> None:
        self.held = {
            door: credentials.load(door, self.home.config.credentials / door) for door in ("sealer", "keeper", "retention")
        }
        self.api = self.home.vault("api")

    def connect(self, door: str) -> psycopg.Connection[Any]:
        held = self.held[door]
        dsn = make_conninfo(self.home.embedded.dsn, user=held.database_user, password=held.database_password)
        return psycopg.connect(dsn, autocommit=True)

    def grow(self) -> None:
        """People who are read, corrected by another record, ended and erased; all of it sealed, in the register and swept."""
        home, api, use = self.home, self.api, ("provide", "integration")
        people = home.people(api, PEOPLE)
        for _ in range(8):
            api.read_many([Ask(home.token, one.subject, "account", ("name",), *use) for one in people])
        api.erase(home.token, [one.subject for one in people[: PEOPLE // 5]], *use)
        kept: list[Created] = people[-PEOPLE // 5 :]
        values = {"name": "M", "company": "C", "role": "R"}
        api.create(home.token, *use, [NewRecord("account", values, "organisation", subject=one.subject) for one in kept])
        api.erase_records(home.token, [(one.subject, one.record) for one in kept], *use)
        with self.connect("keeper") as connection:
            while connection.execute("SELECT vault.sweep(%s, 500)", (secret_hash(self.held["keeper"].service_secret),)).fetchone() != (0,):  # fmt: skip
                continue
        while self.register.write() or self.sealer.seal(publish=False):
            continue
        self.sealer.publish()

    def after(self, rounds: int) -> dict[str, int]:
        """`measured` when it has grown so often, at the beginning of a rotation and without statistics."""
        for _ in range(rounds):
            self.grow()
        self.home.desk.rotate(["account"], "growth")
        self.forget()
        return self.measured()

    def forget(self) -> None:
        """The server's statistics, as after a crash."""
        with self.home.admin() as admin:
            admin.execute("SET allow_system_table_mods = on")
            admin.execute("DELETE FROM pg_statistic")
            admin.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'i')")  # fmt: skip

    def measured(self) -> dict[str, int]:
        """Pages that each call looks at, when its connection knows the catalogue."""
        size, last = (
            self.home.value("SELECT size FROM vault.seal_state"),
            self.home.value("SELECT max(audit_id) FROM vault.audit"),
        )
        found = {}
        for door in self.held:
            service = f"'\\x{secret_hash(self.held[door].service_secret).hex()}'::bytea"
            with self.connect(door) as connection:
                for name, (of_door, call) in CALLS.items():
                    if of_door != door:
                        continue
                    words = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM {call.format(size=size, last=last, service=service)}"
                    for _ in range(7):
                        row = connection.execute(words.encode()).fetchone()
                        assert row is not None
                        plan = row[0][0]["Plan"]
                        found[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return found


@pytest.fixture(scope="module")
def growth() -> Iterator[Callable[[str], tuple[int, int]]]:
    with house() as home, folder("log") as log:
        with home.admin() as admin:
            admin.execute("ALTER SYSTEM SET autovacuum = off")
            admin.execute("SELECT pg_reload_conf()")
        held = credentials.load("sealer", home.config.credentials / "sealer")
        assert held.log_key is not None
        with psycopg.connect(make_conninfo(home.embedded.dsn, user=held.database_user, password=held.database_password), autocommit=True) as connection:  # fmt: skip
            growing = Growing(
                home, Sealer(connection, log, "growth.test/log", held.log_key), Register(connection, log, held.log_key)
            )
            growing.sealer.load()
            growing.register.load()
            before, after = (growing.after(rounds) for rounds in (1, 5))
        yield lambda name: (before[name], after[name])


@pytest.mark.parametrize("name", CALLS)
def test_a_page_costs_a_page_of_six_times_as_much(growth: Callable[[str], tuple[int, int]], name: str) -> None:
    before, after = growth(name)
    # Each epoch that retires costs something by itself, and the second time there is one more.
    assert after <= before * 1.5 + 100, f"{before} pages at first, {after} of six times as much"
