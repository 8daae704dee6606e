"""ask called as a door's own role: every condition, with the case on either side of it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from armonika.trust.vault import codec
from tests.vault.stage import CORRECT, DESCRIBE, FIND, READ, RELEASE, Stage

LIVING: list[tuple[dict[str, object], bool]] = [
    ({}, True), ({"revoked_at": "clock_timestamp()"}, False), ({"revoked_at": "clock_timestamp() + interval '1 hour'"}, False), ({"door": "'site'"}, False),
    ({"expires_at": "clock_timestamp() - interval '1 second'"}, False), ({"expires_at": "clock_timestamp() + interval '2 seconds'"}, True),
    ({"created_at": "clock_timestamp() + interval '4 seconds'"}, True), ({"created_at": "clock_timestamp() + interval '6 seconds'"}, False),
    ({"created_at": "clock_timestamp() - interval '10 years'"}, True),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LIVING)))
def test_a_secret_acts_while_it_lives_at_its_door(stage: Stage, number: int) -> None:
    columns, living = LIVING[number]
    stage.allow(READ)
    secret, whom = stage.session(), stage.person().subject
    ticket, _ = stage.ask(secret, whom)
    assert len(stage.take(secret, ticket)) == 1
    stage.alter(secret, **columns)
    last = stage.last()
    assert stage.verdict(secret, whom) == (0 if living else 1)
    assert len(stage.entries(last)) == (1 if living else 0), "who is nobody leaves no entry in another's name"
    assert len(stage.take(secret, ticket)) == (1 if living else 0)
    assert stage.refused("api", codec.WHOAMI, secret) == ("" if living else "AR401")


def test_a_denial_is_the_same_work_whoever_is_asked_for(stage: Stage) -> None:
    """Counted in pages of the database: whoever measures how long an answer takes learns no more from it than from the answer."""
    stage.allow(READ)
    secret, gone = stage.session(), stage.person().subject
    stage.doors.verifier.erase(stage.doors.verifier.service, [gone], "legal", "verification")
    asked = [[secret], [READ], [stage.provide], [stage.reason], [None], None, [None], [stage.account.id], [stage.name], [1]]
    touched = []
    for whom in (gone, uuid4(), stage.person(state="restricted").subject):
        asked[5] = [whom]
        # The first looks up what the session then keeps: tables, functions, plans.
        for _ in range(2):
            ((plan,),) = stage.rows("api", f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {codec.ASK}", *asked)
        touched.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
    assert min(touched) > 10, "what the function does is counted"
    assert max(touched) - min(touched) <= 3, touched


def test_no_secret_is_nobody(stage: Stage) -> None:
    stage.allow(READ)
    whom, secret = stage.person().subject, stage.session()
    for wrong in (b"", b"\0" * 32, secret[:-1], secret + b"\0", None):
        assert stage.verdict(wrong, whom) == 1  # type: ignore[arg-type]
        assert stage.refused("api", codec.WHOAMI, wrong) == "AR401"
    assert stage.verdict(secret, whom) == 0


def test_an_entry_says_who_asked_for_what_of_whom_and_why(stage: Stage) -> None:
    stage.allow(READ, fields=stage.name)
    made, secret = stage.person(), stage.session()
    last = stage.last()
    ticket, verdict = stage.ask(secret, made.subject, ref="CASE-12", record=made.record)
    assert stage.verdict(secret, made.subject, stage.email) == 2
    actor = stage.actor(secret)
    whole = (
        READ,
        True,
        "api",
        actor,
        stage.role,
        made.subject,
        made.record,
        stage.account.id,
        stage.name,
        stage.provide,
        stage.reason,
        "CASE-12",
        stage.policy,
    )
    refused = (
        READ,
        False,
        "api",
        actor,
        stage.role,
        made.subject,
        None,
        stage.account.id,
        stage.email,
        stage.provide,
        stage.reason,
        None,
        stage.policy,
    )
    assert stage.entries(last) == [whole, refused]
    assert verdict == 0
    assert stage.value("SELECT abs(extract(epoch FROM clock_timestamp() - at)) < 5 FROM vault.audit WHERE audit_id = %s", ticket)
    assert stage.value("SELECT pg_xact_status(xact) FROM vault.audit WHERE audit_id = %s", ticket) == "committed"


def test_what_is_not_well_formed_is_refused_and_noted(stage: Stage) -> None:
    stage.allow(READ)
    stage.allow(DESCRIBE)
    whom, secret = stage.person().subject, stage.session()
    for mask, more in ((0, {}), (None, {"ref": "case-1"}), (None, {"ref": "CASE 1"}), (None, {"ref": "ABCDEFGHI1"}), (None, {"ref": "A1234567890123"}), (None, {"what": DESCRIBE}),
                       (None, {"what": 0}), (None, {"what": 2})):  # fmt: skip
        last = stage.last()
        assert stage.verdict(secret, whom, mask, **more) == 2, more  # type: ignore[arg-type]
        (entry,) = stage.entries(last)
        assert entry[:2] == (READ, False)
        assert entry[11] is None
    for ref in ("A1", "A-1", "ABCDEFGH-123456789012"):
        assert stage.verdict(secret, whom, ref=ref) == 0
    last = stage.last()
    ((ticket, verdict),) = stage.rows(
        "api", codec.ASK, [secret], [READ], [None], [None], [None], [whom], [None], [stage.account.id], [None], [1]
    )
    assert (ticket, verdict) == (None, 2)
    assert stage.entries(last)[0][8:11] == (0, 0, 0)


def test_a_rule_allows_its_role_purpose_dataset_operation_and_fields(stage: Stage) -> None:
    catalogue = stage.doors.api.catalogue
    other_purpose, billing = catalogue.purpose("secure"), catalogue.dataset("staff").id
    whom, secret = stage.person().subject, stage.session()
    for wrong in (
        {"role": 1},
        {"purpose": other_purpose},
        {"dataset": billing},
        {"operation": CORRECT},
        {"operation": FIND},
        {"fields": stage.email},
    ):
        if "role" not in wrong:
            stage.allow(**{"operation": READ, **wrong})  # type: ignore[arg-type]
        assert stage.verdict(secret, whom) == 2, wrong
        stage.forbid()
    stage.allow(READ, fields=stage.name)
    assert stage.verdict(secret, whom) == 0
    assert stage.verdict(secret, whom, stage.name | stage.email) == 2
    assert stage.verdict(secret, whom, purpose=stage.legal) == 2
    assert stage.verdict(secret, whom, reason=stage.rights) == 2, "a reason of another purpose"
    assert stage.verdict(secret, whom, dataset=billing) == 2


def test_the_release_of_a_key_needs_the_rule_for_corrections(stage: Stage) -> None:
    whom, secret = stage.person().subject, stage.session()
    stage.allow(READ)
    assert stage.verdict(secret, whom, what=RELEASE) == 2
    stage.forbid()
    stage.allow(CORRECT)
    assert stage.verdict(secret, whom) == 2
    last = stage.last()
    ticket, verdict = stage.ask(secret, whom, what=RELEASE)
    assert verdict == 0
    assert stage.entries(last)[0][:2] == (RELEASE, True)
    ((_, _, _, _, _, _, wrapped, _, versions, ciphertexts),) = stage.take(secret, ticket)
    assert wrapped
    assert versions[0] == 1
    assert ciphertexts is None
    stage.narrowed(secret, operations=[CORRECT])
    assert stage.verdict(secret, whom, what=RELEASE) == 0
    stage.narrowed(secret, operations=[RELEASE])
    assert stage.verdict(secret, whom, what=RELEASE) == 2


@pytest.mark.parametrize("scope", ["all", "own", "org"])
def test_a_scope_is_everybody_oneself_or_ones_organisation(stage: Stage, scope: str) -> None:
    here, there = uuid4(), uuid4()
    mine, colleague, stranger = stage.person(here), stage.person(here), stage.person(there)
    alone = stage.person()
    stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone.subject,))
    stage.allow(READ, scope)
    member, free = stage.session(actor=mine.subject, org=here), stage.session(actor=alone.subject)
    seen = {"all": (0, 0, 0, 0), "own": (0, 3, 3, 3), "org": (0, 0, 3, 3)}[scope]
    assert tuple(stage.verdict(member, one.subject) for one in (mine, colleague, stranger, alone)) == seen
    assert stage.verdict(free, alone.subject) == (3 if scope == "org" else 0)
    assert stage.verdict(free, mine.subject) == (0 if scope == "all" else 3)
    stage.allow(READ, {"all": "own", "own": "org", "org": "own"}[scope])
    assert stage.verdict(member, colleague.subject) == 0
    assert stage.verdict(member, stranger.subject) == (0 if scope == "all" else 3)


def test_states_decide_and_unknown_is_erased(stage: Stage) -> None:
    stage.allow(READ)
    stage.allow(READ, purpose=stage.legal)
    secret = stage.session()
    there, locked, gone = stage.person(), stage.person(state="restricted"), stage.person(state="erased")
    assert [stage.verdict(secret, one) for one in (there.subject, locked.subject, gone.subject, uuid4(), None)] == [0, 4, 3, 3, 3]
    assert stage.value(
        "SELECT while_restricted FROM vault.declared_purpose WHERE policy_id = %s AND purpose = %s", stage.policy, stage.legal
    )
    for one, verdict in ((there, 0), (locked, 0), (gone, 3)):
        assert stage.verdict(secret, one.subject, purpose=stage.legal, reason=stage.rights) == verdict


@pytest.mark.parametrize("bound", ["operations", "purposes", "compartments"])
def test_a_token_may_be_narrower_than_its_role_and_a_session_is_not(stage: Stage, bound: str) -> None:
    stage.allow(READ)
    whom = stage.person().subject
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id)
    right = {"operations": READ, "purposes": stage.provide, "compartments": compartment}[bound]
    for kind, others in (("token", 2), ("session", 0), ("service", 0)):
        secret = stage.session(kind=kind)
        for held, verdict in ((None, 0), ([right], 0), ([right, right + 1], 0), ([right + 1], others), ([], others)):
            stage.narrowed(secret, **{bound: held})
            assert stage.verdict(secret, whom) == verdict, (kind, held)


def test_items_and_shapes_keep_apart(stage: Stage) -> None:
    stage.allow(READ, fields=stage.name)
    people = [stage.person().subject for _ in range(3)]
    one, two, nobody, unknown = stage.session(), stage.session(), b"n" * 32, uuid4()
    last = stage.last()
    rows = stage.rows(
        "api", codec.ASK.replace("ticket, verdict", "item, ticket, verdict"), [one, two, nobody], [READ] * 3, [stage.provide] * 3, [stage.reason] * 3, ["A-1", None, "A-3"],
        [people[2], unknown, people[0], people[1], people[0]], [None] * 5, [stage.account.id] * 3, [stage.name, stage.email, stage.name], [1, 1, 3, 2, 1],
    )  # fmt: skip
    assert [(item, verdict) for item, _, verdict in rows] == [(1, 0), (2, 3), (3, 1), (4, 2), (5, 0)]
    assert [bool(ticket) for _, ticket, _ in rows] == [True, False, False, False, True]
    entries = stage.entries(last)
    assert sorted((str(entry[3]), str(entry[5]), entry[1], entry[11] or "") for entry in entries) == sorted([
        (str(stage.actor(one)), str(people[2]), True, "A-1"), (str(stage.actor(one)), str(unknown), False, "A-1"), (str(stage.actor(two)), str(people[1]), False, ""),
        (str(stage.actor(one)), str(people[0]), True, "A-1"),
    ])  # fmt: skip
    taken = stage.rows("api", codec.TAKE, [two, one], [rows[4][1], rows[0][1], rows[0][1]], [2, 2, 1])
    assert [(item, subject) for item, subject, *_ in taken] == [(1, people[0]), (2, people[2])], (
        "each ticket by its own holder alone"
    )
    plain = "SELECT item, ticket, verdict FROM vault.ask($1::bytea[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[], $8::smallint[], $9::bigint[])"
    rows = stage.rows(
        "api",
        plain,
        [one, two],
        [READ] * 2,
        [stage.provide] * 2,
        [stage.reason] * 2,
        [None] * 2,
        people[:2],
        [None] * 2,
        [stage.account.id] * 2,
        [stage.name] * 2,
    )
    assert [verdict for _, _, verdict in rows] == [0, 0]
    taken = stage.rows(
        "api", "SELECT item, subject FROM vault.take($1::bytea[], $2::bigint[])", [one, two], [rows[0][1], rows[1][1]]
    )
    assert taken == [(1, people[0]), (2, people[1])]
    assert (
        stage.rows("api", "SELECT item, subject FROM vault.take($1::bytea[], $2::bigint[])", [two, one], [rows[0][1], rows[1][1]])
        == []
    )
