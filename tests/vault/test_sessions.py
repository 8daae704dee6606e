"""Sign-in and sessions called as a door's own role: every condition, with the case on either side."""

from __future__ import annotations

from uuid import uuid4

from armonika.trust import crypto
from tests.vault.member import (
    ENQUEUE,
    ENQUEUE_TO,
    OWN_SALT,
    PROOF,
    PROVE,
    REDEEM,
    SALT,
    SALTED,
    SIGN_IN,
    SIGN_IN_ENTRY,
    SIGN_OUT,
    SIGN_OUT_ENTRY,
    WHO,
    Member,
)
from tests.vault.stage import Stage


def test_a_session_opens_for_the_proof_alone(stage: Stage) -> None:
    service, member, other = stage.session("site", "service"), Member(stage), Member(stage)
    org = stage.value("SELECT org_id FROM vault.subject WHERE subject_id = %s", member.whom)
    stage.admin.execute("UPDATE vault.credential SET salt = %s WHERE subject_id = %s", (b"o" * 16, other.whom))
    assert [stage.rows("site", SALT, service, *one.place) for one in (member, other)] == [[(SALTED,)], [(b"o" * 16,)]]
    assert stage.rows("site", SIGN_IN, *other.words(service, crypto.random_bytes(32))) == [(other.whom, 0)]
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


def test_unknown_erased_and_unverified_open_nothing(stage: Stage) -> None:
    service, member, fresh = stage.session("site", "service"), Member(stage), Member(stage, verified=False)
    last = stage.last()
    secret, verdict = fresh.sign_in(service)
    told = (fresh.whom, None, stage.account.id, 0, fresh.purpose, fresh.reason, None, stage.policy)
    assert verdict == 2
    assert stage.entries(last) == [(SIGN_IN_ENTRY, False, "site", stage.actor(service), stage.role, *told)]
    assert stage.refused("site", WHO, secret) == "AR401"
    assert fresh.sign_in(service, b"x")[1] == 1
    last = stage.last()
    place = [*member.place[:3], [b"d" * 32] * len(member.epochs)]
    assert stage.rows("site", SALT, service, *place) == [(None,)]
    assert stage.rows("site", SIGN_IN, *member.words(service, crypto.random_bytes(32), place=place)) == [(None, 1)]
    assert stage.rows("site", SIGN_IN, *member.words(service, crypto.random_bytes(32), None, place=place)) == [(None, 1)]
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


def test_staff_have_a_quarter_of_an_hour_for_the_second_factor(stage: Stage) -> None:
    service, member = stage.session("site", "service"), Member(stage)
    told = "SELECT usable, extract(epoch FROM expires_at - created_at)::float8 FROM vault.session WHERE secret_hash = %s"
    for kind, usable, most in (("machine", True, 43200), ("staff", False, 900)):
        stage.admin.execute("UPDATE vault.role SET kind = %s WHERE id = %s", (kind, stage.role))
        secret, _ = member.sign_in(service, ttl=10**6)
        ((found, left),) = stage.admin.execute(told.encode(), (secret,)).fetchall()
        assert (found, abs(left - most) < 0.9) == (usable, True)
        assert stage.refused("site", OWN_SALT, secret) == ("" if usable else "AR401")
    stage.admin.execute("UPDATE vault.role SET kind = 'machine' WHERE id = %s", (stage.role,))


def test_only_the_doors_own_service_signs_in(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    secret = crypto.random_bytes(32)
    for kind, said in (("service", ""), ("token", "AR403"), ("session", "AR403")):
        own = stage.session("site", kind)
        assert stage.refused("site", SALT, own, *member.place) == said
        assert stage.refused("site", SIGN_IN, *member.words(own, crypto.random_bytes(32))) == said
        assert stage.refused("site", REDEEM, own, b"t" * 32, "verify-address", None, None, None) == "AR403"
        assert stage.refused("site", ENQUEUE_TO, own, "verify-address:en", *member.place) == said
        assert stage.refused("site", ENQUEUE, own, "verify-address:en", member.whom) == said
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


def test_the_living_are_told_from_all_others(stage: Stage) -> None:
    """Each condition of `actor` alone makes a secret nobody's."""
    living = [stage.session() for _ in range(3)]
    others = [
        stage.session("site"),
        stage.session(revoked_at="clock_timestamp()"),
        stage.session(expires_at="clock_timestamp()"),
        stage.session(created_at="clock_timestamp() + interval '1 minute'"),
        stage.session(usable="false"),
        crypto.random_bytes(32),
    ]
    ((found,),) = stage.rows("api", "SELECT vault.living($1::bytea[])", [*others, *living, living[0]])
    assert sorted(found) == sorted(living)
    assert stage.rows("api", "SELECT vault.living($1::bytea[])", []) == [([],)]
    assert stage.refused("site", "SELECT vault.living($1::bytea[])", living) == "42501"
