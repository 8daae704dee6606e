"""describe, the lists of accesses and the notes of refusals called as a door's own role."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from armonika.trust.vault import codec
from armonika.trust.vault.types import Created
from tests.vault.stage import ACCESSES, CORRECT, CREATE, DESCRIBE, ERASE, READ, RESTRICT, Stage
from tests.vault.undone import rows, undone
from tests.vault.words import (
    account,
    create,
    creation,
    denied,
)

DESCRIBED = (
    "SELECT record, dataset, ordinal, version, origin, written_at IS NOT NULL, event FROM vault.describe($1::bytea, $2::bigint)"
)
ACCESSED = "SELECT audit_id, operation, granted, reader, role, dataset, fields, purpose, reason, reference, leaf_no FROM vault.accesses($1::bytea, $2::bigint, $3::int, $4::bigint)"
ENTRY = "SELECT leaf_no, audit_id, operation, outcome, door, actor, actor_role, subject, record, dataset, fields, purpose, reason, reference, policy FROM vault.access_entry($1::bytea, $2::bigint, $3::bigint)"


def consult(
    stage: Stage, what: int, secret: bytes, whom: UUID, ref: str | None = None, purpose: int | None = None, door: str = "api"
) -> int:
    words = [secret, what, stage.provide if purpose is None else purpose, stage.reason, ref, whom]
    return int(stage.rows(door, codec.CONSULT, *words)[0][0])


def described(stage: Stage, secret: bytes, whom: UUID, ref: str | None = None) -> list[tuple[object, ...]]:
    return stage.rows("api", DESCRIBED, secret, consult(stage, DESCRIBE, secret, whom, ref))


def accessed(
    stage: Stage, secret: bytes, whom: UUID, most: int | None = 50, before: int | None = None
) -> list[tuple[object, ...]]:
    return stage.rows("api", ACCESSED, secret, consult(stage, ACCESSES, secret, whom), most, before)


def entry_of(stage: Stage, secret: bytes, whom: UUID, number: object) -> list[tuple[object, ...]]:
    return stage.rows("api", ENTRY, secret, consult(stage, ACCESSES, secret, whom), number)


def test_what_is_held_of_a_person_is_told_without_being_opened(stage: Stage) -> None:
    stage.allow(DESCRIBE)
    stage.allow(CORRECT)
    stage.person()
    made, secret = stage.person(), stage.session()
    number = stage.doors.api.correct(secret, made.subject, made.record, {"name": "M", "phone": "5"}, "provide", "integration")  # type: ignore[arg-type]
    last = stage.last()
    rows = described(stage, secret, made.subject, "A-4")
    assert stage.entries(last) == [
        (
            DESCRIBE,
            True,
            "api",
            stage.actor(secret),
            stage.role,
            made.subject,
            None,
            None,
            0,
            stage.provide,
            stage.reason,
            "A-4",
            stage.policy,
        )
    ]
    ordinals = stage.account.ordinals
    wanted = [
        (
            ordinals[name],
            2 if name == "name" else 1,
            1 if name in ("name", "phone") else 2,
            number if name in ("name", "phone") else made.audit_id,
        )
        for name in ("name", "email", "company", "role", "phone")
    ]
    assert [(row[2], row[3], row[4], row[6]) for row in rows] == sorted(wanted)
    assert all(row[:2] == (made.record, stage.account.id) and row[5] for row in rows)
    staff, second = stage.doors.api.catalogue.dataset("staff").id, uuid4()
    stage.admin.execute("INSERT INTO vault.record SELECT subject_id, %s, %s, created_at, present, versions, ciphertexts, origins, events FROM vault.record WHERE record_id = %s", (second, staff, made.record))  # fmt: skip
    assert described(stage, secret, made.subject) == rows, "what the rule does not name is not told"
    for words, said in (([b"n" * 32, DESCRIBE, stage.provide, stage.reason, None], "AR401"), ([secret, DESCRIBE, stage.provide, stage.rights, None], "AR422"),
                        ([secret, DESCRIBE, stage.provide, stage.reason, "a"], "AR422"), ([secret, DESCRIBE, stage.legal, stage.rights, None], "AR403"),
                        ([secret, READ, stage.provide, stage.reason, None], "AR403"), ([secret, None, stage.provide, stage.reason, None], "AR403")):  # fmt: skip
        assert denied(stage, "api", codec.CONSULT, [*words, made.subject]) == said
    assert denied(stage, "api", codec.CONSULT, [secret, DESCRIBE, stage.provide, stage.reason, None, None]) == "AR403"


@pytest.mark.parametrize("scope", ["own", "org", "all"])
def test_whose_lists_an_actor_sees(stage: Stage, scope: str) -> None:
    here = uuid4()
    mine, colleague, stranger, alone = stage.person(here), stage.person(here), stage.person(), stage.person()
    stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone.subject,))
    member, free = stage.session(actor=mine.subject, org=here), stage.session()
    for operation in (READ, ERASE):
        stage.allow(operation)
    asked: list[tuple[bytes, Created, bool]] = [
        (member, mine, True), (member, colleague, scope != "own"), (member, stranger, scope == "all"), (member, alone, scope == "all"), (free, alone, scope == "all"),
    ]  # fmt: skip
    for allowed in (False, True):
        if allowed:
            stage.allow(DESCRIBE, scope)
            stage.allow(ACCESSES, scope)
        for secret, made, seen in asked:
            said = "" if allowed and seen else "AR403"
            for what in (DESCRIBE, ACCESSES):
                words = [secret, what, stage.provide, stage.reason, None, made.subject]
                assert denied(stage, "api", codec.CONSULT, words) == said
                assert (
                    denied(stage, "api", codec.CONSULT, [secret, what, stage.legal, stage.rights, None, made.subject]) == "AR403"
                )
            if not said:
                assert len(entry_of(stage, secret, made.subject, made.audit_id)) == 1
                others = {other.audit_id for _, other, _ in asked} - {made.audit_id}
                assert not any(entry_of(stage, secret, made.subject, other) for other in others), (
                    "an entry is of the ticket's person"
                )
    gone = stage.person(here, state="erased")
    for whom in (gone.subject, uuid4()):
        for what in (DESCRIBE, ACCESSES):
            assert denied(stage, "api", codec.CONSULT, [member, what, stage.provide, stage.reason, None, whom]) == "AR403"
    assert denied(stage, "api", codec.CONSULT, [member, ACCESSES, stage.provide, stage.rights, None, mine.subject]) == "AR422"


def test_who_used_a_persons_data_newest_first(stage: Stage) -> None:
    stage.allow(ACCESSES)
    stage.allow(READ, fields=stage.name)
    made, other, secret = stage.person(), stage.person(), stage.session()
    stage.ask(secret, made.subject, ref="A-5")
    stage.ask(secret, other.subject)
    stage.ask(secret, made.subject, stage.name | stage.email)
    last = stage.last()
    rows = accessed(stage, secret, made.subject)
    actor, role = stage.actor(secret), f"stage-{stage.role}"
    assert stage.entries(last)[0][:2] == (ACCESSES, True)
    assert [row[1] for row in rows] == ["accesses", "read", "read", "create"]
    head, refused, granted, first = rows
    assert head[2:] == (True, actor, role, None, [], "provide", "integration", None, None)
    assert refused[2:] == (False, actor, role, "account", ["name", "email"], "provide", "integration", None, None)
    assert granted[2:] == (True, actor, role, "account", ["name"], "provide", "integration", "A-5", None)
    assert first[0] == made.audit_id
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    for most, before, numbers in (
        (1, None, 1),
        (2, None, 2),
        (0, None, 1),
        (-5, None, 1),
        (None, granted[0], 1),
    ):
        found = accessed(stage, secret, made.subject, most, before)
        assert len(found) == numbers, (most, before)
        assert all(before is None or row[0] < before for row in found)
    (entry,) = entry_of(stage, secret, made.subject, granted[0])
    sha256 = stage.value("SELECT sha256 FROM vault.policy_version WHERE policy_id = %s", stage.policy)
    assert entry == (
        None,
        granted[0],
        "read",
        "granted",
        "api",
        actor,
        role,
        made.subject,
        None,
        "account",
        ["name"],
        "provide",
        "integration",
        "A-5",
        sha256,
    )
    assert entry_of(stage, secret, made.subject, refused[0])[0][3] == "refused"
    assert stage.refused("api", ENTRY, b"n" * 32, consult(stage, ACCESSES, secret, made.subject), granted[0]) == "AR401"


def test_each_entry_is_told_with_the_leaf_that_it_is_and_with_no_other(stage: Stage) -> None:
    stage.allow(ACCESSES)
    made, other, secret = stage.person(), stage.person(), stage.session()
    ticket = consult(stage, ACCESSES, secret, made.subject)
    with undone(stage):
        for place, number in ((2**40, made.audit_id), (2**40 + 1, other.audit_id)):
            rows(stage, "INSERT INTO vault.leaf VALUES (%s, %s, sha256(''))", place, number)
        told = rows(stage, codec.percent(ACCESSED), secret, ticket, 50, None, door="api")
        assert [(row[0], row[-1]) for row in told] == [(ticket, None), (made.audit_id, 2**40)]
        for number, leaf in ((made.audit_id, 2**40), (ticket, None)):
            assert [row[:2] for row in rows(stage, codec.percent(ENTRY), secret, ticket, number, door="api")] == [(leaf, number)]


def test_a_creation_that_was_sent_twice_finds_the_first(stage: Stage) -> None:
    stage.allow(CREATE)
    secret, other = stage.session(), stage.session()
    words = creation(stage, secret)
    (number,) = create(stage, words)
    whom, record = words[4][0], words[7][0]
    made = "SELECT vault.made($1::bytea, $2::uuid, $3::uuid)"

    def answer(who: bytes, subject: UUID, which: UUID) -> object:
        return stage.rows("api", made, who, subject, which)[0][0]

    assert answer(secret, whom, record) == number
    assert answer(secret, whom, uuid4()) == -1
    assert answer(secret, uuid4(), record) is None
    assert answer(other, whom, record) is None
    assert stage.refused("api", made, b"n" * 32, whom, record) == "AR401"
    second = account(subject=whom, kind=None, org=None)
    more = creation(stage, secret, second)
    (later,) = create(stage, more)
    assert (answer(secret, whom, record), answer(secret, whom, more[7][0])) == (number, later)
    stage.allow(READ)
    stage.ask(secret, (fresh := stage.person()).subject, record=fresh.record)
    assert answer(secret, fresh.subject, fresh.record) is None, "a read makes nothing"
    stage.rows("api", codec.NOTE_REFUSAL, secret, CREATE, stage.provide, stage.reason, fresh.subject, stage.account.id)
    assert answer(secret, fresh.subject, fresh.record) is None, "nor does what was refused"
    for operations, found in (([CREATE], number), ([READ], None)):
        stage.narrowed(secret, operations=operations)
        assert answer(secret, whom, record) == found, "a token that was narrowed since is told nothing"


def test_the_fact_of_a_refusal_is_kept(stage: Stage) -> None:
    secret, whom, last = stage.session(), uuid4(), stage.last()
    note = codec.NOTE_REFUSAL
    assert stage.rows("api", note, secret, ERASE, stage.provide, stage.reason, whom, stage.account.id)[0][0] == stage.last()
    stage.rows("api", note, secret, 21, None, None, None, None)
    stage.rows("api", note, secret, 1, stage.provide, stage.reason, None, None)
    actor = stage.actor(secret)
    assert stage.entries(last) == [
        (ERASE, False, "api", actor, stage.role, whom, None, stage.account.id, 0, stage.provide, stage.reason, None, stage.policy),
        (21, False, "api", actor, stage.role, None, None, None, 0, 0, 0, None, stage.policy), (1, False, "api", actor, stage.role, None, None, None, 0, stage.provide, stage.reason, None, stage.policy),
    ]  # fmt: skip
    for operation in (0, 22):
        assert denied(stage, "api", note, [secret, operation, None, None, None, None]) == "AR422"
    assert denied(stage, "api", note, [b"n" * 32, ERASE, None, None, None, None]) == "AR401"


def test_a_reference_is_of_its_shape(stage: Stage) -> None:
    stage.allow(RESTRICT)
    secret, whom = stage.session(), stage.person().subject
    for ref, said in (
        ("A1", ""),
        ("A-1", ""),
        ("ABCDEFGH123456789012", ""),
        ("", "AR422"),
        ("1", "AR422"),
        ("A", "AR422"),
        ("A--1", "AR422"),
        ("a1", "AR422"),
        ("ABCDEFGHI1", "AR422"),
        ("A1234567890123", "AR422"),
    ):
        assert denied(stage, "api", codec.RESTRICT, [secret, stage.provide, stage.reason, ref, whom, False]) == said, ref


@pytest.mark.parametrize("bounds", [{"operations": [READ]}, {"purposes": [32000]}, {"compartments": [32000]}], ids=str)
def test_a_token_that_is_narrower_than_its_role_lists_and_locks_nobody(stage: Stage, bounds: dict[str, list[int]]) -> None:
    for operation in (DESCRIBE, ACCESSES, RESTRICT):
        stage.allow(operation)
    made, secret = stage.person(), stage.session()
    asked = [(codec.CONSULT, secret, what, stage.provide, stage.reason, None, made.subject) for what in (DESCRIBE, ACCESSES)]
    locked = (codec.RESTRICT, secret, stage.provide, stage.reason, None, made.subject, True)
    tickets = [stage.rows("api", *words)[0][0] for words in asked]
    given = [
        (DESCRIBED, secret, tickets[0]), (ACCESSED, secret, tickets[1], 10, None), (ENTRY, secret, tickets[1], made.audit_id),
    ]  # fmt: skip
    assert all(stage.rows("api", *words) for words in given)
    stage.narrowed(secret, **bounds)
    refused = [stage.refused("api", *words) for words in (*asked, *given[1:], locked)]
    assert refused == ["AR403"] * 5
    assert stage.refused("api", *given[0]) == "AR403" or stage.rows("api", *given[0]) == []
    assert stage.value("SELECT state FROM vault.subject WHERE subject_id = %s", made.subject) == "active"


def test_a_token_that_is_just_wide_enough_lists(stage: Stage) -> None:
    for operation in (DESCRIBE, ACCESSES):
        stage.allow(operation)
    made, secret = stage.person(), stage.session()
    for what in (DESCRIBE, ACCESSES):
        stage.narrowed(secret, operations=[what], purposes=[stage.provide])
        assert consult(stage, what, secret, made.subject)
        other = [secret, DESCRIBE + ACCESSES - what, stage.provide, stage.reason, None, made.subject]
        assert denied(stage, "api", codec.CONSULT, other) == "AR403"


def test_a_token_of_any_compartments_sees_no_list_of_all(stage: Stage) -> None:
    """Entries are of every compartment, also of such as come later."""
    for operation in (DESCRIBE, ACCESSES):
        stage.allow(operation)
    made, secret = stage.person(), stage.session()
    stage.narrowed(secret, compartments=[number for (number,) in stage.admin.execute("SELECT id FROM vault.compartment")])
    assert described(stage, secret, made.subject)
    assert denied(stage, "api", codec.CONSULT, [secret, ACCESSES, stage.provide, stage.reason, None, made.subject]) == "AR403"


def test_a_field_without_a_value_is_not_held(stage: Stage) -> None:
    """And which fields may be opened is no matter: none is."""
    stage.allow(DESCRIBE, fields=0)
    told = described(stage, stage.session(), stage.person().subject)
    assert [row[2] for row in told] == sorted(stage.account.ordinals[name] for name in ("name", "email", "company", "role"))
    assert told[-1][2] > stage.account.ordinals["phone"], "the one without a value is among them"
