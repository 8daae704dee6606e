"""What is done with the administrator's rights leaves its row, its letter and its mark until somebody who looks after it has seen it; nobody takes a row away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store.migrate import migrate
from armonika.trust import crypto
from armonika.trust.keys import Keyring
from armonika.trust.keys.provision import end_token, issue_token, provision
from armonika.trust.vault import administrator, codec, staff
from armonika.trust.vault.errors import Refused, SessionEnded, Undeclared
from armonika.trust.vault.types import SecretHash
from tests.doors import Doors
from tests.staff import appoint
from tests.vault.stage import READ, Stage
from tests.vault.undone import refused, rows, undone

BEFORE = "0013_post_administrator_of_before_afterwards"
TABLES = ("administrator_entry", "administrator_seen")
ENTRIES = (
    "SELECT a.audit_id, a.at, a.operation, a.granted, a.actor, a.role, a.subject, a.reference FROM vault.audit a "
    "WHERE a.audit_id > %s AND a.door = 'administrator' ORDER BY 1"
)
ROWS = "SELECT audit_id, at, operation, granted, actor, role, subject, reference FROM vault.administrator_entry WHERE audit_id > %s ORDER BY 1"
WAITING = "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator' AND status = 'todo'"
SEE = "SELECT vault.administrator_see($1::bytea, $2::smallint, $3::smallint, $4::bigint[])"
LIST = "SELECT audit_id FROM vault.administrator_entries($1::bytea, $2::bigint, 50, NULL)"


def told(stage: Stage, last: int) -> list[tuple[Any, ...]]:
    """(operation, outcome, subject, reference) of the rows after an entry, each like its entry."""
    found = rows(stage, ROWS, last)
    assert found == rows(stage, ENTRIES, last)
    return [(row[2], row[3], row[6], row[7]) for row in found]


def reviewer(doors: Doors, role: str = "dpo") -> tuple[SecretHash, UUID]:
    """A session of a new member of staff with the second factor proven, and their pseudonym."""
    agent = appoint(doors.console, doors.server.admin_dsn, role)  # type: ignore[attr-defined]
    return agent.signed_in(), agent.subject


def act(doors: Doors) -> int:
    """Something that the operator does; its entry."""
    token = issue_token(doors.server.admin_dsn)  # type: ignore[attr-defined]
    return end_token(doors.server.admin_dsn, crypto.sha256(token.encode()).hex()[:12])  # type: ignore[attr-defined]


def _policy(stage: Stage) -> None:
    given = dict(catalogue(policy.load())) | {"sha256": "a" * 64, "version": "9.9", "effective_from": "2099-01-01"}
    rows(stage, "SELECT vault.install_policy(%s::jsonb)", json.dumps(given))
    rows(stage, "SELECT vault.note_policies()")
    rows(stage, "SELECT vault.note_policies()")


def _staff(call: str, *given: object) -> Callable[[Stage], UUID]:
    def done(stage: Stage) -> UUID:
        whom = stage.person().subject
        rows(stage, "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) SELECT %s, id, %s, 'p', %s FROM vault.role WHERE name = 'support'", whom, b"s" * 16, b"o" * 32)  # fmt: skip
        rows(stage, f"SELECT vault.{call}", whom, *given)
        return whom

    return done


def _token(stage: Stage) -> None:
    rows(stage, "SELECT vault.install_session(%s, %s, 'integration', 'api', 'token', '1 day', NULL)", crypto.random_bytes(32), uuid4())  # fmt: skip


def _end(stage: Stage) -> UUID:
    secret = stage.session()
    rows(stage, "SELECT vault.end_token(%s)", secret.hex())
    return stage.actor(secret)


def _refusal(stage: Stage) -> UUID:
    """A refusal that is written down, at a door of the administrator's own making."""
    whom, secret = uuid4(), stage.session("administrator", "service")
    rows(stage, "SELECT vault.note_refusal(%s, 6::smallint, NULL, NULL, %s, NULL)", secret, whom)
    return whom


