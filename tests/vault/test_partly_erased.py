"""Erasures that leave something: who keeps the account stays signed in, who loses it does not, and nobody else waits for one that is held open."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust.vault import codec
from armonika.trust.vault.types import Created
from tests.vault.stage import ERASE, Stage
from tests.vault.words import denied, dependents, erase, furnished

SIGN_IN = (1, 1, 2)
"""Credentials, letters' tokens and sessions of somebody furnished."""
GONE = (0, 0, 1)


def beside(stage: Stage, made: Created, dataset: str) -> UUID:
    """One more record of a person, in another dataset and its compartment, without look-ups."""
    record, of = uuid4(), stage.doors.api.catalogue.dataset(dataset).id
    stage.admin.execute(
        "INSERT INTO vault.record SELECT subject_id, %s, %s, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s",
        (record, of, made.record),
    )
    stage.admin.execute(
        "INSERT INTO vault.data_key SELECT k.subject_id, %s, d.compartment, k.epoch, k.kind, k.wrapped FROM vault.data_key k, vault.dataset d WHERE k.record_id = %s AND d.id = %s",
        (record, made.record, of),
    )
    return record


def compartment(stage: Stage, dataset: str) -> int:
    return int(stage.value("SELECT compartment FROM vault.dataset WHERE name = %s", dataset))


def held(stage: Stage, whom: UUID) -> tuple[str, int, tuple[int, ...]]:
    """State, records, and what somebody signs in with."""
    state = stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom)
    return str(state), dependents(stage, whom)[0], dependents(stage, whom)[3:]


def line(stage: Stage, whom: UUID) -> tuple[object, ...]:
    row = stage.admin.execute(
        "SELECT records, kept FROM vault.ended WHERE subject_id = %s AND record_id IS NULL", (whom,)
    ).fetchone()
    assert row is not None
    return row


def test_a_token_bound_to_a_compartment_leaves_the_account_signed_in(stage: Stage) -> None:
    for dataset in ("account", "demo"):
        stage.allow(ERASE, dataset=stage.doors.api.catalogue.dataset(dataset).id)
    secret = stage.session()
    for bound, after in (
        ("demo", ("active", 1, SIGN_IN)),
        ("account", ("restricted", 1, GONE)),
        (None, ("erased", 0, GONE)),
    ):
        stage.narrowed(secret, compartments=None if bound is None else [compartment(stage, bound)])
        made = furnished(stage)
        beside(stage, made, "demo")
        ((whom, _, gone, kept),) = erase(stage, secret, made.subject)
        assert (whom, gone, kept) == (made.subject, 1 if bound else 2, 1 if bound else 0)
        assert held(stage, made.subject) == after, bound
        assert line(stage, made.subject) == (gone, kept)
    # Who was locked before stays so.
    stage.narrowed(secret, compartments=[compartment(stage, "demo")])
    made = furnished(stage)
    beside(stage, made, "demo")
    stage.admin.execute("UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", (made.subject,))
    erase(stage, secret, made.subject)
    assert held(stage, made.subject) == ("restricted", 1, SIGN_IN)


def test_a_restored_copy_does_as_the_erasure_did(stage: Stage) -> None:
    stage.allow(ERASE, dataset=stage.doors.api.catalogue.dataset("demo").id)
    stage.allow(ERASE)
    secret = stage.session()
    for bound, after in (("demo", ("active", 1, SIGN_IN)), ("account", ("restricted", 1, GONE))):
        stage.narrowed(secret, compartments=[compartment(stage, bound)])
        made = furnished(stage)
        beside(stage, made, "demo")
        erase(stage, secret, made.subject)
        told = stage.admin.execute(
            "SELECT at, record_id, NULL, epoch, audit_id, records, kept FROM vault.ended WHERE subject_id = %s ORDER BY ended_no",
            (made.subject,),
        ).fetchall()
        assert held(stage, made.subject) == after
        copy = furnished(stage)
        demo = beside(stage, copy, "demo")
        first = stage.value("SELECT max(ended_no) + 1000000 FROM vault.ended")
        for n, (at, record, *rest) in enumerate(told):
            which = None if record is None else demo if bound == "demo" else copy.record
            stage.value(
                "SELECT vault.replay_ended(%s, %s, %s, %s, %s, %s, %s, %s, %s)", first + n, at, copy.subject, which, *rest
            )
        assert held(stage, copy.subject) == after, bound
        with stage.unkept():
            stage.admin.execute("DELETE FROM vault.ended WHERE ended_no >= %s", (first,))


def test_with_the_record_of_the_account_goes_the_sign_in(stage: Stage) -> None:
    stage.allow(ERASE)
    stage.allow(ERASE, dataset=stage.doors.api.catalogue.dataset("demo").id)
    made, other, secret = furnished(stage), furnished(stage), stage.session()
    demo = beside(stage, made, "demo")
    again = stage.doors.people(1)[0]
    words = [secret, stage.provide, stage.reason, None]
    assert len(stage.rows("api", codec.ERASE_RECORDS, *words, [made.subject], [demo])) == 1
    assert held(stage, made.subject) == ("active", 1, SIGN_IN)
    beside(stage, made, "demo")
    assert len(stage.rows("api", codec.ERASE_RECORDS, *words, [made.subject, again.subject], [made.record, again.record])) == 2
    assert held(stage, made.subject) == ("active", 1, GONE)
    assert held(stage, other.subject) == ("active", 1, SIGN_IN)


def test_single_records_too_end_only_with_a_fresh_proof(stage: Stage) -> None:
    stage.allow(ERASE)
    made = stage.person()
    old, now = "clock_timestamp() - interval '10 minutes 5 seconds'", "clock_timestamp()"
    for columns, said in (({"auth_at": old}, "AR401"), ({"second_at": old}, "AR401"), ({"auth_at": old, "second_at": now}, "")):
        secret = stage.session("console", "session", **columns)
        words = [secret, stage.provide, stage.reason, None, [made.subject], [made.record]]
        assert denied(stage, "console", codec.ERASE_RECORDS, words) == said, columns


@pytest.mark.parametrize("call", ["erase", "erase_records"])
def test_nobody_is_held_by_an_erasure_that_may_not_touch_them(stage: Stage, call: str) -> None:
    mine, other = stage.person(), stage.person()
    stage.allow(ERASE, "own")
    member = stage.session(actor=mine.subject)
    people = [mine.subject, other.subject, uuid4()]
    statement, more = {
        "erase": (codec.ERASE, [people]),
        "erase_records": (codec.ERASE_RECORDS, [people, [mine.record, other.record, uuid4()]]),
    }[call]
    with stage.doors.raw("api") as holder, stage.doors.admin() as waiting:
        holder.execute("SELECT 1")
        with holder.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(statement).encode(), [member, stage.provide, stage.reason, None, *more])
            assert len(cursor.fetchall()) == 1
        waiting.execute("SET lock_timeout = '200ms'")
        waiting.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (other.subject,))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            waiting.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (mine.subject,))
        holder.rollback()
