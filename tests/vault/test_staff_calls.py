"""The operator's functions on accounts of staff and tokens, and who may see the list: each condition, with the case on either side of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust import crypto
from armonika.trust.vault import codec
from tests.vault.stage import DESCRIBE, READ, Stage
from tests.vault.undone import rows, undone

REVIEW, CREDENTIAL, TOKEN, FACTOR, END = 41, 11, 12, 40, 42
SALTED, OLD, NEW = b"s" * 16, b"o" * 32, b"n" * 32
CONSULT = "SELECT vault.consult_staff($1::bytea, $2::smallint, $3::smallint)"
LIST = "SELECT subject, role, last_sign_in, second_factor, codes_left FROM vault.staff_accounts($1::bytea, $2::bigint)"


@pytest.fixture
def crew(stage: Stage) -> Iterator[Stage]:
    """A stage whose role is one of staff."""
    stage.admin.execute("UPDATE vault.role SET kind = 'staff' WHERE id = %s", (stage.role,))
    yield stage
    stage.admin.execute("DELETE FROM vault.rule WHERE operation = 41 AND purpose = %s", (stage.provide,))
    stage.admin.execute("DELETE FROM vault.credential WHERE role = %s", (stage.role,))
    stage.admin.execute("UPDATE vault.role SET kind = 'machine' WHERE id = %s", (stage.role,))


def hired(stage: Stage, *, verified: bool = True, role: str | None = None) -> UUID:
    """Somebody with a credential, a factor, three recovery codes of which one is used, a session and a letter's token."""
    whom = stage.person().subject
    stage.admin.execute(
        "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) "
        "SELECT %s, r.id, %s, 'p', %s, CASE WHEN %s THEN '2026-01-01'::timestamptz END FROM vault.role r WHERE r.id = %s AND %s::text IS NULL OR r.name = %s",
        (whom, SALTED, OLD, verified, stage.role, role, role),
    )
    stage.admin.execute("INSERT INTO vault.second_factor (subject_id, check_hash, last_step) VALUES (%s, %s, 1)", (whom, OLD))
    for used in (None, None, "2026-01-01"):
        code = crypto.random_bytes(32)
        stage.admin.execute("INSERT INTO vault.recovery_code VALUES (%s, %s, %s)", (code, whom, used))
    stage.session("console", "session", actor=whom)
    stage.admin.execute(
        "INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at) VALUES (%s, %s, 'reset-password', clock_timestamp() + interval '1 hour')",
        (crypto.random_bytes(32), whom),
    )
    return whom


def state(stage: Stage, whom: UUID) -> tuple[Any, ...]:
    """(password, verified, factors, codes, living sessions, letters' tokens, ended)."""
    return tuple(
        stage.value(f"SELECT {what}", whom)
        for what in (
            "(SELECT check_hash FROM vault.credential WHERE subject_id = %s)",
            "(SELECT verified_at IS NOT NULL FROM vault.credential WHERE subject_id = %s)",
            "count(*) FROM vault.second_factor WHERE subject_id = %s", "count(*) FROM vault.recovery_code WHERE subject_id = %s",
            "count(*) FROM vault.session WHERE actor = %s AND revoked_at IS NULL", "count(*) FROM vault.challenge WHERE subject_id = %s",
            "count(*) FROM vault.staff_end WHERE subject_id = %s",
        )
    )  # fmt: skip


WHOLE = (OLD, True, 1, 3, 1, 1, 0)
CALLS = {
    "appoint": ("SELECT vault.staff_appoint(%s)", ()),
    "reset": ("SELECT vault.staff_reset(%s, %s, 'q', %s)", (b"t" * 16, NEW)),
    "end": ("SELECT vault.staff_end(%s)", ()),
}


def called(stage: Stage, name: str, whom: UUID) -> int | str:
    statement, more = CALLS[name]
    try:
        return int(stage.value(statement, whom, *more))
    except psycopg.Error as error:
        return str(error.sqlstate)


