"""What is told of the operator, row by row: what it is of, in whose name, once, and which letter waits. Nothing is left behind."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.trust import crypto
from armonika.trust.keys.provision import end_token, issue_token
from armonika.trust.vault.staff import PURPOSE, REASON
from tests.staff import appoint
from tests.vault.stage import Stage
from tests.vault.undone import refused, rows, undone

LETTERS = "SELECT q.priority, q.queue_name, q.lock, q.queueing_lock, q.args, q.scheduled_at BETWEEN clock_timestamp() + interval '8 seconds' AND clock_timestamp() + interval '10 seconds' FROM jobs.procrastinate_jobs q WHERE q.task_name = 'send-administrator' AND q.status::text = 'todo'"
ONE: list[tuple[Any, ...]] = [(0, "letters", None, None, {}, True)]
ROWS = "SELECT audit_id FROM vault.administrator_entry WHERE audit_id >= %s ORDER BY 1"
CONFIRM = "SELECT vault.confirm_clock()"


def act(stage: Stage) -> int:
    """Something that the operator did in a transaction of its own; its entry."""
    secret = issue_token(stage.doors.server.admin_dsn)  # type: ignore[attr-defined]
    return end_token(stage.doors.server.admin_dsn, crypto.sha256(secret.encode()).hex()[:12])  # type: ignore[attr-defined]


def without(stage: Stage, number: int) -> None:
    """The row of an entry is gone, and no letter waits."""
    rows(stage, "SET LOCAL session_replication_role = replica")
    rows(stage, "DELETE FROM vault.administrator_entry WHERE audit_id = %s", number)
    rows(stage, "SET LOCAL session_replication_role = origin")
    quiet(stage)


def quiet(stage: Stage) -> None:
    rows(stage, "DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator'")


def test_an_act_tells_of_itself_alone(stage: Stage) -> None:
    """A row that somebody took away is not put back with the next: its absence is what is seen (`armonika verify`)."""
    before = act(stage)
    stage.doors.person()
    with undone(stage):
        without(stage, before)
        last = stage.last()
        rows(stage, CONFIRM)
        assert rows(stage, ROWS, before) == [(last + 1,)]
        rows(stage, "SELECT vault.tell_administrator_since(%s)", before - 1)
        assert rows(stage, ROWS, before) == [(last + 1,)], "of another transaction"


def test_an_entry_of_a_door_has_no_row_whoever_asks_for_it(stage: Stage) -> None:
    stage.doors.person()
    last = stage.last()
    with undone(stage):
        quiet(stage)
        rows(stage, "SELECT vault.tell_administrator(ARRAY[%s::bigint])", last)
        assert rows(stage, ROWS, last) == []
        assert rows(stage, LETTERS) == []


def test_who_was_told_is_not_told_again(stage: Stage) -> None:
    number = act(stage)
    with undone(stage):
        quiet(stage)
        rows(stage, "SELECT vault.tell_administrator(ARRAY[%s::bigint])", number)
        assert rows(stage, LETTERS) == []


def test_before_there_is_a_queue_a_row_stands_without_a_letter(stage: Stage) -> None:
    with undone(stage):
        rows(stage, "ALTER TABLE jobs.procrastinate_jobs RENAME TO elsewhere")
        last = stage.last()
        rows(stage, CONFIRM)
        assert rows(stage, ROWS, last + 1) == [(last + 1,)]


def test_the_letter_waits_ten_seconds_whatever_else_waits(stage: Stage) -> None:
    with undone(stage):
        quiet(stage)
        rows(
            stage,
            "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, priority, args) VALUES ('letters', 'another', 0, '{}')",
        )
        rows(stage, CONFIRM)
        assert rows(stage, LETTERS) == ONE


def services(stage: Stage, which: str) -> list[tuple[Any, ...]]:
    return rows(stage, "SELECT (vault.service_of(%s)).actor", which)


def test_an_act_is_in_the_name_of_the_newest_living_service(stage: Stage) -> None:
    """And of no person or token of the same door; without one nothing is done."""
    with undone(stage):
        before = services(stage, "retention")
        for kind in ("session", "token"):
            stage.session("retention", kind)
        stage.session("keeper", "service")
        stage.session("retention", "service", revoked_at="clock_timestamp()")
        stage.session("retention", "service", created_at="'2000-01-01'")
        assert services(stage, "retention") == before
        secret = stage.session("retention", "service")
        assert services(stage, "retention") == [(stage.actor(secret),)]
        rows(stage, "UPDATE vault.session SET revoked_at = clock_timestamp() WHERE door = 'retention' AND kind = 'service'")
        last = stage.last()
        assert refused(stage, "SELECT vault.service_of('retention')") == "AR422"
        assert refused(stage, CONFIRM) == "AR422"
        assert stage.last() == last


def test_each_policy_has_one_entry_and_those_of_before_have_none(stage: Stage) -> None:
    first = "SELECT min(policy_id) FROM vault.policy_version WHERE policy_id > 0"
    with undone(stage):
        rows(stage, "SELECT vault.note_policies()")
        assert rows(stage, "SELECT vault.note_policies()") == [(0,)]
        ((number,),) = rows(stage, "SELECT audit_id FROM vault.administrator_entry WHERE operation = 13 AND reference = format('POLICY-%%s', (" + first + "))")  # fmt: skip
        for due, wanted in ((False, 0), (True, 1)):
            without(stage, number)
            rows(stage, "SET LOCAL session_replication_role = replica")
            rows(stage, f"UPDATE vault.policy_version SET entry_due = %s WHERE policy_id = ({first})", due)
            # Another act of the same reference is not the entry.
            rows(
                stage,
                f"INSERT INTO vault.administrator_entry SELECT min(audit_id) - 1, now(), 44, true, gen_random_uuid(), 1, NULL, format('POLICY-%%s', ({first})) FROM vault.administrator_entry",
            )
            last = stage.last()
            assert rows(stage, "SELECT vault.note_policies()") == [(wanted,)]
            assert [row[:2] + row[5:] for row in stage.entries(last)] == [
                (13, True, None, None, None, 0, 0, 0, f"POLICY-{stage.value(first)}", stage.policy)
            ] * wanted
        given = dict(catalogue(policy.load()))
        for name, day in (("a", 1), ("b", 2)):
            words = {"sha256": name * 64, "version": f"9.{day}", "effective_from": f"2099-01-0{day}"}
            rows(stage, "SELECT vault.install_policy(%s::jsonb)", json.dumps(given | words))
        assert rows(stage, "SELECT vault.note_policies()") == [(2,)]


def test_the_journal_of_the_keys_tells_only_what_it_holds(stage: Stage) -> None:
    """Each act of keys, under the name of its operation; no other operation, and none without a reference."""
    names = dict(stage.admin.execute("SELECT name, id FROM vault.operation").fetchall())
    keys = {name: number for name, number in names.items() if name.startswith("keys-")}
    assert len(keys) == 7
    with undone(stage):
        last = stage.last()
        for name in (*(names.keys() - keys.keys()), "keys", None):
            assert refused(stage, "SELECT vault.note_keys(%s, NULL, 'ABCDEFGH-1')", name) == "AR422", name
        for name in keys:
            assert refused(stage, "SELECT vault.note_keys(%s, NULL, NULL)", name) == "AR422"
        assert stage.last() == last
        for name in keys:
            rows(stage, "SELECT vault.note_keys(%s, NULL, 'ABCDEFGH-1')", name)
        assert [row[0] for row in stage.entries(last)] == list(keys.values())


def test_what_is_told_of_a_door_without_a_living_service_is_the_keepers(stage: Stage) -> None:
    told = "SELECT vault.note_keys('keys-moved', %s, %s)"
    with undone(stage):
        ((keeper,),) = services(stage, "keeper")
        stage.session("elsewhere", "token")
        stage.session("elsewhere", "service", revoked_at="clock_timestamp()")
        last = stage.last()
        rows(stage, told, "elsewhere", "ABCDEFGH-1")
        for _ in range(2):
            secret = stage.session("elsewhere", "service")
        rows(stage, told, "elsewhere", "ABCDEFGH-2")
        assert [row[3] for row in stage.entries(last)] == [keeper, stage.actor(secret)]


def test_what_is_fresh_to_whom(stage: Stage) -> None:
    """What this person has not seen: of the time before their account only what nobody saw."""
    first, second = act(stage), act(stage)
    whom, other = stage.person().subject, stage.person().subject

    def fresh(who: UUID) -> list[int]:
        return sorted(number for (number,) in rows(stage, "SELECT vault.administrator_fresh(%s)", who) if number >= first)

    def seen(number: int, who: UUID) -> None:
        rows(stage, "INSERT INTO vault.administrator_seen (audit_id, actor, role, entry) VALUES (%s, %s, 1, 1)", number, who)

    def since(moment: str) -> None:
        rows(stage, f"UPDATE vault.subject SET created_at = (SELECT at FROM vault.administrator_entry WHERE audit_id = %s){moment} WHERE subject_id = %s", first, whom)  # fmt: skip

    with undone(stage):
        rows(stage, "UPDATE vault.subject SET created_at = '2000-01-01' WHERE subject_id = %s", other)
        between = [number for (number,) in rows(stage, ROWS, first)]
        assert {first, second} < set(between)
        since("")
        seen(first, other)
        assert fresh(whom) == between, "from the very moment of their account on everything is"
        since(" + interval '1 microsecond'")
        assert fresh(whom) == between[1:]
        assert fresh(other) == between[1:]
        seen(second, whom)
        assert fresh(whom) == [number for number in between[1:] if number != second]
        assert fresh(other) == between[1:], "each has their own"
        assert fresh(uuid4()) == between, "of whom no account is known"


def test_each_row_is_listed_once_with_the_leaf_of_its_entry(stage: Stage) -> None:
    secret = appoint(stage.doors.console, stage.doors.server.admin_dsn, "dpo").signed_in()  # type: ignore[attr-defined]
    number, other, newest = act(stage), stage.person().audit_id, act(stage)
    words = (secret, stage.doors.console.catalogue.purpose(PURPOSE), stage.doors.console.catalogue.reason(REASON))
    ((ticket,),) = stage.rows("console", "SELECT vault.consult_staff($1::bytea, $2::smallint, $3::smallint)", *words)
    with undone(stage):
        for place, entry in ((2**40, number), (2**40 + 1, other)):
            rows(stage, "INSERT INTO vault.leaf VALUES (%s, %s, sha256(''))", place, entry)
        listed = "SELECT audit_id, leaf_no FROM vault.administrator_entries(%s, %s, 1000, NULL) WHERE audit_id >= %s"
        found = rows(stage, listed, secret, ticket, number, door="console")
        told = [one for (one,) in rows(stage, ROWS, number)][::-1]
        assert found == [(one, 2**40 if one == number else None) for one in told]
        assert newest in told
        some = "SELECT count(*) FROM vault.administrator_entries(%s, %s, %s::int, NULL)"
        for most in (1, 0, -1):
            assert rows(stage, some, secret, ticket, most, door="console") == [(1,)]
        see, last = "SELECT vault.administrator_see(%s, %s::smallint, %s::smallint, %s::bigint[])", stage.last()
        for wrong in (None, [], [number] * 1001):
            assert refused(stage, see, *words, wrong, door="console") == "AR422"
        assert rows(stage, see, *words, [number] * 1000, door="console") == [(last + 1,)]
        told_of = ("console", stage.actor(secret), None, None, None, 0, *words[1:], None, stage.policy)
        assert [(*row[:4], *row[5:]) for row in stage.entries(last)] == [(43, True, *told_of)]
        seen = [rows(stage, see, *words, numbers, door="console") for numbers in ([number], [number, newest], [newest])]
        assert seen == [[(None,)], [(last + 2,)], [(None,)]], "each once"
