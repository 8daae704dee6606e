"""ask, take and ask_find called as a door's own role: every condition of each, with the case on either side of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from armonika.trust.vault import codec
from tests.doors import Doors
from tests.vault.stage import CORRECT, DESCRIBE, FIND, READ, RELEASE, Stage


@pytest.fixture
def stage(doors: Doors) -> Iterator[Stage]:
    made = Stage(doors, doors.admin())
    yield made
    made.close()


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


def test_a_take_gives_the_fields_of_its_ticket_and_no_more(stage: Stage) -> None:
    stage.allow(READ)
    made, secret = stage.person(), stage.session()
    every = stage.value("SELECT present FROM vault.record WHERE record_id = %s", made.record)
    held = stage.admin.execute("SELECT versions, ciphertexts FROM vault.record WHERE record_id = %s", (made.record,)).fetchone()
    key = stage.admin.execute("SELECT kind, epoch, wrapped FROM vault.data_key WHERE record_id = %s", (made.record,)).fetchone()
    assert held is not None
    for mask in (every, -1 & 2**40 - 1, stage.name, stage.email, stage.name | stage.email):
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


def test_several_records_come_in_the_order_of_their_making(stage: Stage) -> None:
    stage.allow(READ)
    made, secret = stage.person(), stage.session()
    others = [uuid4() for _ in range(4)]
    for number, record in enumerate(others):
        stage.admin.execute(
            "INSERT INTO vault.record SELECT subject_id, %s, dataset, created_at + (%s || ' seconds')::interval, present, versions, ciphertexts, origins, events FROM vault.record "
            "WHERE record_id = %s", (record, (number % 2) * 10 - 5, made.record),
        )  # fmt: skip
        stage.admin.execute(
            "INSERT INTO vault.data_key SELECT subject_id, %s, compartment, epoch, kind, wrapped FROM vault.data_key WHERE record_id = %s",
            (record, made.record),
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


class Search:
    """ask_find for the e-mail of people, as the door api."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.envelope = stage.doors.api._envelope

    def digests(self, email: str) -> tuple[list[int], list[bytes]]:
        return self.envelope.digests(self.stage.account, "email", email)

    def words(
        self,
        secret: bytes,
        *emails: str,
        mask: int | None = None,
        purpose: int | None = None,
        reason: int | None = None,
        ref: str | None = None,
    ) -> list[Any]:
        epochs: list[int] = []
        digests: list[bytes] = []
        items: list[int] = []
        for number, email in enumerate(emails, start=1):
            one, made = self.digests(email)
            epochs += one
            digests += made
            items += [number] * len(made)
        stage = self.stage
        return [secret, purpose or stage.provide, reason or stage.reason, ref, stage.account.id, stage.account.ordinals["email"], epochs, digests, stage.name if mask is None else mask, items]  # fmt: skip

    def __call__(self, secret: bytes, *emails: str, **more: Any) -> list[tuple[int, int | None]]:
        return self.stage.rows("api", codec.ASK_FIND, *self.words(secret, *emails, **more))

    def found(self, secret: bytes, email: str, **more: Any) -> list[Any] | None:
        """Whom a look-up gives; None when it is not allowed."""
        ((_, ticket),) = self(secret, email, **more)
        return None if ticket is None else [row[1] for row in self.stage.take(secret, ticket)]


@pytest.fixture
def search(stage: Stage) -> Search:
    return Search(stage)


def address() -> str:
    return f"{uuid4().hex}@org.example"


def test_a_look_up_needs_the_field_and_what_is_read(stage: Stage, search: Search) -> None:
    email = address()
    whom, secret = stage.person(email=email).subject, stage.session()
    assert search.found(secret, email) is None
    stage.allow(FIND)
    assert search.found(secret, email) is None, "found, and nothing of them may be read"
    stage.allow(READ, fields=stage.name)
    assert search.found(secret, email) == [whom]
    assert search.found(secret, email, mask=stage.email) is None
    assert search.found(secret, email, purpose=stage.legal, reason=stage.rights) is None
    stage.forbid()
    stage.allow(READ)
    assert search.found(secret, email) is None
    stage.allow(FIND, fields=stage.name)
    assert search.found(secret, email) is None, "another field may be looked up by"
    stage.forbid()
    stage.allow(READ)
    stage.allow(FIND, fields=stage.email, dataset=stage.doors.api.catalogue.dataset("staff").id)
    assert search.found(secret, email) is None
    stage.allow(FIND, fields=stage.email)
    assert search.found(secret, email) == [whom]


@pytest.mark.parametrize("scope", ["all", "own", "org"])
@pytest.mark.parametrize("other", ["all", "own", "org"])
def test_a_look_up_finds_whom_both_rules_allow(stage: Stage, search: Search, scope: str, other: str) -> None:
    here = uuid4()
    names = [address() for _ in range(4)]
    mine, colleague, stranger, alone = (
        stage.person(org, email=email).subject for org, email in zip((here, here, uuid4(), uuid4()), names, strict=True)
    )
    stage.admin.execute("UPDATE vault.subject SET org_id = NULL WHERE subject_id = %s", (alone,))
    stage.allow(FIND, scope)
    stage.allow(READ, other)
    secret = stage.session(actor=mine, org=here)
    reach = {"all": {mine, colleague, stranger, alone}, "own": {mine}, "org": {mine, colleague}}
    both = reach[scope] & reach[other] if {scope, other} != {"own", "org"} else set()
    for email, whom in zip(names, (mine, colleague, stranger, alone), strict=True):
        assert search.found(secret, email) == ([whom] if whom in both else [])
    assert search.found(stage.session(), names[3]) == ([alone] if both >= {alone} else [])


