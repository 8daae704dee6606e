"""Rotation: everything moves to the new epoch while reads and writes go on, is resumed after kill -9, and a destroyed epoch opens nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.rules.key_states import IllegalTransition, KeyState
from armonika.supervisor.key_desk import KeyDesk, KeyDeskError
from armonika.trust.keys import Keyring
from armonika.trust.keys.epochs import now
from armonika.trust.keys.provision import provision
from armonika.trust.vault.errors import Duplicate, KeyUnavailable, VaultError
from armonika.trust.vault.types import Created, NewRecord
from tests.keys.house import House, house

ALL = ["account", "billing", "support", "applicants", "traffic", "rights", "prospects", "staff"]


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        yield made


def newest(home: House) -> int:
    return int(
        str(
            home.value(
                "SELECT max(epoch) FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment AND c.name = 'account'"
            )
        )
    )


def test_a_rotation_moves_every_key_and_look_up_and_people_stay_readable(home: House) -> None:
    api, console = home.vault("api"), home.vault("console")
    made = home.people(api, 30)
    before = {person.subject: home.read(api, person) for person in made}
    sealed = home.vault("site").create(
        home.vault("site").service, "provide", "demo-request",
        [NewRecord("demo", {"name": "D", "email": "d@visitor.example", "company": "C", "role": "R"}, "subject", kind="prospect")],
    )[0]  # fmt: skip
    assert home.value("SELECT count(*) FROM vault.data_key WHERE kind = 2") == 1
    started = home.desk.rotate(ALL, "test")
    assert started["account"] == newest(home)
    home.finish_rotation()
    assert (
        home.value(
            "SELECT count(*) FROM vault.data_key k WHERE NOT EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = k.compartment AND e.epoch = k.epoch AND e.state = 'active')"
        )
        == 0
    )
    assert home.value("SELECT count(*) FROM vault.data_key WHERE kind = 2") == 0, "sealed keys are wrapped now"
    assert (
        home.value(
            "SELECT count(*) FROM vault.lookup l JOIN vault.dataset d ON d.id = l.dataset JOIN vault.epoch e ON e.compartment = d.compartment AND e.epoch = l.epoch WHERE e.state <> 'active'"
        )
        == 0
    )
    assert {person.subject: home.read(api, person) for person in made} == before
    for person in made:
        (found,) = api.find(home.token, "account", "email", before[person.subject]["email"], ["name"], "provide", "integration")
        assert found.subject == person.subject
    assert console.catalogue.dataset("demo").epoch == started["prospects"]
    assert sealed.subject
    ring = home.desk.sync()
    assert ring.epochs.state("account", started["account"] - 1) is KeyState.DEACTIVATED
    assert started["account"] - 1 not in ring.credentials("api", {"account": "full"}).compartments["account"].epochs, (
        "doors no longer hold the old epoch"
    )
    entries = home.value("SELECT count(*) FROM vault.audit a JOIN vault.reason r ON r.id = a.reason AND r.name = 'key-rotation'")
    assert int(str(entries)) >= 30, "the keeper's look at each value is in the log"


def test_reads_writes_and_corrections_go_on_while_keys_rotate(home: House) -> None:
    api, other = home.vault("api"), home.vault("api")
    made = home.people(api, 200)
    stop, faults, done = threading.Event(), [], {"reads": 0, "writes": 0, "corrections": 0}

    def work() -> None:
        at = 0
        while not stop.is_set():
            person = made[at % len(made)]
            at += 1
            try:
                assert home.read(other, person)["name"]
                done["reads"] += 1
                fresh = home.people(other)[0]
                other.correct(
                    home.token,
                    fresh.subject,
                    fresh.record,
                    {"email": f"c{at}.{time.time_ns()}@org.example"},
                    "provide",
                    "integration",
                )
                done["corrections"] += 1
                made.append(fresh)
                done["writes"] += 1
            except Exception as error:
                faults.append(repr(error))
                return

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(3):
        home.desk.rotate(["account"], "test")
        home.finish_rotation()
        home.desk.sync()
    stop.set()
    for worker in workers:
        worker.join()
    assert not faults
    assert min(done.values()) > 20, done
    for person in made:
        values = home.read(api, person)
        (found,) = api.find(home.token, "account", "email", values["email"], ["email"], "provide", "integration")
        assert found.subject == person.subject
    assert home.value(
        "SELECT count(*) FROM vault.lookup l WHERE l.dataset = (SELECT id FROM vault.dataset WHERE name = 'account')"
    ) == home.value("SELECT count(*) FROM vault.record WHERE dataset = (SELECT id FROM vault.dataset WHERE name = 'account')"), (
        "one digest a person: none left over, none missing"
    )


def test_a_value_cannot_be_taken_twice_while_two_epochs_are_searched(home: House) -> None:
    old, fresh = home.vault("api"), home.vault("api")
    old.catalogue  # noqa: B018 (it knows the epoch before)
    home.people(old, email="taken@org.example")
    home.desk.rotate(["account"], "test")
    for door in (old, fresh):
        with pytest.raises(Duplicate):
            home.people(door, email="Taken@org.example")
    home.people(old, email="other@org.example")
    with pytest.raises(Duplicate):
        home.people(fresh, email="other@org.example")
    home.finish_rotation()
    for email in ("taken@org.example", "other@org.example"):
        with pytest.raises(Duplicate):
            home.people(old, email=email)


def test_the_keeper_goes_on_where_kill_9_ended_it(home: House) -> None:
    api = home.vault("api")
    made = [person for _ in range(12) for person in home.people(api, 1000)]
    home.desk.rotate(["account"], "test")
    environment = {
        **os.environ,
        "ARMONIKA_DSN": home.embedded.dsn,
        "CREDENTIALS_DIRECTORY": str(home.config.credentials / "keeper"),
        "ARMONIKA_HOME": str(home.config.home),
    }
    watch, moved = home.keeper(), [0]
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-m", "armonika.entry.keeper"], env=environment)
        end = time.monotonic() + 60
        while (state := watch.rotation()).moved == moved[-1] and state.retiring and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = watch.rotation()
        moved.append(state.moved)
        if not state.retiring:
            break
    assert moved == sorted(moved)
    home.finish_rotation()
    assert 0 < moved[1] < moved[-1], "it had begun when it was killed, and went on"
    assert all(outcome for outcome in (home.read(api, person) for person in made[::100]))
    assert (
        home.value(
            "SELECT count(DISTINCT epoch) FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment AND c.name = 'account'"
        )
        == 1
    )


def test_a_person_is_erased_while_the_keeper_moves_their_look_up_and_nobody_waits_for_ever(home: House) -> None:
    api, keeper = home.vault("api"), home.keeper()
    (person,) = home.people(api)
    home.desk.rotate(["account"], "test")
    while keeper._rewrap():
        pass
    with psycopg.connect(home.embedded.admin_dsn) as holder, ThreadPoolExecutor(2) as pool:
        holder.execute(f"SELECT FROM vault.lookup WHERE subject_id = '{person.subject}' FOR UPDATE".encode())
        moved = pool.submit(lambda: [keeper.step() for _ in range(40)])
        waiting_for(home, 1)
        erased = pool.submit(api.erase, home.token, [person.subject], "provide", "integration")
        waiting_for(home, 2)
        holder.rollback()
        assert moved.result(60)[0]
        assert erased.result(10)
    home.finish_rotation()
    assert home.value(f"SELECT count(*) FROM vault.lookup WHERE subject_id = '{person.subject}'") == 0


def waiting_for(home: House, count: int) -> None:
    """Until so many sessions wait for a lock."""
    end = time.monotonic() + 30
    while int(str(home.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))) < count:
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.01)


def test_a_paused_rotation_waits(home: House) -> None:
    home.desk.rotate(["account"], "test")
    home.desk.pause(True)
    keeper = home.keeper()
    assert not keeper.step()
    state = keeper.rotation()
    assert state.paused
    assert state.retiring
    home.desk.pause(False)
    home.finish_rotation()


def test_a_crash_between_keyring_and_database_is_mended_by_the_next_rotation_or_start(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armonika import policy
    from armonika.policy.compile import catalogue
    from armonika.trust.keys.provision import provision

    before = newest(home)
    prepared = home.desk.prepare(["account"], "test")
    ring = Keyring.open(home.config.keys)
    ring.epochs.activate("account", prepared["account"], "test")
    ring.save()
    assert newest(home) == before
    assert home.read(home.vault("api"), home.people(home.vault("api"))[0])
    provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
    assert newest(home) == prepared["account"]
    home.finish_rotation()


def test_a_suspended_epoch_writes_nothing_and_reads_go_on(home: House) -> None:
    api = home.vault("api")
    person = home.people(api)[0]
    number = newest(home)
    home.desk.mark("account", number, KeyState.SUSPENDED, "a doubt")
    with pytest.raises(VaultError) as caught:
        home.people(home.vault("api"))
    assert caught.value.status == 503
    assert home.read(api, person)
    with pytest.raises(IllegalTransition):
        home.desk.mark("account", number, KeyState.SUSPENDED, "twice")
    home.desk.mark("account", number, KeyState.ACTIVE, "the doubt is gone")
    home.people(home.vault("api"))
    home.desk.mark("account", number, KeyState.COMPROMISED, "seen outside")
    home.desk.rotate(["account"], "compromised")
    home.finish_rotation()
    assert home.read(home.vault("api"), person)
    assert home.desk.sync().epochs.state("account", number) is KeyState.COMPROMISED


def test_destruction_waits_for_living_data_and_for_backups_and_is_for_good(home: House) -> None:
    api = home.vault("api")
    person = home.people(api)[0]
    number = newest(home)
    with pytest.raises(KeyDeskError, match="Rotate first"):
        home.desk.destroy("account", number, "test")
    (old,) = (
        home.admin()
        .execute("SELECT kind, epoch, wrapped FROM vault.data_key WHERE subject_id = %s", (person.subject,))
        .fetchall()
    )
    old_keyring = (home.config.keys / "keyring.json").read_bytes()
    home.desk.rotate(["account"], "test")
    home.finish_rotation()
    with pytest.raises(KeyDeskError, match="Backups until"):
        home.desk.destroy("account", number, "test")
    stale = home.vault("api")
    home.later = now() + timedelta(days=36)
    home.desk.destroy("account", number, "test")
    home.later = None
    ring = Keyring.open(home.config.keys)
    assert ring.epochs.state("account", number) is KeyState.DESTROYED
    assert not any(f"account/{number}/" in place for place in ring.epochs.wrapped())
    assert home.read(api, person)
    fields = (person.subject, person.record, *old)
    with pytest.raises(KeyUnavailable):
        home.vault("api")._envelope.rewrap("account", fields[0], fields[1], old[0], old[1], bytes(old[2]), number + 1)  # type: ignore[arg-type]
    assert stale
    # An old copy of the keyring opens nothing with the root key of today: the keyring key was renewed with it.
    copy = home.config.home / "copy"
    copy.mkdir()
    for name, content in (("keyring.json", old_keyring), ("root.key", (home.config.keys / "root.key").read_bytes())):
        (copy / name).write_bytes(content)
        (copy / name).chmod(0o600)
    with pytest.raises(Exception, match="is not the root key"):
        Keyring.open(copy)
    with pytest.raises(IllegalTransition):
        home.desk.destroy("account", number, "again", early=True)


def test_a_prepared_epoch_becomes_active_by_a_rotation_and_not_by_a_mark(home: House) -> None:
    number = home.desk.prepare(["account"], "test")["account"]
    with pytest.raises(KeyDeskError, match="never active"):
        home.desk.mark("account", number, KeyState.ACTIVE, "a slip")
    assert home.desk.rotate(["account"], "test") == {"account": number}
    home.finish_rotation()
    active = [
        line.epoch
        for line in home.desk.sync().epochs.inventory()
        if (line.compartment, line.state) == ("account", KeyState.ACTIVE)
    ]
    assert active == [number]


def test_a_write_goes_through_two_changes_of_keys_in_a_row(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    api = home.vault("api")
    create, tries = api._create, []

    def late(*given: object) -> list[Created]:
        api.catalogue  # noqa: B018 (it knows the epoch of this moment)
        tries.append(1)
        if len(tries) <= 2:
            home.desk.rotate(["account"], "test")
        return create(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "_create", late)
    assert home.read(api, home.people(api)[0])
    assert len(tries) == 3
    home.finish_rotation()


def test_an_epoch_that_is_compromised_before_its_first_use_can_be_destroyed(home: House) -> None:
    number = home.desk.prepare(["account"], "test")["account"]
    home.desk.mark("account", number, KeyState.COMPROMISED, "seen outside before it was used")
    home.desk.destroy("account", number, "nothing is under it")
    assert home.desk.sync().epochs.state("account", number) is KeyState.DESTROYED
    assert home.read(home.vault("api"), home.people(home.vault("api"))[0])


def test_tend_does_what_the_policy_says_and_nothing_before(home: House) -> None:
    assert home.desk.tend().rotated == []
    home.later = now() + timedelta(days=31)
    done = home.desk.tend()
    assert set(done.rotated) == set(ALL)
    home.later = None
    home.finish_rotation()
    home.later = now() + timedelta(days=36)
    done = home.desk.tend()
    assert {name for name, _ in done.destroyed} >= {"account"}
    home.later = None
    home.finish_rotation()
    assert home.read(home.vault("api"), home.people(home.vault("api"))[0])


def test_every_change_of_keys_is_in_the_log_and_the_inventory_keeps_times_and_reasons(home: House) -> None:
    with home.admin() as connection:
        names = {
            str(row[0])
            for row in connection.execute(
                "SELECT DISTINCT o.name FROM vault.audit a JOIN vault.operation o ON o.id = a.operation WHERE o.name LIKE 'key-%%'"
            )
        }
    assert names == {"key-activate", "key-suspend", "key-retire", "key-destroy"}
    for line in Keyring.open(home.config.keys).epochs.inventory():
        steps = Keyring.open(home.config.keys).epochs.history(line.compartment, line.epoch)
        assert steps[0]["state"] == "pre-activation"
        assert all(step["at"] and step["reason"] for step in steps)
    ring = Keyring.open(home.config.keys).epochs
    steps = [step for line in ring.inventory() for step in ring.history(line.compartment, line.epoch)]
    assert {"seen outside", "the doubt is gone", "a doubt"} <= {step["reason"] for step in steps}


def test_a_page_costs_a_page_when_rotations_pile_up_and_statistics_are_lost(home: House) -> None:
    """As after a crash: a statement over all that is left was planned to look at all of it for each page, and a rotation of 47,000 took minutes."""
    api = home.vault("api")
    made = home.people(api, 900)
    for _ in range(3):
        home.desk.rotate(["account"], "test")
    with home.admin() as admin:
        admin.execute("DELETE FROM pg_statistic WHERE starelid = 'vault.lookup'::regclass")
        admin.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = 'vault.lookup'::regclass")
    keeper = home.keeper()
    try:
        with keeper._store.connection() as connection:
            # The first call also reads what the connection does not know of the catalogue yet.
            for _ in range(2):
                ((plan,),) = keeper._store.rows(
                    "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM vault.stale_lookups($1::bytea, 0::smallint, 0::smallint, 0, ''::bytea, 20)",
                    [keeper.service],
                    connection,
                )
        looked = plan[0]["Plan"]
        assert looked["Actual Rows"] == 20
        assert looked["Shared Hit Blocks"] + looked["Shared Read Blocks"] < 1000, "the page, not the table"
    finally:
        keeper.close()
    home.finish_rotation()
    assert home.value("SELECT count(*) FROM vault.epoch WHERE state IN ('retiring', 'emptied')") == 0
    assert home.value("SELECT count(*) FROM vault.lookup l JOIN vault.dataset d ON d.id = l.dataset JOIN vault.epoch e ON e.compartment = d.compartment AND e.epoch = l.epoch AND e.state <> 'active'") == 0  # fmt: skip
    fresh = home.vault("api")
    assert home.read(fresh, made[0])["name"] == home.read(fresh, made[-1])["name"] == "N"


def test_a_mark_that_was_killed_halfway_is_ended_by_the_same_command_or_the_next_start(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the keyring and the database: the desk says compromised, and the doors go on writing."""
    home.desk.rotate(["account"], "before")
    home.finish_rotation()
    number = home.value(
        "SELECT max(epoch) FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment AND c.name = 'account'"
    )
    state = f"SELECT state FROM vault.epochs() WHERE compartment = 'account' AND epoch = {number}"
    assert isinstance(number, int)

    def half(wanted: KeyState) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(KeyDesk, "_tell", lambda *_: False)
            home.desk.mark("account", number, wanted, "killed")

    half(KeyState.SUSPENDED)
    assert home.value(state) == "active"
    home.desk.mark("account", number, KeyState.SUSPENDED, "again")
    assert home.value(state) == "suspended"
    half(KeyState.ACTIVE)
    assert home.value(state) == "suspended"
    home.desk.mark("account", number, KeyState.ACTIVE, "again")
    assert home.value(state) == "active"
    half(KeyState.COMPROMISED)
    assert home.value(state) == "active"
    provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
    assert home.value(state) == "suspended", "the start ends it too"
    with pytest.raises(IllegalTransition):
        home.desk.mark("account", number, KeyState.COMPROMISED, "twice")
