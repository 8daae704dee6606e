"""erase, erase_records and restrict called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

from uuid import UUID, uuid4

from armonika.trust.vault import codec
from tests.vault.stage import ERASE, READ, RESTRICT, Stage
from tests.vault.undone import record, refused, rows, undone
from tests.vault.words import (
    denied,
    dependents,
    erase,
    furnished,
)


def test_an_erasure_takes_everything_of_the_person_and_nothing_of_others(stage: Stage) -> None:
    stage.allow(ERASE, fields=0)
    one, two, other = furnished(stage), furnished(stage), furnished(stage)
    secret, before = stage.session(), dependents(stage, other.subject)
    assert before == (1, 1, 1, 1, 1, 2)
    last = stage.last()
    rows = erase(stage, secret, two.subject, uuid4(), one.subject, ref="CASE-9")
    first, second = sorted((one, two), key=lambda made: made.subject)
    assert [(row[0], *row[2:]) for row in rows] == [(first.subject, 1, 0), (second.subject, 1, 0)]
    assert [row[1] for row in rows] == [
        number for (number,) in stage.admin.execute("SELECT audit_id FROM vault.audit WHERE audit_id > %s ORDER BY 1", (last,))
    ]
    actor = stage.actor(secret)
    assert stage.entries(last) == [
        (ERASE, True, "api", actor, stage.role, made.subject, None, None, 0, stage.provide, stage.reason, "CASE-9", stage.policy)
        for made in (first, second)
    ]
    for made, row in ((first, rows[0]), (second, rows[1])):
        assert dependents(stage, made.subject) == (0, 0, 0, 0, 0, 1)
        assert stage.admin.execute(
            "SELECT state, org_id FROM vault.subject WHERE subject_id = %s", (made.subject,)
        ).fetchone() == ("erased", None)
        assert stage.admin.execute(
            "SELECT audit_id, records FROM vault.tombstone WHERE subject_id = %s", (made.subject,)
        ).fetchall() == [(row[1], 1)]
        ended = stage.admin.execute(
            "SELECT record_id, epoch IS NULL, audit_id, registered FROM vault.ended WHERE subject_id = %s ORDER BY ended_no",
            (made.subject,),
        ).fetchall()
        assert ended == [(made.record, False, row[1], False), (None, True, row[1], False)]
    assert dependents(stage, other.subject) == before
    assert erase(stage, secret, one.subject, two.subject) == []


def test_what_the_policy_keeps_stays_and_the_person_is_locked(stage: Stage) -> None:
    stage.allow(ERASE)
    made, secret = stage.person(), stage.session()
    staff = stage.doors.api.catalogue.dataset("staff").id
    kept = uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, %s, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (kept, staff, made.record))  # fmt: skip
    stage.admin.execute(
        "INSERT INTO vault.data_key SELECT subject_id, %s, compartment, epoch, kind, wrapped FROM vault.data_key WHERE record_id = %s",
        (kept, made.record),
    )
    org = stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", made.subject)
    ((whom, _, gone, left),) = erase(stage, secret, made.subject)
    assert (whom, gone, left) == (made.subject, 1, 1)
    assert stage.admin.execute("SELECT state, org_id FROM vault.subject WHERE subject_id = %s", (whom,)).fetchone() == (
        "restricted",
        org,
    )
    assert stage.value("SELECT count(*) FROM vault.tombstone WHERE subject_id = %s", whom) == 0
    assert stage.value("SELECT record_id FROM vault.record WHERE subject_id = %s", whom) == kept
    assert erase(stage, secret, made.subject) == [], "nothing that this actor may erase is left"
    ended = stage.admin.execute("SELECT record_id FROM vault.ended WHERE subject_id = %s ORDER BY ended_no", (whom,)).fetchall()
    assert ended == [(made.record,), (None,)], "what is kept is not told as ended"
    assert dependents(stage, whom)[:2] == (1, 1)
    bare = stage.person()
    stage.admin.execute("DELETE FROM vault.record WHERE subject_id = %s", (bare.subject,))
    ((_, _, gone, left),) = erase(stage, secret, bare.subject)
    assert (gone, left) == (0, 0)


def test_who_may_erase_and_restrict_whom(stage: Stage) -> None:
    here = uuid4()

    def outcome(secret: bytes, whom: UUID) -> tuple[int, str]:
        locked = denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, None, whom, False])
        return len(erase(stage, secret, whom)), locked

    secret = stage.session()
    assert outcome(secret, stage.person().subject) == (0, "AR403")
    for operation, seen in ((READ, (0, "AR403")), (ERASE, (1, "AR403")), (RESTRICT, (0, ""))):
        stage.allow(operation)
        assert outcome(secret, stage.person().subject) == seen
        stage.forbid()
    for scope in ("own", "org", "all"):
        stage.allow(ERASE, scope)
        stage.allow(RESTRICT, scope)
        mine, colleague, stranger, alone = stage.person(here), stage.person(here), stage.person(), stage.person()
        stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone.subject,))
        member = stage.session(actor=mine.subject, org=here)
        none, done = (0, "AR403"), (1, "")
        free = stage.session()
        assert outcome(free, alone.subject) == (done if scope == "all" else none)
        assert outcome(member, stranger.subject) == (done if scope == "all" else none)
        assert outcome(member, colleague.subject) == (none if scope == "own" else done)
        assert outcome(stage.session(actor=mine.subject, org=here), mine.subject) == done
        stage.forbid()
    stage.allow(ERASE)
    stage.allow(RESTRICT)
    stage.allow(ERASE, purpose=stage.legal)
    assert outcome(secret, stage.person(state="erased").subject) == none
    assert outcome(secret, uuid4()) == none
    for bounds, seen in (
        ({"operations": [ERASE]}, (1, "AR403")),
        ({"operations": [RESTRICT]}, (0, "")),
        ({"operations": None, "purposes": [stage.legal]}, none),
        ({"purposes": [stage.provide]}, done),
    ):
        stage.narrowed(secret, **bounds)  # type: ignore[arg-type]
        assert outcome(secret, stage.person().subject) == seen, bounds
    stage.narrowed(secret, purposes=None)
    whom = stage.person().subject
    for words in (
        [b"n" * 32, stage.provide, stage.reason, None],
        [secret, stage.provide, stage.rights, None],
        [secret, stage.provide, stage.reason, "case 1"],
    ):
        said = "AR401" if words[0] != secret else "AR422"
        assert denied(stage, "api", codec.ERASE, [*words, [whom]]) == said
        assert denied(stage, "api", codec.RESTRICT, [*words, whom, True]) == said
        assert denied(stage, "api", codec.ERASE_RECORDS, [*words, [whom], [whom]]) == said
    assert denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, None, whom, None]) == "AR403"
    stage.admin.execute(
        "UPDATE vault.record SET dataset = %s WHERE subject_id = %s", (stage.doors.api.catalogue.dataset("staff").id, whom)
    )
    assert erase(stage, secret, whom) == [], "no record of this person is of a dataset that may be erased"


def test_a_person_without_records_is_erased_by_the_same_rule(stage: Stage) -> None:
    here = uuid4()
    bare = stage.person(here)
    stage.admin.execute("DELETE FROM vault.record WHERE subject_id = %s", (bare.subject,))
    secret, member = stage.session(), stage.session(org=here)
    assert erase(stage, secret, bare.subject) == []
    stage.allow(READ)
    stage.allow(ERASE, purpose=stage.legal)
    assert erase(stage, secret, bare.subject) == []
    stage.allow(ERASE, "own")
    assert erase(stage, secret, bare.subject) == erase(stage, member, bare.subject) == []
    stage.allow(ERASE, "org")
    assert erase(stage, secret, bare.subject) == erase(stage, stage.session(org=uuid4()), bare.subject) == []
    support = stage.value("SELECT id FROM vault.compartment WHERE name = 'support'")
    bounds: dict[str, list[int]]
    for bounds in ({"operations": [READ]}, {"purposes": [stage.legal]}, {"compartments": [support]}):
        narrow = stage.session(org=here)
        stage.narrowed(narrow, **bounds)
        assert erase(stage, narrow, bare.subject) == [], "a token that is narrower than its role"
    assert len(erase(stage, member, bare.subject)) == 1


def test_a_page_of_an_erasure_is_destroyed_for_a_service_alone(stage: Stage) -> None:
    sweep = "SELECT vault.sweep($1::bytea, 1)"
    for kind in ("session", "token"):
        assert stage.refused("keeper", sweep, stage.session("keeper", kind)) == "AR403"
    assert stage.refused("keeper", sweep, stage.session("api", "service")) == "AR401"
    assert stage.refused("keeper", sweep, stage.session("keeper", "service")) == ""


def test_an_erasure_by_a_session_needs_a_fresh_sign_in(stage: Stage) -> None:
    stage.allow(ERASE)
    secret, token = stage.session(kind="session"), stage.session(auth_at="clock_timestamp() - interval '1 day'")
    for age, said in (("9 minutes 55 seconds", ""), ("10 minutes 5 seconds", "AR401"), ("1 day", "AR401")):
        stage.alter(secret, auth_at=f"clock_timestamp() - interval '{age}'")
        assert denied(stage, "api", codec.ERASE, [secret, stage.provide, stage.reason, None, [stage.person().subject]]) == said
    assert len(erase(stage, token, stage.person().subject)) == 1


def test_a_restriction_is_set_and_lifted_with_an_entry(stage: Stage) -> None:
    stage.allow(RESTRICT)
    whom, other, secret = stage.person().subject, stage.person().subject, stage.session()
    for lock, status in ((True, "restricted"), (True, "restricted"), (False, "active")):
        last = stage.last()
        ((number,),) = stage.rows("api", codec.RESTRICT, secret, stage.provide, stage.reason, "A-2", whom, lock)
        assert number == stage.last()
        assert stage.entries(last) == [
            (
                RESTRICT,
                True,
                "api",
                stage.actor(secret),
                stage.role,
                whom,
                None,
                None,
                0,
                stage.provide,
                stage.reason,
                "A-2",
                stage.policy,
            )
        ]
        assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", whom) == status
        assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", other) == "active"


def test_single_records_end_one_by_one(stage: Stage) -> None:
    made, other, secret = stage.person(), stage.person(), stage.session()
    second = uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, dataset, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (second, made.record))  # fmt: skip
    words = [
        secret,
        stage.provide,
        stage.reason,
        "A-3",
        [made.subject, other.subject, made.subject],
        [made.record, made.record, uuid4()],
    ]
    assert stage.rows("api", codec.ERASE_RECORDS, *words) == []
    stage.allow(ERASE, fields=0)
    assert stage.rows("api", codec.ERASE_RECORDS, *words[:4], [other.subject], [made.record]) == [], "not theirs"
    namesake = stage.person()
    stage.admin.execute("INSERT INTO vault.record SELECT %s, record_id, dataset, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (namesake.subject, made.record))  # fmt: skip
    last = stage.last()
    ((record, number),) = stage.rows("api", codec.ERASE_RECORDS, *words)
    assert (record, number) == (made.record, stage.last())
    assert stage.entries(last) == [
        (
            ERASE,
            True,
            "api",
            stage.actor(secret),
            stage.role,
            made.subject,
            made.record,
            stage.account.id,
            0,
            stage.provide,
            stage.reason,
            "A-3",
            stage.policy,
        )
    ]
    assert dependents(stage, made.subject)[:3] == (1, 0, 0)
    assert dependents(stage, other.subject)[:3] == (1, 1, 1)
    assert dependents(stage, namesake.subject)[:3] == (2, 1, 1), "a record of the same number of somebody else stays"
    assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", made.subject) == "active"
    ended = stage.admin.execute(
        "SELECT record_id, compartment, epoch IS NOT NULL, audit_id FROM vault.ended WHERE subject_id = %s", (made.subject,)
    ).fetchall()
    assert ended == [
        (made.record, stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id), True, number)
    ]


def test_an_erasure_wants_a_proof_of_the_last_ten_minutes(stage: Stage) -> None:
    """The second factor's where there is one. A clock that went back by more than a moment is none; a token has none to show."""
    fresh = "SELECT vault.check_fresh(s) FROM vault.session s WHERE secret_hash = %s"
    for moment, said in (("- interval '9 minutes 55 seconds'", ""), ("- interval '10 minutes 5 seconds'", "AR401"), ("", ""), ("+ interval '4 seconds'", ""), ("+ interval '8 seconds'", "AR401")):  # fmt: skip
        at = f"clock_timestamp() {moment}"
        for columns in ({"auth_at": at}, {"auth_at": "'2020-01-01'", "second_at": at}, {"second_at": at}):
            assert refused(stage, fresh, stage.session("site", "session", **columns)) == said, columns  # type: ignore[arg-type]
        assert refused(stage, fresh, stage.session(auth_at=at)) == ""


