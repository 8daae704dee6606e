"""Sign-in, sessions, letters' tokens, jobs and the brake called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust import crypto
from armonika.trust.vault.types import Created
from tests.doors import Doors
from tests.vault.stage import CREATE, Stage

SALT = "SELECT vault.sign_in_salt($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[])"
SIGN_IN = "SELECT actor, verdict FROM vault.sign_in($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[], $6::bytea, $7::bytea, $8::int, $9::smallint, $10::smallint)"
WHO = "SELECT actor, role, org_id, kind, expires_at, auth_at FROM vault.whoami($1::bytea)"
SIGN_OUT = "SELECT vault.sign_out($1::bytea, $2::boolean)"
OWN_SALT, PROVE = "SELECT vault.own_salt($1::bytea)", "SELECT vault.prove_again($1::bytea, $2::bytea)"
FIRST = "SELECT vault.set_first_credential($1::bytea, $2::uuid, $3::text, $4::bytea, $5::text, $6::bytea, $7::boolean)"
ISSUE = "SELECT vault.issue_challenge($1::bytea, $2::uuid, $3::text, $4::bytea, $5::int)"
REDEEM = "SELECT vault.redeem_challenge($1::bytea, $2::bytea, $3::text, $4::bytea, $5::text, $6::bytea)"
THROTTLE = "SELECT vault.throttle($1::bytea, $2::float8, $3::int)"
ENQUEUE = "SELECT vault.enqueue($1::bytea, $2::text, $3::uuid)"
ENQUEUE_TO = "SELECT vault.enqueue_to($1::bytea, $2::text, $3::smallint, $4::smallint, $5::int[], $6::bytea[])"
PROOF, SALTED = b"p" * 32, b"s" * 16
SIGN_IN_ENTRY, SIGN_OUT_ENTRY, CREDENTIAL = 9, 10, 11


@pytest.fixture
def stage(doors: Doors) -> Iterator[Stage]:
    made = Stage(doors, doors.admin())
    yield made
    made.admin.execute("DELETE FROM vault.credential WHERE role = %s", (made.role,))
    made.close()


class Member:
    """A person with an address and a credential whose proof is PROOF."""

    def __init__(self, stage: Stage, verified: bool = True) -> None:
        self.stage, self.email = stage, f"{uuid4().hex}@org.example"
        self.made: Created = stage.person(uuid4(), email=self.email)
        self.whom: UUID = self.made.subject
        stage.admin.execute(
            "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) VALUES (%s, %s, %s, 'p', %s, CASE WHEN %s THEN clock_timestamp() END)",
            (self.whom, stage.role, SALTED, hashlib.sha256(PROOF).digest(), verified),
        )
        self.purpose, self.reason = stage.doors.api.catalogue.purpose("secure"), stage.doors.api.catalogue.reason("sign-in")
        self.epochs, self.digests = stage.doors.site._envelope.digests(stage.account, "email", self.email)
        self.place: list[Any] = [stage.account.id, stage.account.ordinals["email"], self.epochs, self.digests]

    def words(self, service: bytes, secret: bytes, proof: bytes | None = PROOF, ttl: int = 3600, **changed: Any) -> list[Any]:
        return [
            service,
            *changed.get("place", self.place),
            proof,
            secret,
            ttl,
            changed.get("purpose", self.purpose),
            changed.get("reason", self.reason),
        ]

    def sign_in(self, service: bytes, proof: bytes | None = PROOF, ttl: int = 3600) -> tuple[bytes, int]:
        secret = crypto.random_bytes(32)
        ((_, verdict),) = self.stage.rows("site", SIGN_IN, *self.words(service, secret, proof, ttl))
        return secret, verdict


def test_a_session_opens_for_the_proof_alone(stage: Stage) -> None:
    service, member, other = stage.session("site", "service"), Member(stage), Member(stage)
    org = stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", member.whom)
    assert stage.rows("site", SALT, service, *member.place) == [(SALTED,)]
    last, secret = stage.last(), crypto.random_bytes(32)
    assert stage.rows("site", SIGN_IN, *member.words(service, secret)) == [(member.whom, 0)]
    tail = (member.purpose, member.reason, None, stage.policy)
    assert stage.entries(last) == [
        (SIGN_IN_ENTRY, True, "site", member.whom, stage.role, member.whom, None, stage.account.id, 0, *tail)
    ]
    ((actor, role, in_org, kind, expires, auth),) = stage.rows("site", WHO, secret)
    assert (actor, role, in_org, kind) == (member.whom, f"stage-{stage.role}", org, "session")
    assert 3590 < (expires - auth).total_seconds() < 3610
    assert stage.value("SELECT door FROM vault.session WHERE secret_hash = %s", secret) == "site"
    for proof in (b"q" * 32, PROOF[:-1], b"", None):
        last = stage.last()
        secret, verdict = member.sign_in(service, proof)
        assert verdict == 1
        assert stage.entries(last) == [
            (SIGN_IN_ENTRY, False, "site", stage.actor(service), stage.role, member.whom, None, stage.account.id, 0, *tail)
        ]
        assert stage.refused("site", WHO, secret) == "AR401"
    assert other.whom != member.whom


def test_unknown_erased_and_unverified_open_nothing(stage: Stage) -> None:
    service, member, fresh = stage.session("site", "service"), Member(stage), Member(stage, verified=False)
    secret, verdict = fresh.sign_in(service)
    assert verdict == 2
    assert stage.refused("site", WHO, secret) == "AR401"
    assert fresh.sign_in(service, b"x")[1] == 1
    last = stage.last()
    place = [*member.place[:3], [b"d" * 32] * len(member.epochs)]
    assert stage.rows("site", SALT, service, *place) == [(None,)]
    assert stage.rows("site", SIGN_IN, *member.words(service, crypto.random_bytes(32), place=place)) == [(None, 1)]
    assert stage.entries(last)[0][:6] == (SIGN_IN_ENTRY, False, "site", stage.actor(service), stage.role, None)
    stage.admin.execute("UPDATE vault.subject SET state = 'erased' WHERE subject_id = %s", (member.whom,))
    assert member.sign_in(service)[1] == 1
    stage.admin.execute("UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", (member.whom,))
    assert member.sign_in(service)[1] == 0
    for column, change in (("dataset", "dataset + 1"), ("ordinal", "ordinal + 1"), ("epoch", "epoch + 1"), ("sole", "false")):
        before = stage.value(f"SELECT {column} FROM vault.lookup WHERE record_id = %s", member.made.record)
        stage.admin.execute(f"UPDATE vault.lookup SET {column} = {change} WHERE record_id = %s".encode(), (member.made.record,))
        assert member.sign_in(service)[1] == 1, column
        assert stage.rows("site", SALT, service, *member.place) == [(None,)], column
        stage.admin.execute(f"UPDATE vault.lookup SET {column} = %s WHERE record_id = %s".encode(), (before, member.made.record))
    assert member.sign_in(service)[1] == 0


def test_a_session_lasts_a_minute_to_twelve_hours(stage: Stage) -> None:
    service, member = stage.session("site", "service"), Member(stage)
    for asked, given in ((60, 60), (59, 60), (-5, 60), (61, 61), (43200, 43200), (43201, 43200), (10**9, 43200)):
        secret, _ = member.sign_in(service, ttl=asked)
        left = stage.value(
            "SELECT extract(epoch FROM expires_at - created_at)::float8 FROM vault.session WHERE secret_hash = %s", secret
        )
        assert abs(left - given) < 0.9, asked


def test_only_the_doors_own_service_signs_in(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    secret = crypto.random_bytes(32)
    for kind, said in (("service", ""), ("token", "AR403"), ("session", "AR403")):
        own = stage.session("site", kind)
        assert stage.refused("site", SALT, own, *member.place) == said
        assert stage.refused("site", SIGN_IN, *member.words(own, crypto.random_bytes(32))) == said
        assert stage.refused("site", REDEEM, own, b"t" * 32, "verify-address", None, None, None) == "AR403"
        assert stage.refused("site", ENQUEUE_TO, own, "verify-address:en", *member.place) == said
        assert stage.refused("site", ENQUEUE, own, "verify-address:en", member.whom) == ""
    for statement, words in (
        (SALT, member.place),
        (SIGN_IN, member.words(service, secret)[1:]),
        (ENQUEUE, ["verify-address:en", member.whom]),
        (ENQUEUE_TO, ["verify-address:en", *member.place]),
    ):
        assert stage.refused("site", statement, b"n" * 32, *words) == "AR401"
    assert stage.refused("site", SIGN_IN, *member.words(service, secret, reason=stage.rights)) == "AR422"
    place = [*member.place[:2], [99] * len(member.epochs), member.digests]
    assert stage.refused("site", SIGN_IN, *member.words(service, secret, place=place)) == "AR428"
    assert stage.refused("site", SALT, service, *place) == "AR428"
    assert stage.refused("site", ENQUEUE_TO, service, "verify-address:en", *place) == "AR428"
    compartment = stage.value("SELECT compartment FROM vault.dataset WHERE id = %s", stage.account.id)
    for mode, said in (("seal", "AR403"), ("full", "")):
        stage.admin.execute(
            "UPDATE vault.door_compartment SET mode = %s WHERE policy_id = %s AND door = 'site' AND compartment = %s",
            (mode, stage.policy, compartment),
        )
        assert stage.refused("site", SIGN_IN, *member.words(service, crypto.random_bytes(32))) == said
    console = stage.session("console", "service")
    held = stage.value(
        "SELECT count(*) FROM vault.door_compartment WHERE policy_id = %s AND door = 'console' AND compartment = %s AND mode = 'full'",
        stage.policy,
        compartment,
    )
    assert (stage.refused("console", SIGN_IN, *member.words(console, crypto.random_bytes(32))) == "") == bool(held)


def test_signing_out_ends_one_or_all(stage: Stage) -> None:
    actor, other = uuid4(), stage.session("site", "session")
    ones = [stage.session("site", "session", actor) for _ in range(3)]
    token, away = stage.session("site", "token", actor), stage.session("console", "session", actor)
    stage.alter(ones[2], revoked_at="clock_timestamp() - interval '1 hour'")
    ended = stage.value("SELECT revoked_at FROM vault.session WHERE secret_hash = %s", ones[2])

    def living() -> list[bool]:
        return [
            stage.value("SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = %s", one)
            for one in (*ones[:2], token, away, other)
        ]

    last = stage.last()
    for wrong in (b"n" * 32, token, away, ones[2]):
        assert stage.rows("site", SIGN_OUT, wrong, True) == [(0,)]
    assert stage.entries(last) == []
    assert living() == [True] * 5
    assert stage.rows("site", SIGN_OUT, ones[0], False) == [(1,)]
    assert living() == [False, True, True, True, True]
    assert stage.entries(last) == [
        (SIGN_OUT_ENTRY, True, "site", actor, stage.role, actor, None, None, 0, 0, 0, None, stage.policy)
    ]
    assert stage.rows("site", SIGN_OUT, ones[0], True) == [(0,)]
    assert stage.rows("site", SIGN_OUT, ones[1], True) == [(2,)]
    assert living() == [False, False, True, False, True]
    assert stage.value("SELECT revoked_at FROM vault.session WHERE secret_hash = %s", ones[2]) == ended


def test_freshness_is_renewed_by_the_own_proof(stage: Stage) -> None:
    member, other = Member(stage), Member(stage)
    stage.admin.execute(
        "UPDATE vault.credential SET check_hash = sha256(%s), salt = %s WHERE subject_id = %s", (b"o" * 32, b"o" * 16, other.whom)
    )
    old = "clock_timestamp() - interval '1 hour'"
    secret, second = (stage.session("site", "session", member.whom, auth_at=old) for _ in range(2))
    assert stage.rows("site", OWN_SALT, secret) == [(SALTED,)]
    assert stage.rows("site", OWN_SALT, stage.session("site", "session")) == [(None,)]
    assert stage.refused("site", OWN_SALT, b"n" * 32) == "AR401"

    def fresh(one: bytes) -> bool:
        return bool(
            stage.value("SELECT auth_at > clock_timestamp() - interval '1 minute' FROM vault.session WHERE secret_hash = %s", one)
        )

    for proof, right in ((b"o" * 32, False), (b"", False), (PROOF, True)):
        last = stage.last()
        assert stage.rows("site", PROVE, secret, proof) == [(right,)]
        assert (fresh(secret), fresh(second)) == (right, False)
        assert stage.entries(last) == [
            (SIGN_IN_ENTRY, right, "site", member.whom, stage.role, member.whom, None, None, 0, 0, 0, None, stage.policy)
        ]
    assert stage.refused("site", PROVE, b"n" * 32, PROOF) == "AR401"


def first(
    stage: Stage, door: str, service: bytes, role: str, verified: bool, *, whom: UUID | None = None, alone: bool = False
) -> str:
    """The SQLSTATE of a first credential set in the transaction that made the person (or, `alone`, in another)."""
    from tests.vault.test_writing import CREATE_NAMES, creation

    raw = stage.doors.raw(door)
    words = creation(stage, service)
    assert CREATE_NAMES[4] == "subjects"
    try:
        with raw.transaction():
            from armonika.trust.vault import codec

            with raw.cursor(binary=True) as cursor:
                cursor.execute(codec.percent(codec.CREATE).encode(), words)
                if alone:
                    raw.execute("COMMIT")
                    raw.execute("BEGIN")
                cursor.execute(
                    codec.percent(FIRST).encode(), [service, whom or words[4][0], role, SALTED, "p", b"c" * 32, verified]
                )
        found = stage.admin.execute(
            "SELECT salt, parameters, check_hash, verified_at IS NOT NULL FROM vault.credential WHERE subject_id = %s",
            (words[4][0],),
        ).fetchall()
        assert found == [(SALTED, "p", b"c" * 32, verified)]
        return ""
    except Exception as error:
        return str(getattr(error, "sqlstate", error))
    finally:
        raw.close()
        stage.admin.execute("DELETE FROM vault.credential WHERE subject_id = %s", (words[4][0],))


def test_a_first_credential_is_set_by_whoever_made_the_person_just_now(stage: Stage) -> None:
    stage.allow(CREATE)
    service = stage.session("site", "service")
    last = stage.last()
    assert first(stage, "site", service, "admin", False) == ""
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
    for role, verified, said in (
        ("admin", True, "AR403"),
        ("support", False, "AR403"),
        ("support", True, "AR403"),
        ("integration", False, "AR403"),
        ("nothing", False, "AR403"),
    ):
        assert first(stage, "site", service, role, verified) == said, (role, verified)
    assert first(stage, "site", service, "admin", False, alone=True) == "AR403"
    assert first(stage, "site", service, "admin", False, whom=stage.person().subject) == "AR403"
    assert first(stage, "site", stage.session("site", "token"), "admin", False) == "AR403"
    console = stage.session("console", "service")
    for role, verified, said in (("support", True, ""), ("support", False, ""), ("admin", False, "AR403")):
        assert first(stage, "console", console, role, verified) == said, (role, verified)


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
    assert stage.rows("api", THROTTLE, None, 6.0, 3) == [(None,)]
