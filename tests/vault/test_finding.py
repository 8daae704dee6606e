"""ask_find called as a door's own role: every condition, with the case on either side of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from armonika.trust.vault import codec
from tests.vault.stage import FIND, READ, Stage


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


def test_a_look_up_in_one_round_trip_carries_no_trust(stage: Stage, search: Search) -> None:
    secret, email = stage.session(), address()
    whom = stage.person(email=email).subject
    words = search.words(secret, email, address())
    assert stage.rows("api", codec.FIND_AT_ONCE, *words) == [([None, None], None)]
    stage.allow(READ)
    stage.allow(FIND)
    last = stage.last()
    ((tickets, taken),) = stage.rows("api", codec.FIND_AT_ONCE, *words, taken=True)
    assert [tuple(row) for row in taken] == stage.take(secret, *tickets)
    assert [row[1] for row in taken] == [whom]
    ((_, alone),) = stage.rows("api", codec.FIND_AT_ONCE, *search.words(secret, email), taken=True)
    assert [row[1] for row in alone] == [whom]
    assert [entry[:2] for entry in stage.entries(last)] == [(FIND, True)] * 3
    with stage.doors.raw() as own, pytest.raises(psycopg.errors.InvalidTransactionTermination):
        own.execute(codec.percent(codec.FIND_AT_ONCE).encode(), words)
    assert len(stage.entries(last)) == 3