@pytest.mark.parametrize(
    ("name", "before", "operation", "after"),
    [
        ("appoint", False, CREDENTIAL, WHOLE),
        ("reset", True, FACTOR, (NEW, True, 0, 0, 0, 1, 0)),
        ("reset", False, FACTOR, (NEW, True, 0, 0, 0, 1, 0)),
        ("end", True, END, (None, None, 0, 0, 0, 0, 1)),
    ],
)
def test_a_call_is_of_one_member_of_staff(crew: Stage, name: str, before: bool, operation: int, after: tuple[Any, ...]) -> None:
    whom, other, member = (
        hired(crew, verified=before), hired(crew, verified=before), hired(crew, verified=before, role="admin"),
    )  # fmt: skip
    beside, nobody = (OLD, before, *WHOLE[2:]), crew.person().subject
    last = crew.last()
    console = crew.value("SELECT actor FROM vault.session WHERE kind = 'service' AND door = 'console' AND revoked_at IS NULL ORDER BY created_at DESC LIMIT 1")  # fmt: skip
    for kind, door, ended in (
        ("service", "site", None),
        ("session", "console", None),
        ("service", "console", "clock_timestamp()"),
    ):
        crew.session(door, kind, revoked_at=ended or "NULL", created_at="clock_timestamp() + interval '1 second'")
    assert isinstance(called(crew, name, whom), int)
    assert state(crew, whom) == after
    assert (state(crew, other), state(crew, member)) == (beside, beside), "nobody else"
    (entry,) = crew.entries(last)
    assert (*entry[:4], entry[5]) == (operation, True, "administrator", console, whom)
    assert entry[6:11] == (None, None, 0, 0, 0), "no fields, no purpose and no reason but the operator's"
    for refused in (member, nobody, uuid4()):
        assert called(crew, name, refused) == "AR403"
    if name != "reset":
        assert called(crew, name, whom) == "AR403", "once"
    assert len(crew.entries(last)) == 1


@pytest.mark.parametrize(("name", "stays"), [("reset", True), ("end", False)])
def test_what_ended_before_keeps_its_time_and_a_reset_is_of_sessions(crew: Stage, name: str, stays: bool) -> None:
    whom = hired(crew)
    token = crew.session("api", "token", actor=whom)
    old = crew.session("console", "session", actor=whom, revoked_at="'2020-01-01'")
    assert isinstance(called(crew, name, whom), int)
    assert crew.value("SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = %s", token) == stays
    assert crew.value("SELECT revoked_at = '2020-01-01' FROM vault.session WHERE secret_hash = %s", old)


def test_without_a_console_nothing_is_done(crew: Stage) -> None:
    whom = hired(crew)
    with crew.admin.transaction() as inside:
        crew.admin.execute("UPDATE vault.session SET revoked_at = clock_timestamp() WHERE kind = 'service' AND door = 'console' AND revoked_at IS NULL")  # fmt: skip
        with pytest.raises(psycopg.Error, match="not installed"), crew.admin.transaction():
            crew.admin.execute("SELECT vault.staff_end(%s)", (whom,))
        raise psycopg.Rollback(inside)
    assert state(crew, whom) == WHOLE


def ended(stage: Stage, begins: str | None) -> int | str:
    try:
        return int(stage.value("SELECT vault.end_token(%s)", begins))
    except psycopg.Error as error:
        return str(error.sqlstate)


