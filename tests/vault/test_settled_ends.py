"""People whose last record ended alone, while transactions stay open for hours: nobody is passed over, and nobody waits for another."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from armonika.flows import retention
from armonika.trust.vault.retention import Expirer
from tests.doors import Doors
from tests.vault.test_retention import count


@pytest.fixture
def job(doors: Doors) -> Iterator[Expirer]:
    made = Expirer(doors.server.provisioned.credentials("retention"), doors.server.dsn)  # type: ignore[attr-defined]
    yield made
    made.close()


def test_an_end_that_is_seen_late_is_not_passed_over_and_stops_nobody(doors: Doors, job: Expirer) -> None:
    """A transaction that drew its number two hours ago and ends now, and one that holds a person as long."""
    slow, quick, held = doors.people(3)
    with psycopg.connect(doors.server.admin_dsn) as late, psycopg.connect(doors.server.admin_dsn) as holder:  # type: ignore[attr-defined]
        late.execute("DELETE FROM vault.record WHERE subject_id = %s", (slow.subject,))
        late.execute(
            "INSERT INTO vault.ended (at, subject_id, record_id, audit_id) VALUES (clock_timestamp() - interval '2 hours', %s, %s, 1)",
            (slow.subject, slow.record),
        )
        doors.api.erase_records(doors.token, [(one.subject, one.record) for one in (quick, held)], "provide", "integration")
        with doors.admin() as admin:
            admin.execute("UPDATE vault.ended SET at = at - interval '2 hours' WHERE subject_id = ANY (%s)", ([quick.subject, held.subject],))  # fmt: skip
        holder.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (held.subject,))

        def gone() -> list[int]:
            return [
                count(doors, "SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", one.subject)
                for one in (slow, quick, held)
            ]

        for _ in range(3):
            retention.run(job)
        assert gone() == [0, 1, 0], "who is held waits alone"
        holder.rollback()
        retention.run(job)
        assert gone() == [0, 1, 1]
        late.commit()
    retention.run(job)
    assert gone() == [1, 1, 1], "what was seen late was not passed over"
    assert count(doors, "SELECT count(*) FROM vault.retention_state WHERE swept_xact > %s::text::xid8", "0") == 1
    retention.run(job)


def test_who_has_something_left_takes_nobodys_place_in_a_page(doors: Doors) -> None:
    """And the end of who has nothing left is written down as done, for the reason of the period."""
    secret = doors.server.provisioned.credentials("retention").service_secret  # type: ignore[attr-defined]
    stays, goes = sorted(doors.people(2), key=lambda one: one.subject)
    with doors.admin() as admin, doors.raw("retention", autocommit=True) as raw:
        admin.execute("DELETE FROM vault.record WHERE subject_id = %s", (goes.subject,))
        for one in (stays, goes):
            admin.execute(
                "INSERT INTO vault.ended (at, subject_id, record_id, audit_id) VALUES (clock_timestamp() - interval '2 hours', %s, gen_random_uuid(), 1)",
                (one.subject,),
            )
        assert raw.execute("SELECT vault.end_empty(sha256(%s), 1)", (secret,)).fetchall() == [(1,)]
        told = admin.execute(
            "SELECT a.operation, a.granted, a.door, a.record, a.dataset, a.fields, p.name, r.name, t.records FROM vault.tombstone t JOIN vault.audit a USING (audit_id) "
            "JOIN vault.purpose p ON p.id = a.purpose JOIN vault.reason r ON r.id = a.reason WHERE t.subject_id = ANY (%s) AND a.subject = %s",
            ([stays.subject, goes.subject], goes.subject),
        ).fetchall()  # fmt: skip
        assert told == [(6, True, "retention", None, None, 0, "legal", "retention", 0)]


@pytest.mark.parametrize("what", ["expire", "end_empty", "purge_stale"])
def test_jobs_take_turns(doors: Doors, what: str) -> None:
    """Each goes by the clock that the one before it left."""
    secret = doors.server.provisioned.credentials("retention").service_secret  # type: ignore[attr-defined]
    with doors.raw("retention") as first, doors.raw("retention") as second:
        first.execute("SELECT vault.purge_stale(sha256(%s), 1)", (secret,))
        second.execute("SET lock_timeout = '300ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            second.execute(f"SELECT vault.{what}(sha256(%s), 1)".encode(), (secret,))
