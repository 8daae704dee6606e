"""The retention job as its own role in the database: what is due ends, once; nothing ends a moment early, whoever asks and whatever the clock says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armonika import policy as policies
from armonika.flows import retention
from armonika.flows.retention import Steady
from armonika.rules import retention as rules
from armonika.trust.vault.errors import ClockUntrusted, Refused, Restricted, SessionEnded, Undeclared
from armonika.trust.vault.retention import Expirer
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors
from tests.vault.test_erase_races import waiting_for

POLICY = policies.load()
CLASSES = {dataset.name: POLICY.retention_of(dataset.fields[0]) for dataset in POLICY.datasets}
MICROSECOND = timedelta(microseconds=1)
Person = tuple[UUID, UUID]


@pytest.fixture
def job(doors: Doors) -> Iterator[Expirer]:
    made = Expirer(doors.server.provisioned.credentials("retention"), doors.server.dsn)  # type: ignore[attr-defined]
    with doors.admin() as admin:
        admin.execute("SELECT vault.confirm_clock()")
    yield made
    made.close()
    with doors.admin() as admin:
        admin.execute("SELECT vault.confirm_clock()")


def bound(dataset: str) -> datetime:
    """The first beginning that may not end yet."""
    return rules.cutoff(datetime.now(UTC), CLASSES[dataset].days)


def plant(doors: Doors, dataset: str, at: datetime | None, person: UUID | None = None) -> Person:
    """A record of any dataset whose period began at `at` (None: it does not run), with noise for values and key."""
    subject, record = person or uuid4(), uuid4()
    recorded = at if CLASSES[dataset].starts != "event" and at else datetime.now(UTC) - timedelta(days=7000)
    with doors.admin() as admin, admin.transaction():
        if person is None:
            admin.execute("INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", (subject,))
        (number,) = admin.execute("SELECT id FROM vault.dataset WHERE name = %s", (dataset,)).fetchone() or (0,)
        admin.execute(
            "INSERT INTO vault.record (subject_id, record_id, dataset, created_at, present, versions, ciphertexts, origins, events) "
            "VALUES (%s, %s, %s, %s, 1, '{1}', ARRAY[sha256(%s)], '{1}', '{1}')",
            (subject, record, number, recorded, record.bytes),
        )
        admin.execute(
            "INSERT INTO vault.data_key SELECT %s, %s, d.compartment, 1, 1, sha256(%s) FROM vault.dataset d WHERE d.id = %s",
            (subject, record, record.bytes, number),
        )
        if at and CLASSES[dataset].starts == "event":
            admin.execute("INSERT INTO vault.retention VALUES (%s, %s, %s, %s, 1)", (subject, record, number, at))
    return subject, record


def there(doors: Doors, *people: Person) -> list[bool]:
    with doors.admin() as admin:
        found = admin.execute(
            "SELECT r.record_id FROM vault.record r JOIN vault.data_key k USING (subject_id, record_id) WHERE r.record_id = ANY (%s)",
            ([record for _, record in people],),
        ).fetchall()
    return [(record,) in found for _, record in people]


def count(doors: Doors, statement: str, *given: object) -> int:
    with doors.admin() as admin:
        row = admin.execute(statement.encode(), given).fetchone()
    assert row is not None
    return int(str(row[0]))


def events(doors: Doors, record: UUID, at: datetime) -> None:
    with doors.admin() as admin:
        admin.execute("UPDATE vault.retention SET began_at = %s WHERE record_id = %s", (at, record))


@pytest.mark.parametrize("dataset", CLASSES)
def test_each_class_ends_to_the_moment(doors: Doors, job: Expirer, dataset: str) -> None:
    edge = bound(dataset)
    early, last, running = plant(doors, dataset, edge), plant(doors, dataset, edge - MICROSECOND), plant(doors, dataset, None)
    retention.run(job)
    if edge != bound(dataset):
        pytest.skip("midnight in Algiers")
    assert there(doors, early, last) == [True, False]
    assert there(doors, running) == [CLASSES[dataset].starts == "event"], "no event: the period does not run"
    assert retention.run(job).ended == 0
    with doors.admin() as admin:
        row = admin.execute(
            "SELECT o.name, a.door, r.name, p.name, c.name, d.name, a.granted FROM vault.ended e JOIN vault.audit a ON a.audit_id = e.audit_id AND a.record = e.record_id "
            "JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role JOIN vault.purpose p ON p.id = a.purpose "
            "JOIN vault.reason c ON c.id = a.reason JOIN vault.dataset d ON d.id = a.dataset WHERE e.record_id = %s",
            (last[1],),
        ).fetchall()
        assert row == [("erase", "retention", "retention", "legal", "retention", dataset, True)]
        assert admin.execute("SELECT FROM vault.tombstone WHERE subject_id = %s", (last[0],)).fetchall(), "nobody is left"
        assert admin.execute("SELECT state FROM vault.subject WHERE subject_id = %s", (last[0],)).fetchone() == ("erased",)
        assert not admin.execute("SELECT FROM vault.retention WHERE record_id = %s", (last[1],)).fetchall()
        admin.execute("DELETE FROM vault.record WHERE record_id = ANY (%s)", ([early[1], running[1]],))


@settings(max_examples=60)
@given(st.integers(0, 4_000_000_000), st.integers(1, 36600))
def test_database_and_rule_count_the_same_days(doors: Doors, seconds: int, days: int) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    with doors.admin() as admin:
        row = admin.execute("SELECT vault.cutoff('Africa/Algiers', %s, %s)", (days, now)).fetchone()
    assert row == (rules.cutoff(now, days),)


def test_who_stays_keeps_what_is_not_due_and_can_still_be_read(doors: Doors, job: Expirer) -> None:
    person = doors.person()
    demo = plant(doors, "demo", bound("demo") - MICROSECOND, person.subject)
    locked = plant(doors, "traffic", bound("traffic"), person.subject)
    retention.run(job)
    assert there(doors, demo, locked) == [False, True]
    assert doors.api.read(doors.token, person.subject, "account", ["name"], "provide", "integration")[0].values["name"] == "N"
    assert count(doors, "SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", person.subject) == 0
    # The account ends too: who cannot be found by any look-up any more cannot sign in either, but what is locked stays.
    with doors.admin() as admin:
        admin.execute(
            "INSERT INTO vault.session (secret_hash, actor, role, door, kind, expires_at) SELECT sha256('retention'), %s, id, 'site', 'session', "
            "clock_timestamp() + interval '1 hour' FROM vault.role WHERE name = 'admin'",
            (person.subject,),
        )
    doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    events(doors, person.record, bound("account") - MICROSECOND)
    assert retention.run(job).ended == 1
    assert there(doors, locked) == [True]
    assert count(doors, "SELECT count(*) FROM vault.session WHERE actor = %s", person.subject) == 0
    assert count(doors, "SELECT count(*) FROM vault.lookup WHERE subject_id = %s", person.subject) == 0
    with pytest.raises(Refused):
        doors.api.erase_records(doors.token, [(person.subject, person.record)], "provide", "integration")
    with doors.admin() as admin:
        admin.execute("DELETE FROM vault.record WHERE record_id = %s", (locked[1],))


@pytest.mark.parametrize("door", ["site", "console", "api", "worker", "verifier", "keeper", "sealer", "timpani"])
def test_no_other_door_ends_what_has_expired(doors: Doors, door: str) -> None:
    with doors.raw(door) as other:
        for call in ("expire(sha256('x'), 1)", "end_empty(sha256('x'), 1)", "purge_stale(sha256('x'), 1)", "end_records(1, NULL, NULL)", "end_person(1, NULL, 1)"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                other.execute(f"SELECT vault.{call}".encode())
            other.rollback()


def test_the_job_can_do_nothing_else(doors: Doors, job: Expirer) -> None:
    secret = doors.server.provisioned.credentials("retention").service_secret  # type: ignore[attr-defined]
    with doors.raw("retention") as raw:
        for call in ("erase(sha256(%s), 1::smallint, 1::smallint, NULL, '{}')", "erase_records(sha256(%s), 1::smallint, 1::smallint, NULL, '{}', '{}')",
                     "event(sha256(%s), 1::smallint, 1::smallint, NULL, NULL, NULL)", "confirm_clock()"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                raw.execute(f"SELECT vault.{call}".encode(), [secret] * call.count("%s"))
            raw.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute("UPDATE vault.record SET created_at = '2000-01-01'")
        raw.rollback()
        # Somebody else's secret is no use at this door, and an old view of the data is refused.
        with pytest.raises(psycopg.Error) as refused:
            raw.execute("SELECT vault.expire(%s, 1)", (bytes(doors.token),))
        assert refused.value.sqlstate == "AR401"
        raw.rollback()
        for level in ("repeatable read", "serializable"):
            for call in ("expire", "end_empty", "purge_stale"):
                raw.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
                with pytest.raises(psycopg.Error) as refused:
                    raw.execute(f"SELECT vault.{call}(sha256(%s), 1)".encode(), (secret,))
                assert refused.value.sqlstate == "AR403"
                raw.rollback()
        raw.execute("SELECT vault.expire(sha256(%s), 1)", (secret,))
    del job


def test_nobody_else_can_end_a_record_in_the_name_of_its_period(doors: Doors) -> None:
    made = doors.person()
    for act in (
        lambda: doors.verifier.erase_records(doors.verifier.service, [(made.subject, made.record)], "legal", "retention"),
        lambda: doors.verifier.erase(doors.verifier.service, [made.subject], "legal", "retention"),
    ):
        with pytest.raises(Undeclared):
            act()
    assert doors.verifier.erase_records(doors.verifier.service, [(made.subject, made.record)], "legal", "verification"), (
        "positive control"
    )


def test_what_the_law_locks_ends_for_nobody_before_its_time(doors: Doors, job: Expirer) -> None:
    """A rule that would let a service erase traffic, as a mistake in a policy could: the table itself refuses until the period has ended."""
    edge = bound("traffic")
    locked, ended = plant(doors, "traffic", edge), plant(doors, "traffic", edge - MICROSECOND)
    books = plant(doors, "billing_profile", bound("billing_profile"))
    rule = "FROM vault.role r, vault.purpose p, vault.dataset d WHERE r.name = 'integration' AND p.name = 'provide' AND d.name = ANY ('{traffic,billing_profile}')"
    with doors.admin() as admin:
        admin.execute(f"INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, 6, 'all', 1 {rule}".encode())  # type: ignore[arg-type]
    try:
        for person in (locked, books):
            for attempt in (
                lambda person=person: doors.api.erase_records(doors.token, [person], "provide", "integration"),
                lambda person=person: doors.api.erase(doors.token, [person[0]], "provide", "integration"),
                lambda person=person: doors.api.erase_records(doors.token, [ended, person], "provide", "integration"),
            ):
                with pytest.raises(Refused):
                    attempt()
        assert there(doors, locked, ended, books) == [True, True, True]
        assert doors.api.erase_records(doors.token, [ended], "provide", "integration"), "positive control: its period has ended"
    finally:
        with doors.admin() as admin:
            admin.execute(f"DELETE FROM vault.rule x USING vault.role r, vault.purpose p, vault.dataset d {rule.removeprefix('FROM vault.role r, vault.purpose p, vault.dataset d ')} "
                          "AND x.role = r.id AND x.purpose = p.id AND x.dataset = d.id AND x.operation = 6".encode())  # type: ignore[union-attr]  # fmt: skip
            admin.execute("DELETE FROM vault.record WHERE record_id = ANY (%s)", ([locked[1], books[1]],))
    del job


def test_an_event_happens_now_and_only_moves_forward(doors: Doors, job: Expirer) -> None:
    person = doors.person()
    at = "SELECT extract(epoch FROM began_at - %s)::int FROM vault.retention WHERE record_id = %s"
    before = datetime.now(UTC)
    first = doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins", "CLOSE-1")
    assert 0 <= count(doors, at, before, person.record) < 10
    later = before + timedelta(hours=5)
    events(doors, person.record, later)
    second = doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    assert second > first
    assert count(doors, at, later, person.record) == 0, "never back"
    doors.api.withdraw_event(doors.token, person.subject, person.record, "provide", "period-begins")
    assert count(doors, "SELECT count(*) FROM vault.retention WHERE record_id = %s", person.record) == 0
    assert retention.run(job).ended == 0
    # The clock went back: nothing is dated before the job's last time.
    with doors.admin() as admin:
        admin.execute("UPDATE vault.retention_state SET ran_at = clock_timestamp() + interval '1 hour'")
    doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    assert count(doors, at, datetime.now(UTC), person.record) > 3500
    with doors.admin() as admin:
        admin.execute("SELECT vault.confirm_clock()")
        found = admin.execute(
            "SELECT o.name, a.granted FROM vault.audit a JOIN vault.operation o ON o.id = a.operation WHERE a.record = %s AND o.name LIKE 'event%%' ORDER BY a.audit_id",
            (person.record,),
        ).fetchall()
    assert found == [("event", True), ("event", True), ("event-withdrawn", True), ("event", True)]


def test_events_are_refused_alike_for_whoever_may_not_tell_them(doors: Doors, job: Expirer) -> None:
    person, traffic = doors.person(), plant(doors, "traffic", bound("traffic"))
    for subject, record in ((uuid4(), uuid4()), (person.subject, uuid4()), traffic):
        with pytest.raises(Refused):
            doors.api.event(doors.token, subject, record, "provide", "period-begins")
    refused = count(doors, "SELECT count(*) FROM vault.audit WHERE operation = 30 AND NOT granted AND subject = %s", traffic[0])
    assert refused == 1
    demo = NewRecord(
        "demo", {"name": "N", "email": f"d{uuid4().hex}@org.example", "company": "C", "role": "R"}, "subject", kind="prospect"
    )
    (made,) = doors.verifier.create(doors.verifier.service, "legal", "verification", [demo])
    doors.verifier.event(doors.verifier.service, made.subject, made.record, "legal", "verification")
    with pytest.raises(Undeclared):
        doors.verifier.withdraw_event(doors.verifier.service, made.subject, made.record, "legal", "verification")
    with pytest.raises(Undeclared):
        doors.api.event(doors.token, person.subject, person.record, "provide", "no-such-reason")
    doors.api.restrict(doors.token, person.subject, True, "provide", "integration")
    with pytest.raises(Restricted):
        doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    doors.api.erase(doors.token, [person.subject], "provide", "integration")
    with pytest.raises(Refused):
        doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    # A record's event of the latest kind: the exchange of today keeps the request of two years ago.
    with doors.admin() as admin:
        admin.execute("UPDATE vault.record SET created_at = '2020-01-01' WHERE record_id = %s", (made.record,))
    assert retention.run(job).ended == 0
    events(doors, made.record, bound("demo") - MICROSECOND)
    assert retention.run(job).ended == 1
    with doors.admin() as admin:
        admin.execute("DELETE FROM vault.record WHERE record_id = %s", (traffic[1],))


def test_a_clock_that_is_not_to_be_trusted_ends_nothing(doors: Doors, job: Expirer) -> None:
    due = plant(doors, "demo", bound("demo") - MICROSECOND)
    for moved, fault in (("+ interval '1 hour'", "behind"), ("- interval '8 days'", "far ahead")):
        with doors.admin() as admin:
            admin.execute(f"UPDATE vault.retention_state SET ran_at = clock_timestamp() {moved}".encode())
        for call in (job.expire, job.end_empty, job.purge):
            with pytest.raises(ClockUntrusted):
                call()
        assert fault in str(job.clock().fault)
        assert there(doors, due) == [True]
    with doors.admin() as admin:
        admin.execute("SELECT vault.confirm_clock()")
    assert job.clock().fault is None
    with doors.admin() as admin:
        admin.execute("UPDATE vault.retention_state SET ran_at = clock_timestamp() - interval '3 days'")
    assert retention.run(job).ended >= 1, "three days of downtime are caught up"
    assert there(doors, due) == [False]


def test_a_wall_clock_that_jumps_while_the_job_runs_stops_it() -> None:
    wall, steady = [1000.0], [50.0]
    watch = Steady(lambda: wall[0], lambda: steady[0])
    watch.check()
    wall[0], steady[0] = wall[0] + 90_000, steady[0] + 90_000
    watch.check()
    wall[0] += 3700
    for _ in range(2):
        with pytest.raises(ClockUntrusted):
            watch.check()
    wall[0] -= 86_400
    watch.check()


def test_a_page_is_as_large_as_documented(doors: Doors, job: Expirer) -> None:
    """docs/security/retention.md: 500 records are a transaction."""
    with doors.admin() as admin:
        admin.execute(
            "WITH planted AS (INSERT INTO vault.subject (subject_id, kind) SELECT gen_random_uuid(), 'test' FROM generate_series(1, 501) RETURNING subject_id) "
            "INSERT INTO vault.record (subject_id, record_id, dataset, created_at, present, versions, ciphertexts, origins, events) "
            "SELECT p.subject_id, p.subject_id, d.id, '2000-01-01', 1, '{1}', ARRAY[''::bytea], '{1}', '{1}' FROM planted p, vault.dataset d WHERE d.name = 'demo'"
        )
    assert [len(job.expire()) for _ in range(3)] == [500, 1, 0]


def test_many_jobs_at_once_end_each_record_once(doors: Doors, job: Expirer) -> None:
    people = [plant(doors, "demo", bound("demo") - MICROSECOND) for _ in range(60)]
    jobs = [Expirer(doors.server.provisioned.credentials("retention"), doors.server.dsn) for _ in range(4)]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(4) as pool:
        pages = [page for found in pool.map(lambda each: [each.expire(7) for _ in range(12)], jobs) for page in found]
    for each in jobs:
        each.close()
    ended = [row.record for page in pages for row in page]
    assert sorted(ended) == sorted(record for _, record in people), "each once, none left"
    assert len({row.entry for page in pages for row in page}) == 60
    assert count(doors, "SELECT count(*) FROM vault.ended WHERE record_id = ANY (%s)", [record for _, record in people]) == 60
    assert (
        count(doors, "SELECT count(*) FROM vault.tombstone WHERE subject_id = ANY (%s)", [subject for subject, _ in people]) == 60
    )
    del job


def test_an_event_that_comes_while_the_job_looks_keeps_its_record(doors: Doors, job: Expirer) -> None:
    person = doors.person()
    doors.api.event(doors.token, person.subject, person.record, "provide", "period-begins")
    events(doors, person.record, bound("account") - MICROSECOND)
    catalogue = doors.api.catalogue
    given = (doors.token, catalogue.purpose("provide"), catalogue.reason("period-begins"), person.subject, person.record)
    with doors.raw("api") as other:
        other.execute("SELECT vault.event(%s, %s::smallint, %s::smallint, NULL, %s, %s)", given)
        assert job.expire() == [], "whoever is held by somebody is left for the next page"
        other.commit()
    assert job.expire() == []
    assert there(doors, (person.subject, person.record)) == [True]
    # The other way round: what has ended takes no event any more.
    events(doors, person.record, bound("account") - MICROSECOND)
    secret = doors.server.provisioned.credentials("retention").service_secret  # type: ignore[attr-defined]
    with doors.raw("retention") as ending, ThreadPoolExecutor(1) as pool:
        ending.execute("SELECT vault.expire(sha256(%s), 10)", (secret,))
        late = pool.submit(doors.api.event, doors.token, person.subject, person.record, "provide", "period-begins")
        time.sleep(0.3)
        assert not late.done()
        ending.commit()
        with pytest.raises(Refused):
            late.result(10)
    assert count(doors, "SELECT count(*) FROM vault.retention WHERE record_id = %s", person.record) == 0


def test_a_job_that_is_killed_in_a_page_leaves_it_whole_and_the_next_one_ends_it(doors: Doors, job: Expirer) -> None:
    people = [plant(doors, "demo", bound("demo") - MICROSECOND) for _ in range(20)]
    secret = doors.server.provisioned.credentials("retention").service_secret  # type: ignore[attr-defined]
    before = count(doors, "SELECT count(*) FROM vault.ended")
    with psycopg.connect(doors.server.admin_dsn) as holder, doors.raw("retention") as ending, ThreadPoolExecutor(1) as pool:  # type: ignore[attr-defined]
        # Its last step waits: everything before has been done when it is killed.
        holder.execute("SELECT FROM vault.record WHERE record_id = %s FOR UPDATE", (max(people)[1],))
        page = pool.submit(ending.execute, "SELECT vault.expire(sha256(%s), 100)", (secret,))
        time.sleep(0.5)
        assert not page.done()
        with doors.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (ending.info.backend_pid,))
        with pytest.raises(psycopg.Error):
            page.result(10)
        holder.rollback()
    assert count(doors, "SELECT count(*) FROM vault.ended") == before, "nothing of the page was kept"
    assert there(doors, *people) == [True] * 20
    assert retention.run(job).ended == 20
    assert there(doors, *people) == [False] * 20


def test_a_page_that_crosses_a_rotation_is_done_again(doors: Doors, job: Expirer) -> None:
    """Who removes old look-ups holds those and then wants a record; the job holds the records and then wants the look-ups."""
    first, second = sorted(doors.people(2), key=lambda made: made.subject)
    for made in (first, second):
        doors.api.event(doors.token, made.subject, made.record, "provide", "period-begins")
        events(doors, made.record, bound("account") - MICROSECOND)
    with psycopg.connect(doors.server.admin_dsn) as other, ThreadPoolExecutor(1) as pool:  # type: ignore[attr-defined]
        other.execute("SET deadlock_timeout = '60s'")
        other.execute("SELECT FROM vault.lookup WHERE record_id = %s FOR UPDATE", (first.record,))
        ran = pool.submit(retention.run, job, False)
        waiting_for(doors, 1)
        other.execute("SELECT FROM vault.record WHERE record_id = %s FOR UPDATE", (second.record,))
        assert there(doors, (first.subject, first.record), (second.subject, second.record)) == [True, True], (
            "the page was undone whole"
        )
        other.rollback()
        assert ran.result(20).ended == 2


def test_a_person_whose_records_ended_alone_gets_a_tombstone_an_hour_later(doors: Doors, job: Expirer) -> None:
    gone, stays = doors.people(2)
    doors.api.erase_records(doors.token, [(gone.subject, gone.record)], "provide", "integration")
    retention.run(job)
    assert count(doors, "SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", gone.subject) == 0, (
        "another record may follow at once"
    )
    with doors.admin() as admin:
        admin.execute("UPDATE vault.ended SET at = at - interval '2 hours' WHERE subject_id = %s", (gone.subject,))
        admin.execute("UPDATE vault.ended SET at = at - interval '2 hours' WHERE subject_id <> %s", (gone.subject,))
    assert retention.run(job).emptied >= 1
    assert count(doors, "SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", gone.subject) == 1
    assert count(doors, "SELECT count(*) FROM vault.ended WHERE subject_id = %s AND record_id IS NULL", gone.subject) == 1
    assert retention.run(job).emptied == 0
    assert doors.api.read(doors.token, stays.subject, "account", ["name"], "provide", "integration")
    with pytest.raises(Refused):
        doors.api.create(
            doors.token, "provide", "integration", [NewRecord("account", {"name": "again"}, "organisation", subject=gone.subject)]
        )


def test_what_nobody_collects_goes(doors: Doors, job: Expirer) -> None:
    person = doors.person()
    with doors.admin() as admin:
        for number, (used, ends) in enumerate(((None, "-2 days"), ("-2 days", "1 day"), (None, "1 day"))):
            admin.execute(
                "INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at, used_at) VALUES (sha256(%s), %s, 'verify-address', clock_timestamp() + %s::interval, clock_timestamp() + %s::interval)",
                (b"retention%d" % number, person.subject, ends, used),
            )
            admin.execute(
                "INSERT INTO vault.session (secret_hash, actor, role, door, kind, expires_at, revoked_at) SELECT sha256(%s), %s, id, 'site', 'session', clock_timestamp() + %s::interval, clock_timestamp() + %s::interval FROM vault.role WHERE name = 'admin'",
                (b"retention%d" % number, person.subject, ends, used),
            )
        admin.execute(
            "INSERT INTO vault.throttle VALUES (sha256('idle'), clock_timestamp() - interval '2 days'), (sha256('busy'), clock_timestamp())"
        )
        admin.execute(
            "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, args, status) VALUES ('letters', 'over', '{}', 'failed'), ('letters', 'waits', '{}', 'todo')"
        )
        admin.execute("UPDATE jobs.procrastinate_events SET at = at - interval '8 days'")
    gone = retention.run(job).purged
    assert gone["challenges"] >= 2
    assert gone["sessions"] >= 2
    assert gone["throttles"] >= 1
    assert gone["jobs"] >= 1
    for table, key in (("challenge", "token_hash"), ("session", "secret_hash")):
        assert (
            count(
                doors,
                f"SELECT count(*) FROM vault.{table} WHERE {key} = ANY (ARRAY[sha256('retention0'), sha256('retention1'), sha256('retention2')])",
            )
            == 1
        )
    assert count(doors, "SELECT count(*) FROM vault.throttle WHERE key = ANY (ARRAY[sha256('idle'), sha256('busy')])") == 1
    assert count(doors, "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name = ANY ('{over,waits}')") == 1
    with doors.admin() as admin:
        admin.execute("DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'waits'")


def test_progress_tells_what_is_late_and_what_would_never_end(doors: Doors, job: Expirer) -> None:
    today, late = (
        plant(doors, "ticket", bound("ticket") - MICROSECOND),
        plant(doors, "ticket", bound("ticket") - timedelta(days=3)),
    )
    (row,) = [row for row in job.progress() if row.dataset == "ticket"]
    assert (row.due, row.overdue, row.class_, row.days) == (2, 1, "support_case", 730)
    assert row.oldest == rules.ends(bound("ticket") - timedelta(days=3), 730)
    retention.run(job)
    assert there(doors, today, late) == [False, False]
    rows = job.progress()
    assert not [row for row in rows if row.due or row.overdue or row.class_ is None]
    assert {row.dataset for row in rows} == set(CLASSES)


def test_a_job_whose_secret_was_withdrawn_ends_nothing(doors: Doors, job: Expirer) -> None:
    due = plant(doors, "demo", bound("demo") - MICROSECOND)
    with doors.admin() as admin:
        admin.execute("UPDATE vault.session SET revoked_at = clock_timestamp() WHERE kind = 'service' AND door = 'retention'")
    try:
        with pytest.raises(SessionEnded):
            retention.run(job)
        assert there(doors, due) == [True]
    finally:
        with doors.admin() as admin:
            admin.execute("UPDATE vault.session SET revoked_at = NULL WHERE kind = 'service' AND door = 'retention'")
    assert retention.run(job).ended == 1
