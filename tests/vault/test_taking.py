"""take called as a door's own role: every condition, with the case on either side of it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from armonika.trust.vault import codec
from tests.vault.stage import READ, Stage
from tests.vault.undone import record, rows, undone


def test_a_take_gives_the_fields_of_its_ticket_and_no_more(stage: Stage) -> None:
    stage.allow(READ)
    made, secret = stage.person(), stage.session()
    every = stage.value("SELECT present FROM vault.record WHERE record_id = %s", made.record)
    held = stage.admin.execute("SELECT versions, ciphertexts FROM vault.record WHERE record_id = %s", (made.record,)).fetchone()
    key = stage.admin.execute("SELECT kind, epoch, wrapped FROM vault.data_key WHERE record_id = %s", (made.record,)).fetchone()
    assert held is not None
    for mask in (every, -1 & 2**40 - 1, stage.name, stage.email, stage.name | stage.email, every & ~stage.name):
        ((_, subject, record, dataset, *material, fields, versions, ciphertexts),) = stage.take(
            secret, stage.ask(secret, made.subject, mask)[0]
        )
        assert (subject, record, dataset, tuple(material)) == (made.subject, made.record, stage.account.id, key)
        assert fields == every & mask
        for at, (version, ciphertext) in enumerate(zip(versions, ciphertexts, strict=True)):
            inside = mask >> at & 1
            assert (version, ciphertext) == ((held[0][at], held[1][at]) if inside else (None, None))
    assert stage.take(secret, stage.ask(secret, made.subject, record=uuid4())[0]) == []
    assert len(stage.take(secret, stage.ask(secret, made.subject, record=made.record)[0])) == 1


def test_a_record_is_opened_with_its_own_key(stage: Stage) -> None:
    """Neither with that of another record of the person nor with that of somebody else's record of the same number."""
    stage.allow(READ)
    made, other, secret = stage.person(), stage.person(), stage.session()
    record(stage, made.subject)
    record(stage, other.subject, number=made.record)
    key = stage.value("SELECT wrapped FROM vault.data_key WHERE subject_id = %s AND record_id = %s", made.subject, made.record)
    ticket, _ = stage.ask(secret, made.subject, record=made.record)
    assert [(row[1], row[2], row[6]) for row in stage.take(secret, ticket)] == [(made.subject, made.record, key)]


def test_several_records_come_in_the_order_of_their_making(stage: Stage) -> None:
    stage.allow(READ)
    made, secret = stage.person(), stage.session()
    others = [uuid4() for _ in range(4)]
    for number, other in enumerate(others):
        stage.admin.execute(
            "INSERT INTO vault.record SELECT subject_id, %s, dataset, created_at + (%s || ' seconds')::interval, present, versions, ciphertexts, origins, events FROM vault.record "
            "WHERE record_id = %s", (other, (number % 2) * 10 - 5, made.record),
        )  # fmt: skip
        stage.admin.execute(
            "INSERT INTO vault.data_key SELECT subject_id, %s, compartment, epoch, kind, wrapped FROM vault.data_key WHERE record_id = %s",
            (other, made.record),
        )
    earlier, later = sorted([others[0], others[2]]), sorted([others[1], others[3]])
    ticket, _ = stage.ask(secret, made.subject)
    assert [row[2] for row in stage.take(secret, ticket)] == [*earlier, made.record, *later]
    assert [row[2] for row in stage.take(secret, stage.ask(secret, made.subject, record=others[3])[0])] == [others[3]]
    staff = stage.doors.api.catalogue.dataset("staff").id
    stage.admin.execute("UPDATE vault.record SET dataset = %s WHERE record_id = %s", (staff, others[0]))
    assert len(stage.take(secret, ticket)) == 4, "a record of another dataset is not of this ticket"


def test_a_ticket_is_of_its_actor_door_and_ten_seconds(stage: Stage) -> None:
    stage.allow(READ)
    whom = stage.person().subject
    one, other = stage.session(), stage.session()
    ticket, _ = stage.ask(one, whom)
    assert len(stage.take(one, ticket)) == 1
    assert len(stage.take(one, ticket)) == 1, "again within its time"
    assert stage.take(other, ticket) == []
    again = stage.session(actor=stage.actor(one))
    assert len(stage.take(again, ticket)) == 1, "the same actor's other session"
    elsewhere = stage.session("console", actor=stage.actor(one))
    assert stage.take(elsewhere, ticket, door="console") == []
    assert stage.take(one, None) == []
    assert stage.take(one, ticket + 10**9) == []  # type: ignore[operator]
    refused = stage.last()
    stage.ask(one, uuid4())
    assert stage.take(one, stage.last()) == []
    assert refused < stage.last()
    with stage.unkept():
        for age, count in (("-9.5 seconds", 1), ("-10.5 seconds", 0), ("0.5 seconds", 1), ("1.5 seconds", 0), ("-1 hour", 0)):
            stage.admin.execute("UPDATE vault.audit SET at = clock_timestamp() + %s::interval WHERE audit_id = %s", (age, ticket))
            assert len(stage.take(one, ticket)) == count, age
        stage.admin.execute("UPDATE vault.audit SET at = clock_timestamp() WHERE audit_id = %s", (ticket,))
        for operation, count in ((1, 1), (2, 1), (8, 1), (3, 0), (4, 0), (9, 0), (16, 0)):
            stage.admin.execute("UPDATE vault.audit SET operation = %s WHERE audit_id = %s", (operation, ticket))
            assert len(stage.take(one, ticket)) == count, operation
        stage.admin.execute("UPDATE vault.audit SET operation = 1, granted = false WHERE audit_id = %s", (ticket,))
        assert stage.take(one, ticket) == []
        stage.admin.execute("UPDATE vault.audit SET granted = true WHERE audit_id = %s", (ticket,))
        assert len(stage.take(one, ticket)) == 1


