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
    "what is due and still there": ("retention", "vault.retention_progress()"),
    "somebody by their address": ("api", "vault.ask_find({token}, {provide}, {integration}, NULL, {account}, {email}, {epochs}, {digests}, 1)"),
    "who made a record": ("api", "vault.made({token}, {subject}, {record})"),
    "the salt of a sign-in": ("site", "vault.sign_in_salt({service}, {account}, {email}, {epochs}, {digests})"),
    "a sign-in": (
        "site",
        "vault.sign_in({service}, {account}, {email}, {epochs}, {digests}, {proof}, sha256(uuid_send(gen_random_uuid())), 60, {legal}, {own})",
    ),
    "a letter to an address": ("site", "vault.enqueue_to({service}, 'reset:en', {account}, {email}, {epochs}, {digests})"),
    "what is held of somebody": ("site", "vault.describe({session}, {ticket})"),
    "who used somebody's data": ("site", "vault.accesses({session}, {ticket}, 50, NULL)"),
    "what a restore tells": ("administrator", "vault.replay_events({size} - 10)"),
}  # fmt: skip
TICKETS = {"what is held of somebody": 3, "who used somebody's data": 16}
"""Calls that show a ticket, with the operation that it is of."""
PROOF, SECRET = b"proof", b"s" * 32


@dataclass
class Growing:
    home: House
    sealer: Sealer
    register: Register

    def __post_init__(self) -> None:
        self.held = {
            door: credentials.load(door, self.home.config.credentials / door)
            for door in ("sealer", "keeper", "retention", "api", "site")
        }
        self.api = self.home.vault("api")
        self.whom = self._member()

    def _member(self) -> Created:
        """Somebody who signs in with `PROOF` and is signed in with `SECRET`."""
        (made,) = self.home.people(self.api)
        with self.home.admin() as admin:
            admin.execute(
                "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) "
                "SELECT %s, r.id, decode(repeat('00', 16), 'hex'), '', sha256(%s), clock_timestamp() FROM vault.role r WHERE r.name = 'admin'",
                (made.subject, PROOF),
            )
            admin.execute(
                "INSERT INTO vault.session (secret_hash, actor, role, door, kind, expires_at) "
                "SELECT %s, %s, r.id, 'site', 'session', clock_timestamp() + interval '1 hour' FROM vault.role r WHERE r.name = 'admin'",
                (SECRET, made.subject),
            )
        return made

    def connect(self, door: str) -> psycopg.Connection[Any]:
        return self.home.admin() if door == "administrator" else connected(self.home, self.held[door])

    def grow(self) -> None:
        """People who are read, corrected by another record, ended and erased; all of it sealed, in the register and swept."""
        home, api, use = self.home, self.api, ("provide", "integration")
        people = home.people(api, PEOPLE)
        for _ in range(8):
            # Of one of them much is read, in between.
            asked = [one if n % 4 else self.whom for n, one in enumerate(people)]
            api.read_many([Ask(home.token, one.subject, "account", ("name",), *use) for one in asked])
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
        known, found = self.known(), {}
        for door in (*self.held, "administrator"):
            secret = secret_hash(self.held[door].service_secret) if door in self.held else b""
            with self.connect(door) as connection:
                for name, (of_door, call) in CALLS.items():
                    if of_door != door:
                        continue
                    for _ in range(7):
                        # A ticket is shown once its entry is committed.
                        ticket = self.ticket(connection, TICKETS[name], known) if name in TICKETS else None
                        words = call.format(**known, service=literal(secret), ticket=ticket)
                        row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM {words}".encode()).fetchone()  # fmt: skip
                        assert row is not None
                        plan = row[0][0]["Plan"]
                        found[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return found

    def known(self) -> dict[str, object]:
        """What the calls are made of, as it stands in a statement."""
        value, whom = self.home.value, self.whom
        digest, epochs = (
            value(f"SELECT {what} FROM vault.lookup l WHERE l.subject_id = '{whom.subject}' AND l.epoch = 1")
            for what in ("l.digest", "(SELECT array_agg(e.epoch) FROM vault.epoch e JOIN vault.dataset d USING (compartment) WHERE d.id = l.dataset)")
        )  # fmt: skip
        assert isinstance(digest, bytes) and isinstance(epochs, list)

        def named(table: str, name: str) -> str:
            return f"(SELECT id FROM vault.{table} WHERE name = '{name}')"

        ids = {
            "provide": named("purpose", "provide"), "legal": named("purpose", "legal"), "integration": named("reason", "integration"),
            "own": named("reason", "own-view"), "account": named("dataset", "account"),
            "email": f"(SELECT ordinal FROM vault.field WHERE dataset = {named('dataset', 'account')} AND name = 'email')",
        }  # fmt: skip
        return {
            "size": value("SELECT size FROM vault.seal_state"), "last": value("SELECT max(audit_id) FROM vault.audit"),
            "token": literal(self.home.token), "session": literal(SECRET), "proof": literal(PROOF), "subject": f"'{whom.subject}'", "record": f"'{whom.record}'",
            "epochs": f"ARRAY{epochs}", "digests": f"array_fill({literal(digest)}, ARRAY[{len(epochs)}])",
            **{name: f"{value(f'SELECT {asked}')}::smallint" for name, asked in ids.items()},
        }  # fmt: skip

    @staticmethod
    def ticket(connection: psycopg.Connection[Any], operation: int, known: dict[str, object]) -> int:
        words = "SELECT vault.consult({session}, {operation}::smallint, {legal}, {own}, NULL, {subject})"
        row = connection.execute(words.format(**known, operation=operation).encode()).fetchone()
        assert row is not None
        return int(row[0])


def connected(home: House, held: credentials.Credentials) -> psycopg.Connection[Any]:
    """The database as the door of these credentials."""
    dsn = make_conninfo(home.embedded.dsn, user=held.database_user, password=held.database_password)
    return psycopg.connect(dsn, autocommit=True)


def literal(value: bytes) -> str:
    return f"'\\x{value.hex()}'::bytea"


@pytest.fixture(scope="module")
def growth() -> Iterator[Callable[[str], tuple[int, int]]]:
    with house() as home, folder("log") as log:
        with home.admin() as admin:
            admin.execute("ALTER SYSTEM SET autovacuum = off")
            admin.execute("SELECT pg_reload_conf()")
        held = credentials.load("sealer", home.config.credentials / "sealer")
        assert held.log_key is not None
        with connected(home, held) as connection:
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