def test_who_is_looked_up_stands_in_the_entry_only_when_shown(stage: Stage, search: Search) -> None:
    stage.allow(FIND)
    stage.allow(READ)
    email, hidden = address(), address()
    made, secret = stage.person(email=email), stage.session()
    stage.person(state="restricted", email=hidden)
    last = stage.last()
    assert [item for item, _ in search(secret, email, address(), hidden, ref="A-7")] == [1, 2, 3]
    head = (FIND, True, "api", stage.actor(secret), stage.role)
    tail = (stage.account.id, stage.name, stage.provide, stage.reason, "A-7", stage.policy)
    assert sorted(stage.entries(last), key=str) == sorted(
        [(*head, made.subject, made.record, *tail), (*head, None, None, *tail), (*head, None, None, *tail)], key=str
    )
    stage.forbid()
    last = stage.last()
    assert search(secret, email) == [(1, None)]
    assert stage.entries(last) == [(FIND, False, *head[2:], None, None, *tail[:4], None, tail[5])]
    assert stage.take(secret, stage.last()) == []


def test_states_and_bounds_hold_for_look_ups(stage: Stage, search: Search) -> None:
    for purpose in (None, stage.legal):
        stage.allow(FIND, purpose=purpose)
        stage.allow(READ, purpose=purpose)
    email, locked, gone = address(), address(), address()
    whom, held = stage.person(email=email).subject, stage.person(email=locked, state="restricted").subject
    stage.person(email=gone, state="erased")
    secret = stage.session()
    lawful = {"purpose": stage.legal, "reason": stage.rights}
    assert [search.found(secret, one) for one in (email, locked, gone, address())] == [[whom], [], [], []]
    assert [search.found(secret, one, **lawful) for one in (email, locked, gone)] == [[whom], [held], []]
    for bounds, found in (({"operations": [FIND, READ]}, [whom]), ({"operations": [FIND]}, []), ({"operations": [READ]}, None), ({"operations": None, "purposes": [stage.provide]}, [whom]),
                          ({"purposes": [stage.legal]}, None), ({"purposes": None, "compartments": []}, None)):  # fmt: skip
        stage.narrowed(secret, **bounds)  # type: ignore[arg-type]
        assert search.found(secret, email) == found, bounds


def test_a_look_up_is_exact_and_gives_the_newest(stage: Stage, search: Search) -> None:
    stage.allow(FIND)
    stage.allow(READ)
    email, secret = address(), stage.session()
    older, newer = stage.person(email=email), stage.person(email=address())
    stage.admin.execute(
        "INSERT INTO vault.lookup (dataset, ordinal, epoch, digest, subject_id, record_id, sole) SELECT dataset, ordinal, epoch, digest, %s, %s, false FROM vault.lookup WHERE record_id = %s",
        (newer.subject, newer.record, older.record),
    )
    assert search.found(secret, email) == [newer.subject]
    stage.admin.execute(
        "UPDATE vault.subject SET created_at = created_at - interval '1 day' WHERE subject_id = %s", (newer.subject,)
    )
    assert search.found(secret, email) == [older.subject]
    for column, change in (("dataset", "dataset + 1"), ("ordinal", "ordinal + 1")):
        stage.admin.execute(f"UPDATE vault.lookup SET {column} = {change} WHERE record_id = %s".encode(), (older.record,))
        assert search.found(secret, email) == [newer.subject], column
        stage.admin.execute(
            f"UPDATE vault.lookup SET {column} = {change.replace('+', '-')} WHERE record_id = %s".encode(), (older.record,)
        )
    stage.admin.execute("DELETE FROM vault.lookup WHERE record_id = %s", (newer.record,))
    stage.admin.execute("UPDATE vault.lookup SET epoch = epoch + 1 WHERE record_id = %s", (older.record,))
    assert search.found(secret, email) == []


def test_a_look_up_that_is_not_well_formed_is_refused(stage: Stage, search: Search) -> None:
    stage.allow(FIND)
    stage.allow(READ)
    email, secret = address(), stage.session()
    words = search.words(secret, email)

    def refused(**changed: object) -> str:
        names = ["secret", "purpose", "reason", "ref", "dataset", "ordinal", "epochs", "digests", "mask", "items"]
        return stage.refused("api", codec.ASK_FIND, *[changed.get(name, word) for name, word in zip(names, words, strict=True)])

    assert refused() == ""
    assert refused(secret=b"n" * 32) == "AR401"
    assert refused(reason=stage.rights) == "AR422"
    assert refused(ref="case 1") == "AR422"
    assert refused(epochs=[99] * len(words[6])) == "AR428"
    assert refused(epochs=[], digests=[], items=[]) == "AR428"
    assert stage.rows("api", codec.ASK_FIND.replace(", $10::int[]", ""), *words[:9])[0][0] == 1


def test_what_a_door_may_not_call_it_cannot(stage: Stage) -> None:
    for statement in ("SELECT vault.note(NULL, 1, 1::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL)", "SELECT vault.actor(''::bytea)", "SELECT vault.end_records(1, NULL, NULL)",
                      "SELECT vault.defer('a', NULL)"):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stage.rows("api", statement)
