"""What ended, as the register outside the database is given it and gives it back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.vault.stage import Stage
from tests.vault.undone import record, rows, undone
from tests.vault.words import dependents, furnished

WAITING = "SELECT * FROM vault.unregistered(%s)"
AGAIN = "SELECT vault.replay_ended(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
THEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = 900_000_000


def ended(stage: Stage, whom: UUID) -> list[tuple[Any, ...]]:
    return rows(
        stage,
        "SELECT ended_no, at, record_id, compartment, epoch, audit_id, registered, records, kept FROM vault.ended WHERE subject_id = %s ORDER BY 1",
        whom,
    )


def person(stage: Stage, whom: UUID) -> tuple[Any, ...]:
    """(state, has an organisation) and the tombstone."""
    found = rows(stage, "SELECT state, org_id IS NOT NULL FROM vault.subject WHERE subject_id = %s", whom)
    return *found[0], rows(stage, "SELECT erased_at, audit_id, records FROM vault.tombstone WHERE subject_id = %s", whom)


def again(
    stage: Stage, whom: UUID, which: UUID | None = None, gone: int | None = None, kept: int | None = None, **more: Any
) -> bool:
    words = {"number": NUMBER, "at": THEN, "whom": whom, "which": which, "of": "account", "epoch": 3, "entry": 17} | more
    ((done,),) = rows(stage, AGAIN, *words.values(), gone, kept)
    return bool(done)


def test_what_ended_waits_for_the_register_in_the_order_of_its_numbers(stage: Stage) -> None:
    stage.allow(6)
    secret, whole, part = stage.session(), stage.person(), stage.person()
    with undone(stage):
        rows(stage, "UPDATE vault.ended SET registered = true")
        assert rows(stage, WAITING, 100) == []
        (gone,) = rows(stage, "SELECT * FROM vault.erase_records(%s, %s::smallint, %s::smallint, NULL, %s, %s)", secret, stage.provide, stage.reason, [part.subject], [part.record], door="api")  # fmt: skip
        (erased,) = rows(stage, "SELECT * FROM vault.erase(%s, %s::smallint, %s::smallint, NULL, %s)", secret, stage.provide, stage.reason, [whole.subject], door="api")  # fmt: skip
        epoch = stage.value("SELECT epoch FROM vault.epoch e WHERE e.compartment = %s AND e.state = 'active'", compartment(stage))
        found = rows(stage, WAITING, 100)
        assert [row[2:] for row in found] == [
            (part.subject, part.record, "account", epoch, gone[1], None, None),
            (whole.subject, whole.record, "account", epoch, erased[1], None, None),
            (whole.subject, None, None, None, erased[1], 1, 0),
        ]
        assert [row[:2] for row in found] == [
            row[:2] for row in rows(stage, "SELECT ended_no, at FROM vault.ended WHERE NOT registered ORDER BY 1")
        ]
        assert [rows(stage, WAITING, most) for most in (2, 0)] == [found[:2], []]
        rows(stage, "SELECT vault.mark_registered(%s::bigint[])", [found[0][0], found[2][0]])
        assert rows(stage, WAITING, 100) == found[1:2]
        rows(stage, "SELECT vault.mark_registered('{}')")
        assert rows(stage, WAITING, 100) == found[1:2]
        rows(stage, "INSERT INTO vault.ended (subject_id, audit_id) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10001)")
        assert rows(stage, "SELECT count(*) FROM vault.unregistered(1000000)") == [(10000,)]


def compartment(stage: Stage) -> int:
    return int(stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id))


def test_one_record_ends_again_alone(stage: Stage) -> None:
    made, other = furnished(stage, uuid4()), stage.person()
    with undone(stage):
        second, before = record(stage, made.subject), dependents(stage, made.subject)
        namesake = record(stage, other.subject, number=made.record)
        assert again(stage, made.subject, made.record)
        assert rows(stage, "SELECT 1 FROM vault.record WHERE subject_id = %s AND record_id = %s", other.subject, namesake)
        assert rows(stage, "SELECT record_id FROM vault.record WHERE subject_id = %s", made.subject) == [(second,)]
        assert ended(stage, made.subject) == [(NUMBER, THEN, made.record, compartment(stage), 3, 17, True, None, None)]
        assert person(stage, made.subject) == ("active", True, [])
        assert dependents(stage, made.subject) == (1, 1, 0, *before[3:]), "who stays keeps the sign-in"
        assert not again(stage, made.subject, made.record), "the same again changes nothing"
        assert len(ended(stage, made.subject)) == 1
        # Another line is not the same, whatever it shares with one that is there.
        assert again(stage, made.subject, second, number=NUMBER + 1)
        for words in ((made.subject, second), (made.subject, None), (other.subject, made.record)):
            with pytest.raises(psycopg.errors.UniqueViolation):
                again(stage, *words)
        assert not again(stage, made.subject, second, number=NUMBER + 1)
        assert again(stage, other.subject, other.record, number=NUMBER + 2, of="nowhere")
        assert ended(stage, other.subject)[0][3] is None
        assert person(stage, made.subject) == ("active", True, []), "a tombstone comes with the line of the person"


@pytest.mark.parametrize("accounts", [True, False])
@pytest.mark.parametrize(("gone", "kept", "left"), [(2, 0, 0), (1, 1, 2), (None, None, 2)])
def test_a_person_ends_again_with_what_the_law_keeps(
    stage: Stage, gone: int | None, kept: int | None, left: int, accounts: bool
) -> None:
    made, other = furnished(stage, uuid4()), furnished(stage, uuid4())
    with undone(stage):
        record(stage, made.subject)
        untouched = dependents(stage, other.subject)
        if not accounts:
            rows(stage, "UPDATE vault.lookup SET sole = false WHERE subject_id = %s", made.subject)
        assert again(stage, made.subject, None, gone, kept, of=None, epoch=None)
        assert ended(stage, made.subject) == [(NUMBER, THEN, None, None, None, 17, True, gone, kept)]
        assert dependents(stage, made.subject)[0] == left
        stays = accounts and left > 0
        assert dependents(stage, made.subject)[3:] == ((1, 1, 2) if stays else (0, 0, 1)), (
            "the service session stays; who keeps the account, signed in"
        )
        assert person(stage, made.subject) == (
            ("active" if stays else "restricted", True, []) if left else ("erased", False, [(THEN, 17, 2)])
        )
        assert not again(stage, made.subject, None, gone, kept)
        assert (dependents(stage, other.subject), person(stage, other.subject)) == (untouched, ("active", True, []))
        assert again(stage, other.subject, None, None, 0, number=NUMBER + 1)
        assert person(stage, other.subject) == ("erased", False, [(THEN, 17, 0)])
        # A copy that has the tombstone, but not the line, takes the line.
        assert again(stage, other.subject, None, 5, 0, number=NUMBER + 2)
        assert person(stage, other.subject)[2] == [(THEN, 17, 0)]
