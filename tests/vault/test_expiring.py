"""One page of what has expired, row by row: which records it takes, whom it leaves alone, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.vault.job import NOW, OLD, YOUNG, Job, edge
from tests.vault.stage import ERASE, Stage
from tests.vault.undone import record, refused, rows, undone


@pytest.fixture
def job(stage: Stage) -> Iterator[Job]:
    with undone(stage):
        yield Job(stage)


def test_a_page_takes_those_that_have_waited_longest(job: Job) -> None:
    planted, last = [job.plant("demo", f"{OLD} + interval '{n} days'")[1] for n in (2, 0, 1)], job.stage.last()
    assert set(job.expire(2)) == {planted[1], planted[2]}
    assert job.expire(2) == planted[:1]
    entries = [(row[:3], row[6:10]) for row in job.stage.entries(last) if row[6]]
    assert entries[-1] == ((ERASE, True, "retention"), (planted[0], job.dataset("demo"), 0, job.stage.legal))
    assert job.expire(2) == []


@pytest.mark.parametrize(
    ("starts", "recorded", "event", "began"),
    [("recording", 1, 2, 1), ("event", 1, 2, 2), ("event", 1, None, None), ("latest-event", 1, 2, 2), ("latest-event", 2, 1, 2), ("latest-event", 1, None, 1)],
)  # fmt: skip
def test_when_a_period_begins(job: Job, starts: str, recorded: int, event: int | None, began: int | None) -> None:
    """What the job asks again while it holds the person: an event may have come since the page was chosen."""
    call = "SELECT extract(epoch FROM vault.period_began(%s, to_timestamp(%s), to_timestamp(%s::int)))::int"
    assert rows(job.stage, call, starts, recorded, event) == [(began,)]


def test_what_an_event_keeps_takes_no_place_in_a_page(job: Job) -> None:
    due = "SELECT subject, record FROM vault.due(%s, clock_timestamp(), 100)"
    kept, gone = job.plant("demo", OLD, YOUNG), job.plant("demo", OLD, OLD)
    plain, waiting, over = job.plant("demo", OLD), job.plant("account", OLD), job.plant("account", OLD, OLD)
    last, first = job.plant("demo", OLD, edge("demo")), job.plant("demo", OLD, edge("demo", before=1))
    recent, exact, young = (
        job.plant("demo", "clock_timestamp() - interval '30 days'"),
        job.plant("demo", edge("demo")),
        job.plant("account", OLD, YOUNG),
    )
    ended, begun = job.plant("account", OLD, edge("account", before=1)), job.plant("account", OLD, edge("account"))
    found = rows(job.stage, due, job.stage.policy)
    assert set(found) & {kept, gone, plain, waiting, over, last, first, recent, exact, young, ended, begun} == {
        gone,
        plain,
        over,
        first,
        ended,
    }
    assert set(job.expire()) == {gone[1], plain[1], over[1], first[1], ended[1]}


def test_an_event_keeps_its_own_record_alone(job: Job) -> None:
    """Neither another record of the person, nor one of the same number of somebody else."""
    whom, other = job.someone(), job.someone()
    kept, gone = job.plant("demo", OLD, YOUNG, whom), job.plant("demo", OLD, None, whom)
    twin = record(job.stage, other, job.dataset("demo"), NOW, gone[1])
    rows(job.stage, f"INSERT INTO vault.retention VALUES (%s, %s, %s, {YOUNG}, 1)", other, twin, job.dataset("demo"))
    before = job.progress()["demo"]
    assert job.expire() == [gone[1]]
    assert rows(job.stage, "SELECT subject_id FROM vault.record WHERE record_id = ANY (%s) ORDER BY created_at", [kept[1], twin]) == [(whom,), (other,)]  # fmt: skip
    assert (before[1:], job.progress()["demo"][1:]) == ([1, 1], [0, 0])


def test_who_cannot_be_found_any_more_loses_the_sign_in_when_something_ended(job: Job) -> None:
    found, lost, untouched = (job.someone() for _ in range(3))
    assert job.stage.person(), "somebody else can be found"
    for whom in (found, lost):
        job.plant("demo", OLD, None, whom)
        job.plant("demo", NOW, None, whom)
    kept = job.plant("traffic", OLD, None, untouched)
    rows(job.stage, "INSERT INTO vault.lookup SELECT %s, 1, 1, sha256('x'), subject_id, record_id, true FROM vault.record WHERE subject_id = %s AND created_at > clock_timestamp() - interval '1 day'", job.dataset("demo"), found)  # fmt: skip
    assert len(job.expire()) == 2
    assert [job.signed_in(whom) for whom in (found, lost, untouched)] == [True, False, True]
    assert rows(job.stage, "SELECT 1 FROM vault.record WHERE record_id = %s", kept[1]), "no rule lets the job end it"


def test_a_tombstone_counts_the_records_that_ended(job: Job) -> None:
    whom, _ = job.plant("demo", OLD)
    other, _ = job.plant("demo", OLD)
    for subject, number in ((whom, uuid4()), (whom, None), (other, uuid4())):
        rows(job.stage, "INSERT INTO vault.ended (subject_id, record_id, audit_id) VALUES (%s, %s, 1)", subject, number)
    assert len(job.expire()) == 2
    assert rows(job.stage, "SELECT records FROM vault.tombstone WHERE subject_id = ANY (%s)", [whom, other]) == [(2,), (2,)]


def test_people_without_a_record_are_looked_for_once_and_in_pages(job: Job) -> None:
    stage, people = job.stage, [job.someone() for _ in range(3)]
    stays, whole, early = (job.someone() for _ in range(3))
    job.plant("demo", NOW, None, stays)
    empty, swept = "SELECT vault.end_empty(%s, %s)", "SELECT swept_xact::text::bigint FROM vault.retention_state"
    rows(stage, "SET LOCAL session_replication_role = replica")
    rows(stage, "DELETE FROM vault.ended")
    rows(stage, "SET LOCAL session_replication_role = origin")
    rows(stage, "UPDATE vault.retention_state SET swept_xact = '100'")
    for whom, number, transaction in (
        *((one, uuid4(), 100) for one in (*people, stays)),
        (whole, None, 100),
        (early, uuid4(), 99),
    ):
        rows(stage, "INSERT INTO vault.ended (at, subject_id, record_id, audit_id, xact) VALUES (clock_timestamp() - interval '2 hours', %s, %s, 1, %s::text::xid8)", whom, number, transaction)  # fmt: skip
    last = stage.last()
    assert job.call(empty, job.secret, 2) == [(2,)]
    assert [(row[0], row[5], row[8]) for row in stage.entries(last)] == [(ERASE, whom, 0) for whom in sorted(people)[:2]]
    assert rows(stage, "SELECT DISTINCT records FROM vault.tombstone WHERE subject_id = ANY (%s)", people) == [(0,)]
    assert rows(stage, swept) == [(100,)], "one of them waits"
    assert job.call(empty, job.secret, 100) == [(1,)]
    assert [stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom) for whom in people] == ["erased"] * 3
    assert rows(stage, swept)[0][0] > 100
    assert job.call(empty, job.secret, 100) == [(0,)]
    assert [stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom) for whom in (stays, whole, early)] == ["active"] * 3  # fmt: skip


def test_jobs_that_are_over_and_old_reports_go_and_no_others(job: Job) -> None:
    stage = job.stage
    for name, age in (("over", 8), ("fresh", 6)):
        ((number,),) = rows(stage, "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args, status) VALUES ('letters', %s, '{}', 'failed') RETURNING id", name)  # fmt: skip
        rows(stage, "INSERT INTO jobs.procrastinate_events (job_id, type, at) VALUES (%s, 'failed', clock_timestamp() - make_interval(days => %s))", number, age)  # fmt: skip
    for age in (100, 89, 95):
        rows(stage, "INSERT INTO vault.trust_report (at, report) VALUES (clock_timestamp() - make_interval(days => %s), jsonb_build_object('age', %s::int))", age, age)  # fmt: skip
    job.call("SELECT * FROM vault.purge_stale(%s, 1000)", job.secret)
    assert rows(stage, "SELECT task_name FROM jobs.procrastinate_jobs WHERE task_name IN ('over', 'fresh')") == [("fresh",)]
    assert rows(stage, "SELECT report ->> 'age' FROM vault.trust_report WHERE report ? 'age' ORDER BY 1") == [("89",), ("95",)], (
        "the newest stays, however old"
    )


def test_progress_counts_each_dataset_by_its_own_beginning(job: Job) -> None:
    before = job.progress()
    assert before["demo"][1:] == before["account"][1:] == [0, 0]
    assert "former" not in before
    for name in ("demo", "account"):
        for began in (None, OLD, YOUNG):
            job.plant(name, OLD, began)
    job.plant("former", OLD)
    after = job.progress()
    assert (after["demo"][1:], after["account"][1:]) == ([2, 2], [1, 1])
    assert after["former"] == [None, 0, 0]
    assert {name: row for name, row in after.items() if name not in ("demo", "account", "former")} == {
        name: row for name, row in before.items() if name not in ("demo", "account")
    }


def test_an_event_is_nothing_to_a_period_that_begins_with_the_recording(job: Job) -> None:
    name = job.stage.value(
        "SELECT s.name FROM vault.declared_retention d JOIN vault.dataset s ON s.id = d.dataset WHERE d.policy_id = %s AND d.starts = 'recording' ORDER BY 1 LIMIT 1", job.stage.policy
    )  # fmt: skip
    before = job.progress()[name][1]
    job.plant(name, OLD, YOUNG)
    assert job.progress()[name][1] == before + 1


def test_progress_counts_to_the_microsecond(job: Job) -> None:
    for days in (0, 1):
        for before in (0, 1):
            job.plant("demo", edge("demo", days, before))
            job.plant("account", OLD, edge("account", days, before))
    after = job.progress()
    assert (after["demo"][1:], after["account"][1:]) == ([3, 1], [3, 1])


def test_a_clock_is_trusted_to_the_microsecond(job: Job) -> None:
    """Five seconds behind the last run, and a week ahead of it."""
    check = "SELECT vault.check_clock(x.at + %s::interval, x.at) FROM (SELECT '2100-01-01'::timestamptz AS at) x"
    for shift, said in (("5 seconds", ""), ("5.000001 seconds", "AR425"), ("-7 days", ""), ("-7 days -1 microseconds", "AR426")):
        assert refused(job.stage, check, shift) == said


@pytest.mark.parametrize("what", ["expire", "end_empty", "purge_stale"])
def test_only_the_jobs_own_service_ends_anything(job: Job, what: str) -> None:
    stage, call = job.stage, f"SELECT count(*) FROM vault.{what}(%s, 1)"
    token, administrator = stage.session("retention", "token"), stage.session("administrator", "service")
    assert refused(stage, call, token, door="retention") == "AR403"
    assert refused(stage, call, administrator) == "AR403", "not even the administrator"
    assert refused(stage, call, job.secret, door="retention") == ""


@pytest.mark.parametrize("what", ["expire", "end_empty"])
def test_nothing_ends_when_the_policy_does_not_know_why(job: Job, what: str) -> None:
    rows(job.stage, "SET LOCAL session_replication_role = replica")
    rows(job.stage, "DELETE FROM vault.declared_reason d USING vault.reason r WHERE r.id = d.reason AND r.name = 'retention' AND d.policy_id = %s", job.stage.policy)  # fmt: skip
    assert refused(job.stage, f"SELECT count(*) FROM vault.{what}(%s, 1)", job.secret, door="retention") == "AR422"


def test_a_clock_that_is_confirmed_is_told_of_and_of_nobody(job: Job) -> None:
    last = job.stage.last()
    rows(job.stage, "SELECT vault.confirm_clock()")
    told = "SELECT operation, granted, door, subject, record, dataset, fields, purpose, reason, reference FROM vault.audit WHERE audit_id > %s"
    assert rows(job.stage, told, last) == [(44, True, "administrator", None, None, None, 0, 0, 0, None)]
