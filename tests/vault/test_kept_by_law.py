"""What the law keeps leaves with the end of its own period, and the event of a record goes with it."""

from __future__ import annotations

from uuid import uuid4

from armonika.trust.vault.types import Created
from tests.vault.stage import ERASE, Stage
from tests.vault.test_events import WITHDRAW, dataset, period, teller, words
from tests.vault.undone import record, refused, rows, undone


def locked(stage: Stage, name: str, created_at: str, began_at: str | None = None) -> Created:
    """A person with one record of a dataset, alone."""
    whom = uuid4()
    rows(stage, "INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'test')", whom)
    number = record(stage, whom, dataset(stage, name), created_at)
    if began_at:
        rows(stage, f"INSERT INTO vault.retention VALUES (%s, %s, %s, {began_at}, 1)", whom, number, dataset(stage, name))
    return Created(whom, number, 0)


END = "SELECT count(*) FROM vault.erase_records(%s, %s::smallint, %s::smallint, NULL, %s, %s)"


def ends(stage: Stage, secret: bytes, *people: Created) -> str:
    """The SQLSTATE with which the end of their records is refused; nothing is left of it."""
    said = "undone"
    with stage.admin.transaction(force_rollback=True):
        subjects, numbers = [one.subject for one in people], [one.record for one in people]
        said = refused(stage, END, secret, stage.provide, stage.reason, subjects, numbers, door="api")
    return said


def test_what_the_law_keeps_leaves_with_the_end_of_its_own_period(stage: Stage) -> None:
    with undone(stage):
        named = ("account", "demo", "traffic")
        secret = teller(stage, *named)
        for name in named:
            stage.allow(ERASE, dataset=dataset(stage, name))
        rows(stage, "SET LOCAL session_replication_role = replica")
        rows(stage, "UPDATE vault.declared_retention SET locked = dataset <> %s, days = 10 WHERE policy_id = %s", dataset(stage, "traffic"), stage.policy)  # fmt: skip
        # A former policy locked everything for ever; in the policy in force traffic is locked no more.
        rows(stage, "INSERT INTO vault.declared_retention SELECT -1, id, 'c', 36600, 'recording', true, 'UTC' FROM vault.dataset WHERE name = ANY (%s)", [*named])  # fmt: skip
        rows(stage, "SET LOCAL session_replication_role = origin")
        old, young = "clock_timestamp() - interval '12 days'", "clock_timestamp() - interval '9 days'"
        free = locked(stage, "traffic", young)
        over, running, waiting = (
            locked(stage, "account", old, old),
            locked(stage, "account", old, young),
            locked(stage, "account", old),
        )
        latest, kept, plain = locked(stage, "demo", old, old), locked(stage, "demo", old, young), locked(stage, "demo", young)
        for one in (free, over, latest):
            assert ends(stage, secret, one) == ""
        for one in (running, waiting, kept, plain):
            assert ends(stage, secret, one) == "AR403"
            assert ends(stage, secret, over, one) == "AR403"
        # To the moment: what began with the first day that is not over yet is kept.
        edge = f"vault.cutoff((SELECT max(zone) FROM vault.declared_retention WHERE policy_id = {stage.policy}), 10, clock_timestamp())"
        assert ends(stage, secret, locked(stage, "demo", edge)) == "AR403"
        assert ends(stage, secret, locked(stage, "demo", f"{edge} - interval '1 microsecond'")) == ""
        # The event of another record, of the same person or of the same number, frees none.
        more, account = locked(stage, "account", old), dataset(stage, "account")
        second = Created(over.subject, record(stage, over.subject, account, old), 0)
        twin = Created(more.subject, record(stage, more.subject, account, old, over.record), 0)
        for one in (second, twin):
            assert ends(stage, secret, one) == "AR403"
        # What is being destroyed already is not kept by it.
        rows(stage, "INSERT INTO vault.erasing (subject_id, audit_id) VALUES (%s, 1)", running.subject)
        assert (ends(stage, secret, running), ends(stage, secret, kept)) == ("", "AR403")
        # The event goes with its record, and no other.
        assert refused(stage, END, secret, stage.provide, stage.reason, [over.subject], [over.record], door="api") == ""
        assert [len(period(stage, one.record)) for one in (over, running, latest, kept)] == [0, 1, 1, 1]
        rows(stage, "DELETE FROM vault.record WHERE record_id = %s", kept.record)
        assert [len(period(stage, one.record)) for one in (running, latest, kept)] == [1, 1, 0], (
            "the administrator, who replays the register"
        )


def test_another_record_of_the_same_name_or_person_ends_no_period(stage: Stage) -> None:
    with undone(stage):
        stage.allow(ERASE)
        secret, moment = stage.session(), "clock_timestamp()"
        made, other = locked(stage, "account", moment, moment), locked(stage, "account", moment)
        second = record(stage, made.subject)
        namesake = record(stage, other.subject, number=made.record)
        for whom, which in ((made.subject, second), (other.subject, namesake)):
            assert refused(stage, END, secret, stage.provide, stage.reason, [whom], [which], door="api") == ""
            assert len(period(stage, made.record)) == 1
        assert (
            refused(
                stage,
                WITHDRAW,
                *words(stage, teller(stage, "account"), other.subject, record(stage, other.subject, number=made.record)),
                door="api",
            )
            == ""
        )
        assert len(period(stage, made.record)) == 1