def test_a_session_without_its_second_factor_takes_nothing(stage: Stage) -> None:
    stage.allow(READ)
    secret = stage.session()
    ticket, _ = stage.ask(secret, stage.person().subject)
    for usable, count in (("false", 0), ("true", 1)):
        stage.alter(secret, usable=usable)
        assert len(stage.take(secret, ticket)) == count


def test_what_is_read_has_its_entry_on_the_disk(stage: Stage) -> None:
    """Entries are committed without waiting for the disk; whoever takes waits for them."""
    if stage.admin.info.server_version < 170000:
        pytest.skip("before 17 nobody can flush a log that they did not write (SECURITY.md)")
    stage.allow(READ)
    secret = stage.session()
    ticket, _ = stage.ask(secret, stage.person().subject)
    with stage.doors.admin() as writer:
        writer.execute("SET synchronous_commit = off")
        for _ in range(20):
            writer.execute("UPDATE vault.session SET tries = tries WHERE secret_hash = %s", (secret,))
            written = stage.value("SELECT pg_current_wal_insert_lsn()")
            assert len(stage.take(secret, ticket)) == 1
            assert stage.value("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", written)


def test_a_ticket_counts_when_its_transaction_is_over(stage: Stage) -> None:
    stage.allow(READ)
    whom, secret = stage.person().subject, stage.session()
    with stage.doors.raw() as own:
        words = ([secret], [READ], [stage.provide], [stage.reason], [None], [whom], [None], [stage.account.id], [stage.name], [1])
        with own.cursor(binary=True) as cursor:
            ((ticket, verdict),) = cursor.execute(codec.percent(codec.ASK).encode(), words).fetchall()
            assert verdict == 0
            assert cursor.execute(codec.percent(codec.TAKE).encode(), ([secret], [ticket], [1])).fetchall() == []
            assert stage.take(secret, ticket) == []
        own.commit()
    assert len(stage.take(secret, ticket)) == 1


def test_a_number_that_was_not_drawn_yet_is_no_ticket(stage: Stage) -> None:
    stage.allow(READ)
    secret = stage.session()
    ticket, _ = stage.ask(secret, stage.person().subject)
    assert ticket is not None
    take = "SELECT count(*) FROM vault.take(ARRAY[%s::bytea], ARRAY[%s::bigint])"
    with undone(stage):
        rows(
            stage,
            "INSERT INTO vault.audit SELECT (jsonb_populate_record(a, jsonb_build_object('audit_id', a.audit_id + 5000))).* FROM vault.audit a WHERE a.audit_id = %s",
            ticket,
        )
        for number, count in ((ticket, 1), (ticket + 5000, 0)):
            assert rows(stage, take, secret, number, door="api") == [(count,)]


def test_what_changed_since_the_ask_counts(stage: Stage) -> None:
    stage.allow(READ)
    stage.allow(READ, purpose=stage.legal)
    made, secret = stage.person(), stage.session()
    plain, lawful = (
        stage.ask(secret, made.subject)[0],
        stage.ask(secret, made.subject, purpose=stage.legal, reason=stage.rights)[0],
    )
    for state, counts in (("active", (1, 1)), ("restricted", (0, 1)), ("erased", (0, 0))):
        stage.admin.execute("UPDATE vault.subject SET state = %s WHERE subject_id = %s", (state, made.subject))
        assert (len(stage.take(secret, plain)), len(stage.take(secret, lawful))) == counts, state


def test_a_door_takes_of_the_compartments_that_it_reads(stage: Stage) -> None:
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id)
    stage.allow(READ)
    whom, secret = stage.person().subject, stage.session()
    ticket, _ = stage.ask(secret, whom)
    assert len(stage.take(secret, ticket)) == 1
    for mode, count in (("seal", 0), ("full", 1)):
        stage.admin.execute(
            "UPDATE vault.door_compartment SET mode = %s WHERE policy_id = %s AND door = 'api' AND compartment = %s",
            (mode, stage.policy, compartment),
        )
        assert len(stage.take(secret, ticket)) == count
    stage.admin.execute(
        "UPDATE vault.data_key SET compartment = (SELECT id FROM vault.compartment WHERE name = 'staff') WHERE subject_id = %s",
        (whom,),
    )
    assert stage.take(secret, ticket) == []
