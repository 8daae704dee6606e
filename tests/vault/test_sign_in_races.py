"""Sign-ins beside what ends them: no session comes in behind a new password or an erasure that the law cuts short, and nobody waits for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from armonika.trust import crypto
from armonika.trust.vault import codec
from tests.vault.member import ISSUE, PROOF, REDEEM, SIGN_IN, Member
from tests.vault.stage import Stage
from tests.vault.test_erase_races import waiting_for


def living(stage: Stage, member: Member) -> int:
    return int(
        stage.value(
            "SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'session' AND revoked_at IS NULL", member.whom
        )
    )


def letter(stage: Stage, member: Member) -> bytes:
    token = crypto.random_bytes(32)
    stage.rows("worker", ISSUE, stage.session("worker", "service"), member.whom, "reset-password", token, 600)
    return token


def test_a_sign_in_with_the_old_password_does_not_outlive_a_new_one(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    token = letter(stage, member)
    with stage.doors.raw("site") as other, ThreadPoolExecutor(1) as pool:
        with other.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(SIGN_IN).encode(), member.words(service, crypto.random_bytes(32)))
        reset = pool.submit(stage.rows, "site", REDEEM, service, token, "reset-password", b"t" * 16, "p", b"c" * 32)
        waiting_for(stage.doors, 1)
        other.commit()
        assert reset.result(10)
    assert living(stage, member) == 0


def test_the_old_password_opens_nothing_while_a_new_one_is_set(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    token = letter(stage, member)
    with stage.doors.raw("site") as other, ThreadPoolExecutor(1) as pool:
        with other.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(REDEEM).encode(), [service, token, "reset-password", b"t" * 16, "p", b"c" * 32])
        late = pool.submit(member.sign_in, service)
        waiting_for(stage.doors, 1)
        other.commit()
        assert late.result(10)[1] == 1
    assert living(stage, member) == 0


def test_nobody_signs_in_behind_an_erasure_that_leaves_what_the_law_keeps(stage: Stage) -> None:
    """Such a person is restricted, not erased: that alone must not let the sign-in go on."""
    member, service = Member(stage), stage.session("site", "service")
    with ThreadPoolExecutor(1) as pool:
        with stage.admin.transaction():
            stage.admin.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (member.whom,))
            late = pool.submit(member.sign_in, service)
            waiting_for(stage.doors, 1)
            stage.admin.execute("SELECT vault.end_sign_in(%s)", (member.whom,))
            stage.admin.execute("UPDATE vault.subject SET state = 'restricted' WHERE subject_id = %s", (member.whom,))
        assert late.result(10)[1] == 1
    assert living(stage, member) == 0


def test_no_letter_comes_in_behind_an_erasure(stage: Stage) -> None:
    member, worker, token = Member(stage), stage.session("worker", "service"), crypto.random_bytes(32)
    with ThreadPoolExecutor(1) as pool:
        with stage.admin.transaction():
            stage.admin.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (member.whom,))
            late = pool.submit(stage.refused, "worker", ISSUE, worker, member.whom, "reset-password", token, 600)
            waiting_for(stage.doors, 1)
            stage.admin.execute("SELECT vault.end_sign_in(%s)", (member.whom,))
        assert late.result(10) == "AR403"


def test_a_letter_is_redeemed_while_its_person_is_erased_and_nobody_waits_for_ever(stage: Stage) -> None:
    member, service = Member(stage), stage.session("site", "service")
    token = letter(stage, member)
    with ThreadPoolExecutor(1) as pool:
        with stage.admin.transaction():
            stage.admin.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (member.whom,))
            stage.admin.execute("DELETE FROM vault.credential WHERE subject_id = %s", (member.whom,))
            late = pool.submit(stage.refused, "site", REDEEM, service, token, "reset-password", b"t" * 16, "p", b"c" * 32)
            waiting_for(stage.doors, 1)
            stage.admin.execute("DELETE FROM vault.challenge WHERE subject_id = %s", (member.whom,))
        assert late.result(10) == "AR403"


PROVE = "SELECT vault.second_prove($1::bytea, $2::bytea, $3::bigint, $4::bytea, 3600)"
RECOVER = "SELECT vault.second_recover($1::bytea, $2::bytea, $3::bytea, 3600)"


@pytest.mark.parametrize("call", ["prove", "recover"])
@pytest.mark.parametrize("first", ["factor", "reset"])
def test_a_second_factor_does_not_carry_an_old_password_over_a_new_one(stage: Stage, call: str, first: str) -> None:
    stage.admin.execute("UPDATE vault.role SET kind = 'staff' WHERE id = %s", (stage.role,))
    try:
        member, service = Member(stage), stage.session("site", "service")
        pending = stage.session("console", "session", actor=member.whom, usable="false")
        step, hashed = stage.value("SELECT vault.second_step()"), hashlib.sha256(PROOF).digest()
        stage.admin.execute(
            "INSERT INTO vault.second_factor (subject_id, check_hash, last_step, open_tries) VALUES (%s, %s, 1, 1)",
            (member.whom, hashed),
        )
        stage.admin.execute("INSERT INTO vault.recovery_code VALUES (%s, %s, NULL)", (hashlib.sha256(member.whom.bytes).digest(), member.whom))  # fmt: skip
        new = crypto.random_bytes(32)
        proving = {"prove": (PROVE, [pending, PROOF, step, new]), "recover": (RECOVER, [pending, member.whom.bytes, new])}[call]
        reset = (REDEEM, [service, letter(stage, member), "reset-password", b"t" * 16, "p", b"c" * 32])
        calls = {"factor": ("console", *proving), "reset": ("site", *reset)}
        (other_door, statement, words), (door, *late) = calls.pop(first), *calls.values()
        with stage.doors.raw(other_door) as other, ThreadPoolExecutor(1) as pool:
            with other.cursor(binary=True) as cursor:
                cursor.execute(codec.percent(statement).encode(), words)
            waiting = pool.submit(stage.refused, door, late[0], *late[1])
            waiting_for(stage.doors, 1)
            other.commit()
            assert waiting.result(10) == ("" if first == "factor" else "AR401")
        assert living(stage, member) == 0
    finally:
        stage.admin.execute("DELETE FROM vault.credential WHERE role = %s", (stage.role,))
        stage.admin.execute("UPDATE vault.role SET kind = 'machine' WHERE id = %s", (stage.role,))


@pytest.fixture
def enrolled(stage: Stage) -> Iterator[Member]:
    """A member of staff with a factor, whose proof is PROOF, and two counted tries."""
    stage.admin.execute("UPDATE vault.role SET kind = 'staff' WHERE id = %s", (stage.role,))
    member = Member(stage)
    stage.admin.execute(
        "INSERT INTO vault.second_factor (subject_id, check_hash, last_step, open_tries) VALUES (%s, %s, 1, 2)",
        (member.whom, hashlib.sha256(PROOF).digest()),
    )
    yield member
    stage.admin.execute("DELETE FROM vault.credential WHERE role = %s", (stage.role,))
    stage.admin.execute("UPDATE vault.role SET kind = 'machine' WHERE id = %s", (stage.role,))


def after(stage: Stage, statement: str, first: list[object], second: list[object]) -> list[tuple[object, ...]]:
    """What a call of the console gives that began while the same call with other words was still open."""
    with stage.doors.raw("console") as other, ThreadPoolExecutor(1) as pool:
        with other.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(statement).encode(), first)
        late = pool.submit(stage.rows, "console", statement, *second)
        waiting_for(stage.doors, 1)
        other.commit()
        return late.result(10)


def test_a_code_is_accepted_once_however_many_show_it_at_once(stage: Stage, enrolled: Member) -> None:
    step = stage.value("SELECT vault.second_step()")
    one, two = (stage.session("console", "session", actor=enrolled.whom, usable="false") for _ in range(2))
    words = [[secret, PROOF, step, crypto.random_bytes(32)] for secret in (one, two)]
    assert after(stage, PROVE, *words) == [(False,)]
    assert living(stage, enrolled) == 2, "one in the place of the first, and the other still pending"


def test_recovery_codes_that_are_made_twice_at_once_are_ten(stage: Stage, enrolled: Member) -> None:
    proven = {"second_at": "clock_timestamp()", "usable": "true"}
    secret = stage.session("console", "session", actor=enrolled.whom, **proven)  # type: ignore[arg-type]
    words = [[secret, [crypto.random_bytes(32) for _ in range(10)]] for _ in range(2)]
    after(stage, "SELECT vault.second_codes($1::bytea, $2::bytea[])", *words)
    held = stage.admin.execute("SELECT code_hash FROM vault.recovery_code WHERE subject_id = %s", (enrolled.whom,)).fetchall()
    assert {bytes(one) for (one,) in held} == set(words[1][1])  # type: ignore[arg-type]