def test_what_the_law_keeps_is_kept_however_much_it_is(stage: Stage) -> None:
    """It is asked at once, not by the keeper's pages. A former policy's lock is none."""
    stage.allow(ERASE)
    secret = stage.session()
    for policy, left in ((-1, 1), (stage.policy, 0)):
        whom = stage.person().subject
        with undone(stage):
            for _ in range(32):
                record(stage, whom)
            rows(stage, "SET LOCAL session_replication_role = replica")
            rows(stage, "DELETE FROM vault.declared_retention WHERE dataset = %s", stage.account.id)
            for one in (-1, stage.policy):
                rows(stage, "INSERT INTO vault.declared_retention (policy_id, dataset, class, days, starts, zone, locked) VALUES (%s, %s, 'c', 30, 'recording', 'UTC', %s)", one, stage.account.id, one == policy)  # fmt: skip
            rows(stage, "SET LOCAL session_replication_role = origin")
            words = (secret, stage.provide, stage.reason, None, [whom])
            assert (refused(stage, codec.percent(codec.ERASE), *words, door="api") == "") == bool(left)
            assert stage.value("SELECT count(*) FROM vault.erasing WHERE subject_id = %s", whom) == left


def test_of_who_was_erased_no_single_record_is_ended_again(stage: Stage) -> None:
    """The keeper destroys what is left of them, and their certificate says so."""
    stage.allow(ERASE)
    secret, made = stage.session(), stage.person()
    words = (secret, stage.provide, stage.reason, None, [made.subject], [made.record])
    with undone(stage):
        rows(stage, "UPDATE vault.subject SET state = 'erased' WHERE subject_id = %s", made.subject)
        assert rows(stage, codec.percent(codec.ERASE_RECORDS), *words, door="api") == []
        rows(stage, "UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", made.subject)
        assert len(rows(stage, codec.percent(codec.ERASE_RECORDS), *words, door="api")) == 1
