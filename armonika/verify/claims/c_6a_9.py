"""6a.9: what has expired is gone within a day, and it shows when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.retained import LAG, edge, overdue
from armonika.verify.sabotage import rows

MOST_SILENCE = timedelta(hours=1)
# A support message of nobody, whose case was closed at a time; noise stands for its value.
_PERSON = "INSERT INTO vault.subject (subject_id, kind) VALUES ('{whom}', 'canary')"
_RECORD = (
    "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) "
    "SELECT '{whom}', '{whom}', id, 1, '{{1}}', ARRAY[sha256('noise')], '{{4}}', '{{1}}' FROM vault.dataset WHERE name = 'ticket'"
)
_EVENT = "INSERT INTO vault.retention SELECT '{whom}', '{whom}', id, '{at}', 1 FROM vault.dataset WHERE name = 'ticket'"


class Claim:
    """Nothing in the system is older than its period and a day, counted by the policy's text; no period begins later than its event or its
    record; the number that the system itself tells is the same; the job
    was at work within the last hour and trusts its clock."""

    claim, hours = "6a.9", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        total, late = overdue(context)
        evidence.expect(late == 0, f"{late} records are kept longer than their period and a day")
        ahead = (
            "SELECT (SELECT count(*) FROM vault.record WHERE created_at > clock_timestamp() + interval '1 day'), "
            "(SELECT count(*) FROM vault.retention e WHERE NOT EXISTS (SELECT FROM vault.audit a WHERE a.audit_id = e.audit_id AND e.began_at <= a.at + interval '1 day'))"
        )
        later, moved = context.rows(ahead)[0]
        evidence.expect(later == 0, f"{later} records begin in the future: they would be kept too long")
        evidence.expect(
            moved == 0, f"the period of {moved} records began later than the entry of its event: they would be kept too long"
        )
        (told,) = context.rows("SELECT coalesce(sum(overdue), 0) FROM vault.retention_progress()")[0]
        evidence.expect(int(told) == late, f"the system tells {told} overdue records, and there are {late}")
        silence, fault = context.rows("SELECT clock_timestamp() - ran_at, fault FROM vault.retention_clock()")[0]
        evidence.expect(silence <= MOST_SILENCE, f"the job was last at work {silence} ago")
        evidence.expect(fault is None, f"the job does nothing: {fault}")
        evidence.examined += total
        evidence.control = self._counts(context, LAG, 1) and self._counts(context, timedelta(0), 0)
        evidence.summary = f"{total} records, none overdue; the job was at work {int(silence.total_seconds())} s ago"
        return evidence

    def _counts(self, context: Context, ago: timedelta, more: int) -> bool:
        """Whether a record that ended `ago` and a moment makes `more` overdue ones."""
        before = overdue(context)[1]
        with context.undone():
            for statement in _late(context, ago):
                context.database.execute(statement.encode())
            return overdue(context)[1] == before + more

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage("a record that ended two days ago", lambda context: context.planted(*_late(context, 2 * LAG)))
        whom = uuid4()
        future = [text.format(whom=whom, at="2030-01-01") for text in (_PERSON, _RECORD)]
        yield Sabotage(
            "a record that begins in the future",
            rows(*future, f"UPDATE vault.record SET created_at = '2030-01-01' WHERE record_id = '{whom}'"),
        )
        yield Sabotage("a period that was moved back by hand", rows(*future, _EVENT.format(whom=whom, at="2030-01-01")))
        yield Sabotage("the job stopped", rows("UPDATE vault.retention_state SET ran_at = ran_at - interval '2 hours'"))
        yield Sabotage(
            "a clock that is not trusted",
            rows("UPDATE vault.retention_state SET ran_at = clock_timestamp() + interval '1 minute'"),
        )


def _late(context: Context, ago: timedelta) -> list[str]:
    at, whom = edge(context, "ticket", ago) - timedelta(microseconds=1), uuid4()
    return [text.format(whom=whom, at=at.isoformat()) for text in (_PERSON, _RECORD, _EVENT)]