DONE: dict[str, tuple[Callable[[Stage], UUID | None], int, bool, str | None]] = {
    "a member of staff is appointed": (_staff("staff_appoint(%s)"), 11, True, None),
    "a factor is reset": (_staff("staff_reset(%s, %s, 'q', %s)", b"t" * 16, b"n" * 32), 40, True, None),
    "an appointment is ended": (_staff("staff_end(%s)"), 42, True, None),
    "a token is issued": (_token, 12, True, None),
    "a token is ended": (_end, 12, True, None),
    "an epoch begins": (lambda stage: rows(stage, "SELECT vault.activate_epoch('traffic', 900)") and None, 17, True, "KEY-"),
    "an epoch is suspended": (lambda stage: rows(stage, "SELECT vault.suspend_epoch('traffic', e.epoch) FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment AND c.name = 'traffic' WHERE e.state = 'active'") and None, 19, True, "KEY-"),
    "an epoch is destroyed": (lambda stage: rows(stage, "SELECT vault.note_destruction('traffic', 901)") and None, 21, True, "KEY-"),
    "a backup is restored": (lambda stage: rows(stage, "SELECT vault.note_restore()") and None, 18, True, None),
    "a policy is installed": (_policy, 13, True, "POLICY-"),
    "the clock is confirmed": (lambda stage: rows(stage, "SELECT vault.confirm_clock()") and None, 44, True, None),
    "credentials are written": (lambda stage: rows(stage, "SELECT vault.note_keys('keys-credentials', 'site', 'ABCDEFGH-261126041028')") and None, 48, True, "ABCDEFGH-"),
    "the journal of the keys is not whole": (lambda stage: rows(stage, "SELECT vault.note_keys('keys-journal-broken', NULL, 'ABCDEFGH-1')") and None, 51, True, "ABCDEFGH-"),
    "a refusal": (_refusal, 6, False, None),
}  # fmt: skip


@pytest.mark.parametrize("what", DONE)
def test_what_is_done_leaves_exactly_one_row(stage: Stage, what: str) -> None:
    do, operation, granted, reference = DONE[what]
    with undone(stage):
        rows(stage, "SELECT vault.note_policies()")
        last = stage.last()
        whom = do(stage)
        ((done, outcome, subject, named),) = told(stage, last)
    assert (done, outcome, subject) == (operation, granted, whom)
    assert (named or "").startswith(reference or "")
    assert (named is None) == (reference is None)


def test_what_is_told_of_the_keys_is_of_nobody_and_of_one_service(stage: Stage) -> None:
    told = "SELECT a.operation, a.granted, a.actor, r.name, a.subject, a.record, a.dataset, a.fields, a.purpose, a.reason, a.reference FROM vault.audit a JOIN vault.role r ON r.id = a.role WHERE a.audit_id = %s"
    for about, name in (("site", "site"), ("witness", "keeper"), (None, "keeper")):
        with undone(stage):
            ((number,),) = rows(stage, "SELECT vault.note_keys('keys-credentials', %s, 'ABCDEFGH-1')", about)
            ((whose,),) = rows(stage, "SELECT (vault.service_of(%s)).actor", name)
            assert rows(stage, told, number) == [(48, True, whose, name, None, None, None, 0, 0, 0, "ABCDEFGH-1")]
            assert rows(stage, "SELECT vault.note_keys('keys-credentials', NULL, 'ABCDEFGH-1')") == [(None,)]
            assert rows(stage, "SELECT vault.note_keys('keys-moved', NULL, 'ABCDEFGH-1') IS NULL") == [(False,)], "another act"


def test_a_use_of_doors_functions_with_these_rights_leaves_a_row_each(stage: Stage) -> None:
    """A superuser who makes a session for himself and reads as a door does."""
    some = [stage.person().subject for _ in range(3)]
    secret = stage.session("administrator", "service")
    for operation in (READ, 2):
        stage.allow(operation)
    with undone(stage):
        last = stage.last()
        shape = (
            [secret],
            [READ],
            [stage.provide],
            [stage.reason],
            [None],
            some,
            [None] * 3,
            [stage.account.id],
            [stage.name],
            [1] * 3,
        )
        asked = rows(stage, codec.percent(codec.ASK), *shape)
        assert [verdict for *_, verdict in asked] == [0, 0, 0]
        assert sorted(told(stage, last), key=str) == sorted([(READ, True, one, None) for one in some], key=str)
        last = stage.last()
        rows(stage, "SELECT * FROM vault.ask_find(%s, %s::smallint, %s::smallint, NULL, %s::smallint, %s::smallint, ARRAY[1], ARRAY[%s::bytea], %s::bigint)",
             secret, stage.provide, stage.reason, stage.account.id, stage.account.ordinals["email"], bytes(32), stage.name)  # fmt: skip
        assert told(stage, last) == [(2, True, None, None)]