def test_one_living_token_is_ended_by_its_name(stage: Stage) -> None:
    first, second = stage.session(), stage.session()
    session, service, old = stage.session(kind="session"), stage.session(kind="service"), stage.session(revoked_at="'2026-01-01'")
    twins = [hashlib.sha256(b"twin").digest()[:4] + crypto.random_bytes(28) for _ in range(2)]
    for twin in twins:
        stage.alter(stage.session(), secret_hash=f"'\\x{twin.hex()}'::bytea")
    actor, last = stage.actor(first), stage.last()
    assert isinstance(ended(stage, first.hex()[:8]), int)
    (entry,) = stage.entries(last)
    assert (entry[0], entry[1], entry[2], entry[5]) == (TOKEN, True, "administrator", actor)
    for name, said in (
        (first.hex()[:12], "AR403"), (session.hex(), "AR403"), (service.hex(), "AR403"), (old.hex(), "AR403"), (twins[0].hex()[:8], "AR403"), (crypto.random_bytes(32).hex(), "AR403"),
        (second.hex()[:7], "AR422"), (second.hex() + "0", "AR422"), ("", "AR422"), ("%", "AR422"), (second.hex().upper()[:8] if second.hex().upper()[:8] != second.hex()[:8] else "G" * 8, "AR422"),
        (None, "AR403"),
    ):  # fmt: skip
        assert ended(stage, name) == said, name
    assert len(stage.entries(last)) == 1
    living = [stage.value("SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = %s", one) for one in (first, second, session, service, *twins)]  # fmt: skip
    assert living == [False, True, True, True, True, True]
    assert isinstance(ended(stage, second.hex()), int)


def test_who_may_see_the_list(crew: Stage) -> None:
    secret = crew.session("console", "session")
    crew.admin.execute(
        "INSERT INTO vault.rule SELECT -1, %s, p.id, d.id, 41, 'all', -1 FROM vault.purpose p, vault.dataset d", (crew.role,)
    )
    words = (secret, crew.provide, crew.reason)
    crew.allow(READ)
    crew.allow(REVIEW, role=crew.value("SELECT id FROM vault.role WHERE name = 'support'"))
    assert crew.refused("console", CONSULT, *words) == "AR403", "another operation, another role"
    for scope in ("own", "org"):
        crew.allow(REVIEW, scope)
        assert crew.refused("console", CONSULT, *words) == "AR403", scope
    crew.allow(REVIEW, purpose=crew.legal)
    assert crew.refused("console", CONSULT, *words) == "AR403", "for another purpose"
    crew.allow(REVIEW)
    assert crew.refused("console", CONSULT, *words) == ""
    assert crew.refused("console", CONSULT, secret, crew.provide, crew.rights) == "AR422"
    for kind in ("service", "token"):
        assert crew.refused("console", CONSULT, crew.session("console", kind), *words[1:]) == "AR403"
    crew.admin.execute("UPDATE vault.role SET kind = 'machine' WHERE id = %s", (crew.role,))
    assert crew.refused("console", CONSULT, *words) == "AR403", "no role of staff"


def test_the_list_says_what_a_review_is_of(crew: Stage) -> None:
    secret = crew.session("console", "session")
    crew.allow(REVIEW)
    bare, whole = hired(crew), hired(crew)
    for table in ("session", "second_factor"):
        crew.admin.execute(
            f"DELETE FROM vault.{table} WHERE {'actor' if table == 'session' else 'subject_id'} = %s".encode(), (bare,)
        )
    member = hired(crew, role="admin")
    newest = crew.session("console", "session", actor=whole, created_at="'2026-03-01'")
    crew.admin.execute(
        "UPDATE vault.session SET created_at = '2026-02-01' WHERE actor = %s AND secret_hash <> %s", (whole, newest)
    )
    crew.session("console", "session", actor=whole, created_at="'2026-04-01'", usable="false")
    crew.session("console", "token", actor=whole, created_at="'2026-05-01'")
    ((ticket,),) = crew.rows("console", CONSULT, secret, crew.provide, crew.reason)
    listed = crew.rows("console", LIST, secret, ticket)
    named = {row[0]: row for row in listed if row[1] == f"stage-{crew.role}"}
    assert set(named) == {bare, whole}
    assert member not in {row[0] for row in listed}, "members are not on it"
    assert len(listed) == len({row[0] for row in listed}), "each once"
    crew.admin.execute("UPDATE vault.subject SET created_at = '2026-01-02' WHERE subject_id = %s", (bare,))
    since = crew.admin.execute("SELECT subject FROM vault.staff_list() WHERE since = '2026-01-02'").fetchall()
    assert since == [(bare,)]
    assert named[bare][2:] == (None, False, 0)
    assert (named[whole][2].isoformat()[:10], *named[whole][3:]) == ("2026-03-01", True, 2)


