"""What a restored copy is told by the entries that it got back: each kind does what it says, to the person it names, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.vault.stage import Stage
from tests.vault.told import CREDENTIAL, FACTOR, HAPPENED, LOCKED, STAFF_END, THEN, TOKEN, WITHDRAWN, Copy
from tests.vault.undone import record, rows, undone

LATER = datetime(2300, 1, 1, tzinfo=UTC)

ALL = (True, 1, 1, 1)


def test_a_token_that_ended_ends_and_no_other(stage: Stage) -> None:
    with undone(stage):
        copy = Copy(stage)
        whom, other, first = copy.someone(), copy.someone(), copy.size()
        over = stage.session(actor=whom, revoked_at="'2026-01-01'")
        copy.said(TOKEN, whom, door="administrator")
        assert copy.told(first) == 1
        assert [copy.opens(one) for one in (whom, other)] == [(*ALL[:3], 0), ALL]
        assert stage.value("SELECT revoked_at < '2026-01-02' FROM vault.session WHERE secret_hash = %s", over), "it ended then"
        assert (
            stage.value("SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'service' AND revoked_at IS NULL", whom)
            == 1
        )


def test_what_changed_of_a_sign_in_opens_no_more(stage: Stage) -> None:
    wanted = {
        (CREDENTIAL, "site"): ((False, 1, 1, 1), 1), (CREDENTIAL, "worker"): (ALL, 0), (FACTOR, "administrator"): ((False, 0, 0, 1), 1), (FACTOR, "console"): ((True, 1, 0, 1), 1),
        (FACTOR, "worker"): ((True, 1, 0, 1), 1), (CREDENTIAL, "administrator"): ((False, 1, 1, 1), 1), (TOKEN, "worker"): ((True, 1, 1, 0), 1),
    }  # fmt: skip
    for (operation, door), (left, told) in wanted.items():
        with undone(stage):
            copy = Copy(stage)
            whom, other, first = copy.someone(), copy.someone(), copy.size()
            copy.said(operation, whom, door=door)
            assert (copy.told(first), copy.opens(whom), copy.opens(other)) == (told, left, ALL), (operation, door)
            assert (copy.state(whom), copy.state(other)) == ("active", "active")


def test_two_passwords_that_are_made_up_are_not_the_same(stage: Stage) -> None:
    with undone(stage):
        copy = Copy(stage)
        people, first = [copy.someone() for _ in range(2)], copy.size()
        for whom in people:
            copy.said(CREDENTIAL, whom)
        assert copy.told(first) == 2
        assert stage.value("SELECT count(DISTINCT check_hash) FROM vault.credential WHERE subject_id = ANY (%s)", people) == 2


def test_an_appointment_that_ended_ends(stage: Stage) -> None:
    with undone(stage):
        copy = Copy(stage)
        whom, other, first = copy.someone(), copy.someone(), copy.size()
        number = copy.said(STAFF_END, whom, door="administrator")
        copy.said(STAFF_END, uuid4(), door="administrator")
        assert copy.told(first) == 1, "nobody is told of who is not there"
        assert copy.opens(whom) == (None, 0, 0, 0)
        assert copy.opens(other) == ALL
        ends = "SELECT subject_id, audit_id FROM vault.staff_end WHERE subject_id = ANY (%s)"
        assert rows(stage, ends, [whom, other]) == [(whom, number)]
        copy.said(STAFF_END, whom, door="administrator")
        assert copy.told(first + 2) == 1
        assert rows(stage, ends, [whom, other]) == [(whom, number)]


def test_who_was_locked_or_unlocked_is_locked(stage: Stage) -> None:
    with undone(stage):
        copy = Copy(stage)
        whom, erased, other, first = copy.someone(), copy.someone(), copy.someone(), copy.size()
        rows(stage, "UPDATE vault.subject SET state = 'erased' WHERE subject_id = %s", erased)
        copy.said(LOCKED, whom)
        copy.said(LOCKED, erased)
        copy.said(LOCKED, uuid4())
        assert copy.told(first) == 2
        assert [copy.state(one) for one in (whom, erased, other)] == ["restricted", "erased", "active"]
        assert copy.opens(whom) == ALL


def test_an_event_is_told_with_its_time_and_only_moves_forward(stage: Stage) -> None:
    with undone(stage):
        copy = Copy(stage)
        person, first = stage.person(), copy.size()
        second, third = record(stage, person.subject), record(stage, person.subject)
        happened = copy.said(HAPPENED, person.subject, person.record, at=THEN)
        known = copy.said(HAPPENED, person.subject, second, at=THEN + timedelta(1), lost=False)
        namesake = record(stage, stage.person().subject)
        copy.said(HAPPENED, person.subject, namesake)
        copy.said(HAPPENED, person.subject, uuid4())
        assert copy.told(first) == 2, "of a record that is gone nothing is told"
        of = stage.account.id
        assert copy.periods(person.subject) == [(person.record, of, THEN, happened), (second, of, THEN + timedelta(1), known)]
        first = copy.size()
        later = copy.said(HAPPENED, person.subject, person.record, at=THEN + timedelta(2))
        earlier = copy.said(HAPPENED, person.subject, second, at=THEN)
        assert copy.told(first) == 2
        assert copy.periods(person.subject) == [
            (second, of, THEN + timedelta(1), earlier),
            (person.record, of, THEN + timedelta(2), later),
        ]
        other = stage.person().subject
        first = copy.size()
        copy.said(HAPPENED, other, record(stage, other, number=second))
        assert copy.told(first) == 1
        first = copy.size()
        copy.said(WITHDRAWN, person.subject, second, lost=False)
        copy.said(WITHDRAWN, person.subject, third)
        assert copy.told(first) == 2
        assert copy.periods(person.subject) == [(person.record, of, THEN + timedelta(2), later)]
        assert len(copy.periods(other)) == 1, "a record of the same number of somebody else"
        # In the order in which they were said.
        first = copy.size()
        copy.said(WITHDRAWN, person.subject, person.record)
        copy.said(HAPPENED, person.subject, second, leaf=first + 9)
        copy.said(HAPPENED, person.subject, third, leaf=first + 8)
        copy.said(WITHDRAWN, person.subject, second, leaf=first + 5)
        assert copy.told(first) == 4
        assert [row[0] for row in copy.periods(person.subject)] == [third]
        assert copy.state(person.subject) == "active"


def test_nothing_is_told_of_what_had_its_effect_was_refused_or_says_nobody(stage: Stage) -> None:
    told = (TOKEN, CREDENTIAL, FACTOR, LOCKED, STAFF_END)
    for lost, granted, behind in ((False, True, 0), (True, False, 0), (True, True, len(told))):
        with undone(stage):
            copy = Copy(stage)
            whom, first = copy.someone(), copy.size()
            kept = record(stage, whom)
            for operation in told:
                copy.said(operation, whom, lost=lost, granted=granted)
            if not granted:
                copy.said(HAPPENED, whom, kept, granted=False)
            assert copy.told(first + behind) == 0
            assert (copy.opens(whom), copy.state(whom), copy.periods(whom)) == (ALL, "active", [])
    with undone(stage):
        copy = Copy(stage)
        whom, first = copy.someone(), copy.size()
        for operation in told:
            copy.said(operation, None)
        for operation in (1, 4, 5, 6, 9, 10, 13, 41):
            copy.said(operation, whom)
        assert copy.told(first) == 0
        assert (copy.opens(whom), copy.state(whom)) == (ALL, "active")


def test_sessions_and_letters_end_in_a_copy_that_lost_something_alone(stage: Stage) -> None:
    living = "SELECT (SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'session' AND revoked_at IS NULL), (SELECT count(*) FROM vault.challenge WHERE subject_id = %s AND used_at IS NULL)"
    with undone(stage):
        copy = Copy(stage)
        whom, first = copy.someone(), copy.size()
        over = stage.session(actor=whom, kind="session", revoked_at="'2026-01-01'")
        rows(stage, "INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at, used_at) VALUES (sha256('used'), %s, 'reset-password', clock_timestamp(), '2026-01-01')", whom)  # fmt: skip
        copy.said(1, whom, lost=False)
        assert copy.told(first) == 0
        assert rows(stage, living, whom, whom) == [(1, 1)]
        copy.said(1, None)
        copy.said(1, None, lost=False)
        # Looked at from behind the entry that came back, nothing was lost.
        assert copy.told(first + 2) == 0
        assert rows(stage, living, whom, whom) == [(1, 1)]
        assert copy.told(first + 1) == 0
        assert rows(stage, living, whom, whom) == [(0, 0)]
        assert copy.opens(whom) == ALL
        assert (
            stage.value("SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'service' AND revoked_at IS NULL", whom)
            == 1
        )
        assert stage.value("SELECT revoked_at < '2026-01-02' FROM vault.session WHERE secret_hash = %s", over)
        assert stage.value("SELECT used_at < '2026-01-02' FROM vault.challenge WHERE token_hash = sha256('used')")


def test_the_job_believes_the_time_that_the_entries_prove(stage: Stage) -> None:
    ran = "SELECT ran_at FROM vault.retention_state"
    with undone(stage):
        copy = Copy(stage)
        first, before = copy.size(), stage.value(ran)
        copy.said(1, None, at=THEN, lost=False)
        copy.told(first)
        assert stage.value(ran) == before, "never back"
        copy.said(1, None, at=LATER, lost=False)
        copy.told(first + 2)
        assert stage.value(ran) == before, "what lies before the first is not looked at"
        copy.told(first + 1)
        assert stage.value(ran) == LATER