def test_doors_leave_none(doors: Doors, stage: Stage) -> None:
    last, before = stage.last(), rows(stage, WAITING)
    whom = doors.person().subject
    doors.api.read(doors.token, whom, "account", ["name"], "provide", "integration")
    doors.verifier.erase(doors.verifier.service, [whom], "legal", "verification")
    assert len(stage.entries(last)) >= 3
    assert told(stage, last) == []
    assert rows(stage, WAITING) == before


def test_entries_that_come_back_bring_their_rows(stage: Stage) -> None:
    """A restored copy takes back the sealed entries that it lost: what the operator did is not lost with them."""
    with undone(stage):
        size, number = stage.value("SELECT size FROM vault.seal_state"), stage.last() + 10_000
        sha, actor = stage.value("SELECT sha256 FROM vault.policy_version WHERE policy_id = %s", stage.policy), uuid4()
        said = [
            {"audit_id": number + at, "at": "2026-01-01T00:00:00.000000Z", "operation": "staff-end", "outcome": "granted", "door": door, "actor": str(actor), "actor_role": "console",
             "subject": str(actor), "fields": [], "policy": sha, "v": 1}
            for at, door in enumerate(("administrator", "console"))
        ]  # fmt: skip
        rows(stage, "SELECT vault.import_entries(%s, %s::jsonb, %s::bytea[])", size, json.dumps(said), [bytes(32), bytes(32)])
        assert told(stage, number - 1) == [(42, True, actor, None)]


def test_nobody_takes_a_row_away(doors: Doors, stage: Stage) -> None:
    """No door has a right on the tables, their functions' owner may add alone, and the guard refuses everybody."""
    act(doors)
    for door in ("site", "console", "api", "worker", "sealer", "verifier", "timpani", "retention", "keeper", "mailin"):
        for table in TABLES:
            for statement in (
                f"SELECT 1 FROM vault.{table}", f"DELETE FROM vault.{table}", f"UPDATE vault.{table} SET at = at", f"TRUNCATE vault.{table} CASCADE",
                f"INSERT INTO vault.{table} SELECT * FROM vault.{table}",
            ):  # fmt: skip
                assert stage.refused(door, statement) == "42501", (door, statement)
        for function in (
            "tell_administrator(ARRAY[1])",
            "tell_administrator_since(1)",
            "note_policies()",
            "note_keys('keys-moved', NULL, 'ABCDEFGH-1')",
            "service_of('console')",
        ):
            assert stage.refused(door, f"SELECT vault.{function}") == "42501", (door, function)
    given = "SELECT privilege_type::text FROM information_schema.role_table_grants WHERE table_schema = 'vault' AND table_name = %s AND grantee = 'armonika_vault' ORDER BY 1"
    for table in TABLES:
        assert rows(stage, given, table) == [("INSERT",), ("SELECT",)]
        for statement in (f"DELETE FROM vault.{table}", f"UPDATE vault.{table} SET at = at", f"TRUNCATE vault.{table} CASCADE"):
            for owner in ("", "SET LOCAL ROLE armonika_store; "):
                with pytest.raises(psycopg.DatabaseError, match="never changed or deleted"), stage.admin.transaction():
                    stage.admin.execute(f"{owner}{statement}".encode())


def test_one_letter_waits_however_much_is_done(doors: Doors, stage: Stage) -> None:
    stage.admin.execute("DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator'")
    for _ in range(3):
        act(doors)
    held = rows(
        stage,
        "SELECT status::text, args, queue_name, scheduled_at - clock_timestamp() < interval '10 seconds' FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator'",
    )
    assert held == [("todo", {}, "letters", True)], "it holds nothing"
    stage.admin.execute("UPDATE jobs.procrastinate_jobs SET status = 'doing' WHERE task_name = 'send-administrator'")
    act(doors)
    assert rows(stage, WAITING) == [(1,)], "what comes while a letter is written has another"


def test_what_was_not_done_tells_nobody(doors: Doors, stage: Stage) -> None:
    stage.admin.execute("DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator'")
    last = stage.last()
    with stage.admin.transaction(force_rollback=True):
        rows(stage, "SELECT vault.confirm_clock()")
    assert refused(stage, "SELECT vault.staff_end(%s)", uuid4()) == "AR403"
    assert told(stage, last) == []
    assert rows(stage, WAITING) == [(0,)]


