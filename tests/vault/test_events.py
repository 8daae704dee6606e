"""Events from which records are kept, and the lock of the law: whose word counts, from which moment, and what leaves when."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.vault.stage import RESTRICT, Stage
from tests.vault.undone import record, refused, rows, undone

HAPPENED, WITHDRAWN = 30, 31
EVENT = "SELECT vault.event(%s, %s::smallint, %s::smallint, %s, %s, %s)"
WITHDRAW = "SELECT vault.withdraw_event(%s, %s::smallint, %s::smallint, %s, %s, %s)"


def dataset(stage: Stage, name: str) -> int:
    return int(stage.value("SELECT id FROM vault.dataset WHERE name = %s", name))


def words(stage: Stage, by: bytes, person: UUID, number: UUID, **changed: Any) -> list[Any]:
    given = {"secret": by, "purpose": stage.provide, "reason": stage.reason, "ref": None, "whom": person, "which": number}
    return [*(given | changed).values()]


def period(stage: Stage, which: UUID) -> list[tuple[Any, ...]]:
    return rows(stage, "SELECT subject_id, dataset, began_at, audit_id FROM vault.retention WHERE record_id = %s", which)


def teller(stage: Stage, *datasets: str) -> bytes:
    """Somebody at the API who may tell the events of these datasets, and so take them back; of no field is anything said."""
    for name in datasets:
        stage.allow(HAPPENED, fields=0, dataset=dataset(stage, name))
    return stage.session()


def test_an_event_is_dated_by_the_clock_the_recording_or_the_job_whichever_is_latest(stage: Stage) -> None:
    with undone(stage):
        secret, made = teller(stage, "account"), stage.person()
        rows(stage, "UPDATE vault.retention_state SET ran_at = clock_timestamp()")
        before, last = stage.value("SELECT clock_timestamp()"), stage.last()
        ((number,),) = rows(stage, EVENT, *words(stage, secret, made.subject, made.record, ref="A-1"), door="api")
        ((whom, of, began, said),) = period(stage, made.record)
        assert (whom, of, said) == (made.subject, stage.account.id, number)
        assert before < began < stage.value("SELECT clock_timestamp()")
        entry = (HAPPENED, True, "api", stage.actor(secret), stage.role, made.subject, made.record, stage.account.id, 0, stage.provide, stage.reason, "A-1", stage.policy)  # fmt: skip
        assert stage.entries(last) == [entry]
        assert number == stage.last()
        tomorrow = "clock_timestamp() + interval '1 day'"
        recorded = record(stage, made.subject, created_at=tomorrow)
        rows(stage, EVENT, *words(stage, secret, made.subject, recorded), door="api")
        assert period(stage, recorded)[0][2] == stage.value("SELECT created_at FROM vault.record WHERE record_id = %s", recorded)
        rows(stage, f"UPDATE vault.retention_state SET ran_at = {tomorrow}")
        ((second,),) = rows(stage, EVENT, *words(stage, secret, made.subject, made.record), door="api")
        assert period(stage, made.record) == [
            (made.subject, stage.account.id, stage.value("SELECT ran_at FROM vault.retention_state"), second)
        ]
        rows(stage, "UPDATE vault.retention SET began_at = '2300-01-01' WHERE record_id = %s", made.record)
        ((third,),) = rows(stage, EVENT, *words(stage, secret, made.subject, made.record), door="api")
        assert [(row[2].year, row[3]) for row in period(stage, made.record)] == [(2300, third)]
        # Taken back: for this record, with an entry.
        last = stage.last()
        ((number,),) = rows(stage, WITHDRAW, *words(stage, secret, made.subject, made.record, ref="B-2"), door="api")
        assert period(stage, made.record) == []
        assert len(period(stage, recorded)) == 1
        assert stage.entries(last) == [(WITHDRAWN, *entry[1:11], "B-2", stage.policy)]
        assert number == stage.last()


def test_events_are_told_where_the_policy_in_force_begins_a_period_with_them(stage: Stage) -> None:
    with undone(stage):
        named = ("account", "demo", "traffic", "former")
        secret, whom = teller(stage, *named), stage.person().subject
        # A former policy began every period with an event.
        rows(stage, "INSERT INTO vault.declared_retention SELECT -1, id, 'c', 1, 'event', false, 'UTC' FROM vault.dataset WHERE name = ANY (%s)", [*named])  # fmt: skip
        starts = dict(rows(stage, "SELECT d.name, x.starts FROM vault.declared_retention x JOIN vault.dataset d ON d.id = x.dataset WHERE x.policy_id = %s", stage.policy))  # fmt: skip
        assert [starts.get(name) for name in named] == ["event", "latest-event", "recording", None]
        kept = {name: record(stage, whom, dataset(stage, name)) for name in named}
        for name, event, withdrawn in (
            ("account", "", ""),
            ("demo", "", "AR422"),
            ("traffic", "AR422", "AR422"),
            ("former", "AR422", "AR422"),
        ):
            given = words(stage, secret, whom, kept[name])
            assert (refused(stage, EVENT, *given, door="api"), refused(stage, WITHDRAW, *given, door="api")) == (event, withdrawn)
            assert len(period(stage, kept[name])) == (name == "demo")


def test_whose_event_it_is_not_learns_nothing(stage: Stage) -> None:
    with undone(stage):
        org = uuid4()
        secret, made, other = teller(stage, "account"), stage.person(org), stage.person()
        rows(stage, EVENT, *words(stage, secret, other.subject, other.record), door="api")
        kept, last = period(stage, other.record), stage.last()
        wrong = (
            {"which": uuid4()}, {"which": other.record}, {"whom": other.subject}, {"whom": uuid4()}, {"which": None}, {"whom": None},
        )  # fmt: skip
        for statement in (EVENT, WITHDRAW):
            for changed in wrong:
                given = words(stage, secret, made.subject, made.record, **changed)
                assert refused(stage, statement, *given, door="api") == "AR403", changed
            for changed, said in (
                ({"secret": b"x" * 32}, "AR401"),
                ({"purpose": stage.legal}, "AR422"),
                ({"reason": stage.rights}, "AR422"),
                ({"ref": "not one"}, "AR422"),
            ):
                assert refused(stage, statement, *words(stage, secret, made.subject, made.record, **changed), door="api") == said
        assert (period(stage, other.record), stage.last()) == (kept, last)
        # Of an organisation's people, its own alone.
        stage.forbid()
        stage.allow(HAPPENED, "org")
        for of, said in ((org, ""), (uuid4(), "AR403"), (None, "AR403")):
            member = stage.session(org=of)
            for statement in (EVENT, WITHDRAW):
                assert refused(stage, statement, *words(stage, member, made.subject, made.record), door="api") == said
        stage.forbid()
        stage.allow(WITHDRAWN)
        stage.allow(RESTRICT)
        assert refused(stage, EVENT, *words(stage, secret, made.subject, made.record), door="api") == "AR403"


def test_who_is_restricted_or_erased_has_no_event(stage: Stage) -> None:
    with undone(stage):
        secret, made = teller(stage, "account"), stage.person()
        given = words(stage, secret, made.subject, made.record)
        for state, said in (("restricted", "AR423"), ("erased", "AR403"), ("active", "")):
            rows(stage, "UPDATE vault.subject SET state = %s WHERE subject_id = %s", state, made.subject)
            assert (refused(stage, EVENT, *given, door="api"), refused(stage, WITHDRAW, *given, door="api")) == (said, said)
        # For a purpose that goes on while somebody is restricted; a former policy left every purpose.
        rows(stage, "UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", made.subject)
        for purpose in (stage.provide, stage.legal):
            rows(
                stage,
                "UPDATE vault.declared_purpose SET while_restricted = (purpose = %s) WHERE policy_id = %s",
                purpose,
                stage.policy,
            )
            assert refused(stage, EVENT, *given, door="api") == ("" if purpose == stage.provide else "AR423")


@pytest.mark.parametrize("statement", [EVENT, WITHDRAW])
def test_an_event_holds_its_person_and_its_record(stage: Stage, statement: str) -> None:
    """Who ends the record holds it alone: it cannot end between the look at it and the event."""
    secret, made = teller(stage, "account"), stage.person()
    with stage.doors.raw() as held:
        held.execute(statement.encode(), words(stage, secret, made.subject, made.record))
        for table in ("subject WHERE subject_id", "record WHERE record_id"):
            whom = made.record if "record_id" in table else made.subject
            with pytest.raises(psycopg.errors.LockNotAvailable):
                stage.admin.execute(f"SELECT FROM vault.{table} = %s FOR UPDATE NOWAIT".encode(), (whom,))
            stage.admin.execute(f"SELECT FROM vault.{table} = %s FOR SHARE NOWAIT".encode(), (whom,))
        held.rollback()
