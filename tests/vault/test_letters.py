"""First credentials, letters' tokens, jobs and the brake called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

from armonika.trust import crypto
from armonika.trust.vault import codec
from tests.vault.member import (
    CREDENTIAL,
    ENQUEUE,
    ENQUEUE_TO,
    FIRST,
    ISSUE,
    PROOF,
    REDEEM,
    SALTED,
    THROTTLE,
    Member,
)
from tests.vault.stage import CREATE, Stage
from tests.vault.undone import refused, rows, undone
from tests.vault.words import CREATE_NAMES, creation


def first(
    stage: Stage, door: str, service: bytes, role: str, *, whom: UUID | None = None, alone: bool = False, ended: bool = False
) -> str:
    """The SQLSTATE of a first credential set in the transaction that made the person (or, `alone`, in another). `ended`: their appointment ended before."""
    raw = stage.doors.raw(door)
    words = creation(stage, service)
    assert CREATE_NAMES[4] == "subjects"
    with stage.unkept():
        for one in (uuid4(), words[4][0])[: 2 if ended else 1]:
            stage.admin.execute("INSERT INTO vault.staff_end (subject_id, audit_id) VALUES (%s, -1)", (one,))
    try:
        with raw.transaction():
            with raw.cursor(binary=True) as cursor:
                cursor.execute(codec.percent(codec.CREATE).encode(), words)
                if alone:
                    raw.execute("COMMIT")
                    raw.execute("BEGIN")
                cursor.execute(codec.percent(FIRST).encode(), [service, whom or words[4][0], role, SALTED, "p", b"c" * 32])
        found = stage.admin.execute(
            "SELECT salt, parameters, check_hash, verified_at IS NOT NULL FROM vault.credential WHERE subject_id = %s",
            (words[4][0],),
        ).fetchall()
        assert found == [(SALTED, "p", b"c" * 32, False)], "nobody is confirmed by who wrote them"
        return ""
    except Exception as error:
        return str(getattr(error, "sqlstate", error))
    finally:
        raw.close()
        with stage.unkept():
            stage.admin.execute("DELETE FROM vault.staff_end WHERE audit_id = -1")
        stage.admin.execute("DELETE FROM vault.credential WHERE subject_id = %s", (words[4][0],))


def test_a_first_credential_is_set_by_whoever_made_the_person_just_now(stage: Stage) -> None:
    stage.allow(CREATE)
    service = stage.session("site", "service")
    last = stage.last()
    assert first(stage, "site", service, "admin") == ""
    made, credential = stage.entries(last)
    assert credential == (
        CREDENTIAL,
        True,
        "site",
        stage.actor(service),
        stage.role,
        made[5],
        None,
        None,
        0,
        0,
        0,
        None,
        stage.policy,
    )
    for role in ("support", "integration", "nothing"):
        assert first(stage, "site", service, role) == "AR403", role
    assert first(stage, "site", service, "admin", alone=True) == "AR403"
    assert first(stage, "site", service, "admin", whom=stage.person().subject) == "AR403"
    assert first(stage, "site", stage.session("site", "token"), "admin") == "AR403"
    console = stage.session("console", "service")
    for role, said in (("support", ""), ("admin", "AR403")):
        assert first(stage, "console", console, role) == said, role
    assert first(stage, "console", console, "support", ended=True) == "AR403", "an appointment that ended begins no more"


def test_a_first_credential_is_of_who_was_made_by_this_very_service(stage: Stage) -> None:
    """Another entry of the same transaction, or a creation by somebody else, is none."""
    stage.allow(CREATE)
    service, other, whom = stage.session("site", "service"), stage.session("site", "service"), stage.person().subject
    words = creation(stage, other)

    def said(secret: bytes, person: UUID) -> str:
        return refused(stage, codec.percent(FIRST), secret, person, "admin", SALTED, "p", b"c" * 32, door="site")

    with undone(stage):
        rows(stage, codec.percent(codec.NOTE_REFUSAL), service, CREATE + 1, stage.provide, stage.reason, whom, None, door="site")
        rows(stage, codec.percent(codec.CREATE), *words, door="site")
        assert [said(service, whom), said(service, words[4][0]), said(other, words[4][0])] == ["AR403", "AR403", ""]
        assert said(other, words[4][0]) == "AR403", "the first is the only one"


def challenge(
    stage: Stage, service: bytes, whom: UUID, kind: str = "verify-address", ttl: int = 3600, door: str = "worker"
) -> bytes:
    token = crypto.random_bytes(32)
    stage.rows(door, ISSUE, service, whom, kind, token, ttl)
    return token


def test_a_letters_token_is_of_one_person_and_voids_the_earlier_ones(stage: Stage) -> None:
    worker, member, other = stage.session("worker", "service"), Member(stage, verified=False), Member(stage)
    beside, different = challenge(stage, worker, other.whom), challenge(stage, worker, member.whom, "reset-password")
    last = stage.last()
    one = challenge(stage, worker, member.whom)
    assert stage.entries(last) == [
        (CREDENTIAL, True, "worker", stage.actor(worker), stage.role, member.whom, None, None, 0, 0, 0, None, stage.policy)
    ]
    two = challenge(stage, worker, member.whom)

    def unused(token: bytes) -> bool:
        return bool(stage.value("SELECT used_at IS NULL FROM vault.challenge WHERE token_hash = %s", token))

    assert [unused(token) for token in (one, two, beside, different)] == [False, True, True, True]
    for asked, given in ((60, 60), (59, 60), (0, 60), (61, 61), (604800, 604800), (604801, 604800)):
        token = challenge(stage, worker, member.whom, ttl=asked)
        left = stage.value(
            "SELECT extract(epoch FROM expires_at - created_at)::float8 FROM vault.challenge WHERE token_hash = %s", token
        )
        assert abs(left - given) < 0.9, asked
    words = (member.whom, "verify-address", b"t" * 32, 60)
    assert stage.refused("worker", ISSUE, b"n" * 32, *words) == "AR401"
    assert stage.refused("worker", ISSUE, stage.session("worker", "token"), *words) == "AR403"
    assert stage.refused("worker", ISSUE, worker, stage.person().subject, *words[1:]) == "AR403"
    assert stage.refused("site", ISSUE, stage.session("site", "service"), *words) == "42501"


def test_a_letters_token_works_once_in_its_time_for_its_kind(stage: Stage) -> None:
    worker, service, member = stage.session("worker", "service"), stage.session("site", "service"), Member(stage, verified=False)
    new = [b"S" * 16, "q", b"C" * 32]

    def redeem(token: bytes, kind: str = "verify-address") -> str:
        return stage.refused("site", REDEEM, service, token, kind, *(new if kind == "reset-password" else [None] * 3))

    token = challenge(stage, worker, member.whom)
    assert redeem(b"t" * 32) == redeem(token, "reset-password") == "AR403"
    for column, expression, said in (
        ("expires_at", "clock_timestamp() - interval '1 second'", "AR403"), ("created_at", "clock_timestamp() + interval '6 seconds'", "AR403"), ("used_at", "clock_timestamp()", "AR403"),
        ("created_at", "clock_timestamp() + interval '4 seconds'", ""),
    ):  # fmt: skip
        token = challenge(stage, worker, member.whom)
        stage.admin.execute(f"UPDATE vault.challenge SET {column} = {expression} WHERE token_hash = %s".encode(), (token,))
        assert redeem(token) == said, expression
    assert redeem(token) == "AR403", "once"
    assert stage.refused("site", REDEEM, b"n" * 32, token, "verify-address", None, None, None) == "AR401"


def test_what_a_redeemed_token_does(stage: Stage) -> None:
    worker, service = stage.session("worker", "service"), stage.session("site", "service")
    member, other = Member(stage, verified=False), Member(stage, verified=False)
    held = "SELECT salt, parameters, check_hash, verified_at IS NOT NULL FROM vault.credential WHERE subject_id = %s"
    before = stage.admin.execute(held, (other.whom,)).fetchone()
    last = stage.last()
    token = challenge(stage, worker, member.whom)
    assert stage.rows("site", REDEEM, service, token, "verify-address", None, None, None) == [(member.whom,)]
    assert stage.entries(last)[1] == (
        CREDENTIAL,
        True,
        "site",
        stage.actor(service),
        stage.role,
        member.whom,
        None,
        None,
        0,
        0,
        0,
        None,
        stage.policy,
    )
    assert stage.admin.execute(held, (member.whom,)).fetchone() == (SALTED, "p", hashlib.sha256(PROOF).digest(), True)
    verified = stage.value("SELECT verified_at FROM vault.credential WHERE subject_id = %s", member.whom)
    session, of_other = stage.session("site", "session", member.whom), stage.session("site", "session", other.whom)
    machine, ended = (
        stage.session("site", "token", member.whom),
        stage.session("site", "session", member.whom, revoked_at="'2020-01-01'"),
    )
    token = challenge(stage, worker, member.whom, "reset-password")
    assert stage.refused("site", REDEEM, service, token, "reset-password", None, None, None) == "AR422"
    assert stage.rows("site", REDEEM, service, token, "reset-password", b"S" * 16, "q", b"C" * 32) == [(member.whom,)]
    assert stage.admin.execute(held, (member.whom,)).fetchone() == (b"S" * 16, "q", b"C" * 32, True)
    assert stage.value("SELECT verified_at FROM vault.credential WHERE subject_id = %s", member.whom) == verified
    assert stage.value(
        "SELECT changed_at > clock_timestamp() - interval '1 minute' FROM vault.credential WHERE subject_id = %s", member.whom
    )
    assert stage.admin.execute(held, (other.whom,)).fetchone() == before
    gone = "SELECT revoked_at IS NOT NULL FROM vault.session WHERE secret_hash = %s"
    assert [stage.value(gone, one) for one in (session, of_other, machine, ended)] == [True, False, False, True]
    assert stage.value("SELECT extract(year FROM revoked_at)::int FROM vault.session WHERE secret_hash = %s", ended) == 2020
    token = challenge(stage, worker, other.whom, "reset-password")
    stage.rows("site", REDEEM, service, token, "reset-password", b"S" * 16, "q", b"C" * 32)
    assert stage.admin.execute(held, (other.whom,)).fetchone() == (b"S" * 16, "q", b"C" * 32, True), (
        "the letter proves the address too"
    )


def jobs(stage: Stage, whom: UUID) -> list[tuple[Any, ...]]:
    return stage.admin.execute(
        "SELECT queue_name, task_name, args FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s ORDER BY id", (str(whom),)
    ).fetchall()


def test_a_job_names_a_task_a_language_and_a_pseudonym(stage: Stage) -> None:
    service, member, other = stage.session("site", "service"), Member(stage), Member(stage)
    stage.rows("site", ENQUEUE, service, "verify-address:ar", member.whom)
    stage.rows("site", ENQUEUE_TO, service, "reset-password:fr", *member.place)
    wanted = [
        ("letters", name, {"subject": str(member.whom), "language": language})
        for name, language in (("verify-address", "ar"), ("reset-password", "fr"))
    ]
    assert jobs(stage, member.whom) == wanted
    plain = (
        "SELECT DISTINCT priority, lock, queueing_lock, scheduled_at FROM jobs.procrastinate_jobs WHERE args ->> 'subject' = %s"
    )
    assert stage.admin.execute(plain.encode(), (str(member.whom),)).fetchall() == [(0, None, None, None)]
    assert jobs(stage, other.whom) == []
    for job in ("", "ab:en", "a" * 41 + ":en", "Abc:en", "abc:de", "abc", "abc:en ", "abc:en\n", "a b c:en"):
        assert stage.refused("site", ENQUEUE, service, job, member.whom) == "AR422", job
        assert stage.refused("site", ENQUEUE_TO, service, job, *member.place) == "AR403", job
    stage.rows("site", ENQUEUE_TO, service, "reset-password:fr", *member.place[:3], [b"d" * 32] * len(member.epochs))
    for column, change in (("dataset", "dataset + 1"), ("ordinal", "ordinal + 1"), ("epoch", "epoch + 1"), ("sole", "false")):
        before = stage.value(f"SELECT {column} FROM vault.lookup WHERE record_id = %s", member.made.record)
        stage.admin.execute(f"UPDATE vault.lookup SET {column} = {change} WHERE record_id = %s".encode(), (member.made.record,))
        stage.rows("site", ENQUEUE_TO, service, "reset-password:fr", *member.place)
        stage.admin.execute(f"UPDATE vault.lookup SET {column} = %s WHERE record_id = %s".encode(), (before, member.made.record))
    assert jobs(stage, member.whom) == wanted


def test_the_brake_gives_a_burst_and_then_a_rate(stage: Stage) -> None:
    key = crypto.random_bytes(32)

    def tried(one: bytes = key, rate: float = 6.0, burst: int = 3) -> float:
        return float(stage.rows("api", THROTTLE, one, rate, burst)[0][0])

    assert [tried() for _ in range(3)] == [0, 0, 0]
    wait = tried()
    assert 9 < wait <= 10
    assert 9 < tried() <= wait, "who is refused waits no longer for having asked"
    assert tried(crypto.random_bytes(32)) == 0
    stage.admin.execute("UPDATE vault.throttle SET tat = tat - interval '10 seconds' WHERE key = %s", (key,))
    assert tried() == 0
    assert tried() > 9
    stage.admin.execute("UPDATE vault.throttle SET tat = tat - interval '1 hour' WHERE key = %s", (key,))
    assert [tried() == 0 for _ in range(4)] == [True, True, True, False], "a long rest gives one burst and no more"
    stage.admin.execute("UPDATE vault.throttle SET tat = tat + interval '1 hour' WHERE key = %s", (key,))
    assert tried() == 0, "a clock that went back locks nobody out"
    one = crypto.random_bytes(32)
    assert [tried(one, 60, 1) == 0 for _ in range(2)] == [True, False]
    two = crypto.random_bytes(32)
    assert [tried(two, 60, 0) == 0 for _ in range(2)] == [True, False]
    slow = crypto.random_bytes(32)
    assert tried(slow, 0, 1) == 0
    assert 59_000 < tried(slow, 0, 1) <= 60_000
    burst = crypto.random_bytes(32)
    assert [tried(burst, 0, 2) == 0 for _ in range(3)] == [True, True, False], "a burst, however slow"
    assert stage.rows("api", THROTTLE, None, 6.0, 3) == [(None,)]


def test_a_letter_is_enqueued_by_the_door_itself_and_by_no_session_of_somebody(stage: Stage) -> None:
    whom = stage.person().subject
    for kind, said in (("service", ""), ("session", "AR403"), ("token", "AR403")):
        assert stage.refused("site", ENQUEUE, stage.session("site", kind), "send-reset:en", whom) == said


def test_a_letter_s_token_is_used_by_a_service_alone(stage: Stage) -> None:
    member, token = Member(stage), crypto.random_bytes(32)
    stage.rows("worker", ISSUE, stage.session("worker", "service"), member.whom, "verify-address", token, 600)
    for kind in ("token", "session"):
        other = stage.session("site", kind)
        assert stage.refused("site", REDEEM, other, token, "verify-address", None, None, None) == "AR403"
    service = stage.session("site", "service")
    assert stage.rows("site", REDEEM, service, token, "verify-address", None, None, None) == [(member.whom,)]


def test_a_letter_is_addressed_under_every_epoch_that_is_searched(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    for epochs, digests in (([], []), ([member.epochs[0] + 9], member.digests[:1])):
        place = [*member.place[:2], epochs, digests]
        assert stage.refused("site", ENQUEUE_TO, service, "reset-password:fr", *place) == "AR428"
    assert stage.refused("site", ENQUEUE_TO, service, "reset-password:fr", *member.place) == ""