def test_seen_is_each_persons_own(doors: Doors) -> None:
    """The officer's count is not touched by what somebody else says to have seen, nor by somebody who was appointed for that."""
    first, _ = reviewer(doors)
    second, whom = reviewer(doors, "security")
    console = doors.console
    number = act(doors)
    shown = {one.audit_id: one for one in administrator.acts(console, first, 50)}
    assert list(shown) == sorted(shown, reverse=True)
    assert (shown[number].operation, shown[number].fresh, shown[number].seen) == ("token", True, [])
    before = administrator.unseen(console, first), administrator.unseen(console, second)
    assert min(before) > 1, "what nobody has seen yet is everybody's"
    entry = administrator.see(console, second, [number])
    with doors.admin() as admin:
        said = admin.execute("SELECT o.name, a.granted, a.door, a.actor, p.name FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.purpose p ON p.id = a.purpose WHERE a.audit_id = %s", (entry,)).fetchall()  # fmt: skip
    assert said == [("administrator-seen", True, "console", whom, "secure")]
    assert (administrator.unseen(console, first), administrator.unseen(console, second)) == (before[0], before[1] - 1)
    (one,) = [one for one in administrator.acts(console, first, 50) if one.audit_id == number]
    assert one.fresh
    ((role, at),) = one.seen
    assert (role, one.at < at) == ("security", True)
    (one,) = [one for one in administrator.acts(console, second, 50) if one.audit_id == number]
    assert not one.fresh
    assert administrator.see(console, second, [number]) is None, "once"
    assert administrator.see(console, second, [number, number - 0]) is None
    assert administrator.see(console, first, [number, number]) is not None
    third, _ = reviewer(doors)
    fresh = {one.audit_id for one in administrator.acts(console, third, 1000) if one.fresh}
    assert number not in fresh, "somebody saw it before this account was made"
    unseen_by_all = {one.audit_id for one in administrator.acts(console, third, 1000) if not one.seen}
    assert unseen_by_all <= fresh, "what nobody saw is not over with who left"
    assert administrator.unseen(console, third) >= len(fresh)