def test_the_list_opens_with_a_ticket_of_its_own(crew: Stage) -> None:
    secret, other = crew.session("console", "session"), crew.session("console", "session")
    for operation in (DESCRIBE, REVIEW):
        crew.allow(operation)
    whom = hired(crew)

    def ticket() -> int:
        return int(crew.rows("console", CONSULT, secret, crew.provide, crew.reason)[0][0])

    with crew.doors.raw("console") as first:
        first.execute("SELECT 1")
        words = (secret, crew.provide, crew.reason)
        ((number,),) = first.execute(codec.percent(CONSULT).encode(), words).fetchall()
        assert crew.refused("console", LIST, secret, number) == "AR403", "while it is open"
        first.rollback()
        assert crew.refused("console", LIST, secret, number) == "AR403", "after it was rolled back"
    number = ticket()
    assert crew.refused("console", LIST, other, number) == "AR403", "another reviewer"
    assert crew.refused("console", LIST, secret, number) == "", "positive control"
    ((about,),) = crew.rows("console", codec.CONSULT, secret, DESCRIBE, crew.provide, crew.reason, None, whom)
    assert crew.refused("console", LIST, secret, about) == "AR403", "a ticket about a person, for the same purpose"
    with crew.unkept():
        crew.admin.execute("UPDATE vault.audit SET at = at - interval '11 seconds' WHERE audit_id = %s", (number,))
    assert crew.refused("console", LIST, secret, number) == "AR403", "older than 10 s"
    number = ticket()
    crew.forbid()
    assert crew.refused("console", LIST, secret, number) == "AR403", "the rule was taken away"


def test_a_review_is_of_the_list_as_it_is(crew: Stage) -> None:
    secret = crew.session("console", "session")
    crew.allow(REVIEW)
    hired(crew)
    review = "SELECT vault.record_review($1::bytea, $2::smallint, $3::smallint, $4::bytea)"
    words = (secret, crew.provide, crew.reason)
    shown = crew.value("SELECT vault.staff_digest()")
    for wrong in (None, b"", shown[:-1], bytes(32)):
        assert crew.refused("console", review, *words, wrong) == "AR412"
    last = crew.last()
    ((number,),) = crew.rows("console", review, *words, shown)
    assert number == crew.last()
    crew.rows("console", CONSULT, *words)
    told = ("console", crew.actor(secret), crew.role, None, None, None, 0, crew.provide, crew.reason, None, crew.policy)
    assert crew.entries(last) == [(REVIEW, True, *told), (DESCRIBE, True, *told)]
    accounts = crew.value("SELECT accounts FROM vault.access_review WHERE audit_id = %s", number)
    assert accounts == crew.value("SELECT count(*) FROM vault.staff_list()")
    hired(crew)
    assert crew.refused("console", review, *words, shown) == "AR412", "one more account"


def test_a_review_is_of_the_policy_in_force(crew: Stage) -> None:
    """Which says what a role may do: a former one may change its words."""
    hired(crew)
    shown = crew.value("SELECT vault.staff_digest()")
    for policy, same in ((-1, True), (crew.policy, False)):
        with undone(crew):
            rows(crew, "SET LOCAL session_replication_role = replica")
            rows(crew, "UPDATE vault.policy_version SET sha256 = repeat('e', 64) WHERE policy_id = %s", policy)
            assert (crew.value("SELECT vault.staff_digest()") == shown) == same