def test_whoever_has_seen_it_is_shown_with_the_time_or_nothing_is(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, _ = reviewer(doors)
    administrator.see(doors.console, secret, [act(doors)])
    real = doors.console._store.rows
    monkeypatch.setattr(
        doors.console._store,
        "rows",
        lambda what, *asked, **more: [
            (*row[:11], []) if "administrator_entries" in what else row for row in real(what, *asked, **more)
        ],
    )
    with pytest.raises(ValueError, match="shorter"):
        administrator.acts(doors.console, secret, 1)


def test_pages(doors: Doors) -> None:
    secret, _ = reviewer(doors)
    for _ in range(3):
        act(doors)
    whole = [one.audit_id for one in administrator.acts(doors.console, secret, 6)]
    assert [one.audit_id for one in administrator.acts(doors.console, secret, 3)] == whole[:3]
    assert [one.audit_id for one in administrator.acts(doors.console, secret, 3, whole[2])] == whole[3:]
    assert administrator.acts(doors.console, secret, 3, 0) == []


def test_who_may_not_see_them(doors: Doors) -> None:
    number = act(doors)
    console = doors.console
    support, _ = reviewer(doors, "support")
    pending, _ = appoint(console, doors.server.admin_dsn, "dpo").pending()  # type: ignore[attr-defined]
    waiting = SecretHash(crypto.sha256(pending.encode()))
    for secret, wanted in (
        (support, Refused),
        (waiting, SessionEnded),
        (console.service, Refused),
        (SecretHash(bytes(32)), SessionEnded),
    ):
        for call in (
            lambda s: administrator.unseen(console, s), lambda s: administrator.acts(console, s, 5), lambda s: administrator.see(console, s, [number]),
        ):  # fmt: skip
            with pytest.raises(wanted):
                call(secret)
    secret, whom = reviewer(doors)
    last = act(doors)
    for wrong in ([], [number, 10**15], [-1], [None], [number] * 1001):
        with pytest.raises(Undeclared):
            administrator.see(console, secret, wrong)  # type: ignore[arg-type]
    with doors.admin() as admin:
        assert admin.execute("SELECT count(*) FROM vault.audit WHERE audit_id > %s AND operation = 43", (last,)).fetchone() == (
            0,
        )
    staff.end(doors.server.admin_dsn, whom)  # type: ignore[attr-defined]
    with pytest.raises(SessionEnded):
        administrator.unseen(console, secret)


def test_the_list_opens_with_a_committed_ticket_of_its_own(doors: Doors, stage: Stage) -> None:
    secret, _ = reviewer(doors)
    other, _ = reviewer(doors, "security")
    words = (secret, doors.console.catalogue.purpose(staff.PURPOSE), doors.console.catalogue.reason(staff.REASON))
    consult = "SELECT vault.consult_staff($1::bytea, $2::smallint, $3::smallint)"
    with doors.raw("console") as open_one:
        ((number,),) = open_one.execute(codec.percent(consult).encode(), words).fetchall()  # type: ignore[misc]
        assert stage.refused("console", LIST, secret, number) == "AR403", "while it is open"
        open_one.rollback()
    assert stage.refused("console", LIST, secret, number) == "AR403", "after it was rolled back"
    ((number,),) = stage.rows("console", consult, *words)
    assert stage.refused("console", LIST, other, number) == "AR403"
    assert stage.refused("console", LIST, secret, number) == "", "positive control"
    assert stage.refused("site", SEE, *words, [number]) == "42501"


@contextmanager
def database(server: object) -> Iterator[str]:
    """A database of its own, with what two starts and the operator did in it."""
    admin_dsn, keys = server.admin_dsn, server.home / "keys"  # type: ignore[attr-defined]
    other = make_conninfo(admin_dsn, dbname="armonika_unseen")
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS armonika_unseen WITH (FORCE)")
        connection.execute("CREATE DATABASE armonika_unseen")
    try:
        provision(keys, other, catalogue(policy.load()))
        issue_token(other, label="before")
        yield other
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS armonika_unseen WITH (FORCE)")


def test_what_was_done_before_this_release_is_filled_in(server: object) -> None:
    """A database of the release before has entries and no rows. Nobody has seen them: they come to everybody. Policies of before get no entry now."""
    keys = server.home / "keys"  # type: ignore[attr-defined]
    with database(server) as other:
        with psycopg.connect(other, autocommit=True) as connection:
            wanted = connection.execute(ROWS, (0,)).fetchall()
            assert wanted == connection.execute(ENTRIES, (0,)).fetchall()
            assert "POLICY-1" in {row[-1] for row in wanted}
            for statement in (
                "DROP TABLE vault.administrator_seen, vault.administrator_entry",
                "ALTER TABLE vault.policy_version DROP COLUMN entry_due",
                "DELETE FROM vault.operation WHERE id IN (43, 44)",
                f"DELETE FROM armonika_meta.migration WHERE name IN ('0012_pre_administrator', '{BEFORE}')",
            ):
                connection.execute(statement.encode())
        assert provision(keys, other, catalogue(policy.load())).migration.applied == ("0012_pre_administrator", BEFORE)
        with psycopg.connect(other, autocommit=True) as connection:
            assert connection.execute(ROWS, (0,)).fetchall() == wanted


def test_the_look_through_the_whole_log_holds_nobody_up(server: object) -> None:
    """It may take minutes: until it is over it has no more than a reader has, and no number of a transaction, for which the sealer would wait."""
    ring = Keyring.open(server.home / "keys")  # type: ignore[attr-defined]
    with (
        database(server) as other,
        psycopg.connect(other) as holder,
        psycopg.connect(other, autocommit=True) as watch,
        ThreadPoolExecutor(1) as pool,
    ):
        watch.execute("DELETE FROM armonika_meta.migration WHERE name = %s", (BEFORE,))
        # Where it would write, when it has looked.
        holder.execute("LOCK TABLE vault.administrator_entry IN SHARE MODE")
        done = pool.submit(migrate, other, ring.database_passwords(), ring.keyring_id)
        while not (waiting := watch.execute("SELECT pid, backend_xid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").fetchall()):  # fmt: skip
            assert not done.done()
        ((pid, number),) = waiting
        assert number is None
        held = watch.execute("SELECT DISTINCT l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = %s AND l.granted AND c.relnamespace = 'vault'::regnamespace", (pid,)).fetchall()  # fmt: skip
        assert held == [("AccessShareLock",)]
        holder.rollback()
        assert done.result().applied == (BEFORE,)
