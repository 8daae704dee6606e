"""The functions of the second factor, row by row: whose entry, whose code and which moment count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust import crypto
from tests.vault.stage import Stage
from tests.vault.undone import record, refused, rows, undone

ENROL = "SELECT vault.second_enrol(%s, %s, %s, %s, %s, %s)"
CODES = [bytes([number]) * 32 for number in range(10)]
PROVEN: dict[str, str] = {"second_at": "clock_timestamp()", "usable": "true"}


class Office:
    """Members of staff with a password; nothing is left of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.role = stage.value("SELECT id FROM vault.role WHERE name = 'support'")
        self.staff = int(stage.value("SELECT id FROM vault.dataset WHERE name = 'staff'"))
        self.step = int(stage.value("SELECT vault.second_step()"))

    def member(self) -> UUID:
        whom = uuid4()
        rows(self.stage, "INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'employee')", whom)
        rows(
            self.stage,
            "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) VALUES (%s, %s, %s, 'p', %s)",
            whom, self.role, b"s" * 16, b"c" * 32,
        )  # fmt: skip
        return whom

    def session(self, whom: UUID, **columns: object) -> bytes:
        more: dict[str, object] = {"usable": "false"} | columns
        return self.stage.session("console", "session", whom, role=self.role, **more)

    def corrected(self, whom: UUID, field: str = "second_factor", operation: int = 5, granted: bool = True, here: bool = True, dataset: str = "staff") -> None:  # fmt: skip
        """The entry of a value that was written."""
        rows(
            self.stage,
            "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, dataset, fields, purpose, reason, policy_id) "
            "SELECT nextval('vault.audit_number'), clock_timestamp(), CASE WHEN %s THEN pg_current_xact_id() ELSE '3' END, %s, %s, 'console', %s, %s, %s, d.id, "
            "(SELECT 1::bigint << (f.ordinal - 1) FROM vault.field f JOIN vault.dataset s ON s.id = f.dataset AND s.name = 'staff' WHERE f.name = %s), 0, 0, %s FROM vault.dataset d WHERE d.name = %s",
            here, operation, granted, whom, self.role, whom, field, self.stage.policy, dataset,
        )  # fmt: skip

    def enrol(self, secret: bytes, step: int | None = None) -> str:
        said = "undone"
        with self.stage.admin.transaction(force_rollback=True):
            said = refused(self.stage, ENROL, secret, b"f" * 32, self.step if step is None else step, CODES, crypto.random_bytes(32), 600, door="console")  # fmt: skip
        return said

    def codes(self, whom: UUID, proof: bytes) -> None:
        rows(
            self.stage, "INSERT INTO vault.second_factor (subject_id, check_hash, last_step) VALUES (%s, %s, 1)", whom, b"f" * 32
        )
        rows(self.stage, "INSERT INTO vault.recovery_code (code_hash, subject_id) VALUES (%s, %s)", hashlib.sha256(proof).digest(), whom)  # fmt: skip


@pytest.fixture
def office(stage: Stage) -> Iterator[Office]:
    with undone(stage):
        yield Office(stage)


@pytest.mark.parametrize(
    "wrong",
    [{"field": "name"}, {"operation": 4}, {"granted": False}, {"here": False}, {"dataset": "account"}, {"whom": "other"}],
)
def test_a_factor_is_enrolled_after_its_own_value_was_written(office: Office, wrong: dict[str, Any]) -> None:
    whom = office.member()
    secret = office.session(whom)
    assert office.enrol(secret) == "AR403", "nothing was written"
    office.corrected(**({"whom": office.member()} if "whom" in wrong else {"whom": whom} | wrong))
    assert office.enrol(secret) == "AR403"
    office.corrected(whom)
    assert office.enrol(secret) == ""


def test_who_has_no_password_enrols_no_factor(office: Office) -> None:
    whom = office.member()
    secret = office.session(whom)
    office.corrected(whom)
    assert office.enrol(secret) == ""
    rows(office.stage, "DELETE FROM vault.credential WHERE subject_id = %s", whom)
    assert office.enrol(secret) == "AR403"


def test_a_factor_of_another_shape_is_refused(office: Office) -> None:
    stage, whom, new = office.stage, office.member(), crypto.random_bytes(32)
    secret = office.session(whom)
    office.corrected(whom)
    for check, step, said in ((b"f" * 31, office.step, "AR422"), (None, office.step, "AR422"), (b"f" * 32, None, "AR403")):
        assert refused(stage, ENROL, secret, check, step, CODES, new, 600, door="console") == said
    assert stage.value("SELECT count(*) FROM vault.second_factor WHERE subject_id = %s", whom) == 0


def test_a_factor_in_the_place_of_another_begins_anew_and_ends_ones_own_sessions(office: Office) -> None:
    stage, whom, other = office.stage, office.member(), office.member()
    office.codes(whom, b"mine")
    rows(stage, "UPDATE vault.second_factor SET failures = 3, open_tries = 2 WHERE subject_id = %s", whom)
    secret, own, theirs = office.session(whom, **PROVEN), office.session(whom, **PROVEN), office.session(other, **PROVEN)
    token, ended = stage.session("api", "token", whom), office.session(whom, revoked_at="'2020-01-01'")
    office.corrected(whom)
    rows(stage, ENROL, secret, b"g" * 32, office.step, CODES, crypto.random_bytes(32), 600, door="console")
    told = "SELECT check_hash, last_step, failures, open_tries FROM vault.second_factor WHERE subject_id = %s"
    assert rows(stage, told, whom) == [(b"g" * 32, office.step, 0, 0)]
    living = "SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = %s"
    assert [stage.value(living, one) for one in (secret, own, theirs, token)] == [False, False, True, True]
    assert stage.value("SELECT revoked_at = '2020-01-01' FROM vault.session WHERE secret_hash = %s", ended)


def test_a_factor_is_enrolled_with_a_code_of_now(office: Office) -> None:
    whom = office.member()
    secret = office.session(whom)
    office.corrected(whom)
    # The clock may tick to the next 30 seconds in between.
    assert [office.enrol(secret, office.step + shift) for shift in (-3, -1, 0, 1, 3)] == ["AR403", "", "", "", "AR403"]


def test_a_recovery_code_is_its_owner_s(office: Office) -> None:
    stage, whom, other = office.stage, office.member(), office.member()
    office.codes(whom, b"mine")
    office.codes(other, b"theirs")
    secret, last = office.session(whom), stage.last()
    call = "SELECT vault.second_recover(%s, %s, %s, 600)"
    assert rows(stage, call, secret, b"theirs", crypto.random_bytes(32), door="console") == [(False,)]
    opened = crypto.random_bytes(32)
    assert rows(stage, call, secret, b"mine", opened, door="console") == [(True,)]
    assert stage.value("SELECT count(*) FROM vault.recovery_code WHERE subject_id = %s AND used_at IS NULL", other) == 1
    role = office.role
    assert stage.entries(last) == [
        (40, granted, "console", whom, role, whom, None, None, 0, 0, 0, None, stage.policy) for granted in (False, True)
    ]
    assert rows(stage, "SELECT actor, role, usable, second_at IS NOT NULL FROM vault.session WHERE secret_hash = %s", opened) == [(whom, role, True, True)]  # fmt: skip


def test_a_right_code_is_written_down_and_forgives_the_wrong_ones(office: Office) -> None:
    stage, whom = office.stage, office.member()
    rows(
        stage,
        "INSERT INTO vault.second_factor (subject_id, check_hash, last_step, failures, open_tries) VALUES (%s, %s, 1, 3, 2)",
        whom,
        hashlib.sha256(b"right").digest(),
    )
    call, held = "SELECT vault.second_prove(%s, %s, %s, %s, 600)", "SELECT failures, open_tries, last_step FROM vault.second_factor WHERE subject_id = %s"  # fmt: skip
    last = stage.last()
    for proof, ok, left in ((b"wrong", False, (3, 1, 1)), (b"right", True, (0, 0, office.step))):
        secret = office.session(whom)
        assert rows(stage, call, secret, proof, office.step, crypto.random_bytes(32), door="console") == [(ok,)]
        assert rows(stage, held, whom) == [left]
    assert stage.entries(last) == [
        (40, ok, "console", whom, office.role, whom, None, None, 0, 0, 0, None, stage.policy) for ok in (False, True)
    ]


def test_the_ninth_try_ends_the_session_and_is_written_down(office: Office) -> None:
    stage, whom = office.stage, office.member()
    office.codes(whom, b"mine")
    secret = office.session(whom, tries="7")
    begin, last = "SELECT wait FROM vault.second_begin(%s)", stage.last()
    assert rows(stage, begin, secret, door="console") == [(0.0,)]
    assert stage.entries(last) == []
    assert rows(stage, "SELECT failures, open_tries FROM vault.second_factor WHERE subject_id = %s", whom) == [(1, 1)]
    assert rows(stage, begin, secret, door="console") == [(None,)]
    assert stage.entries(last) == [(40, False, "console", whom, office.role, whom, None, None, 0, 0, 0, None, stage.policy)]
    assert refused(stage, begin, secret, door="console") == "AR401"


def test_only_a_session_of_staff_has_a_factor(office: Office) -> None:
    whom, state = office.member(), "SELECT enrolled FROM vault.second_state(%s)"
    for kind, role, said in (("session", office.role, ""), ("token", office.role, "AR403"), ("service", office.role, "AR403"), ("session", office.stage.role, "AR403")):  # fmt: skip
        secret = office.stage.session("console", kind, whom, role=role)
        assert refused(office.stage, state, secret, door="console") == said, (kind, role)


@pytest.mark.parametrize(("asked", "given"), [(1, 60), (600, 600), (1_000_000, 43200)])
def test_a_proven_session_lasts_within_bounds(office: Office, asked: int, given: int) -> None:
    stage, whom, opened = office.stage, office.member(), crypto.random_bytes(32)
    office.codes(whom, b"mine")
    secret = office.session(whom)
    rows(stage, "SELECT vault.second_recover(%s, %s, %s, %s)", secret, b"mine", opened, asked, door="console")
    left = "SELECT round(extract(epoch FROM expires_at - clock_timestamp())) FROM vault.session WHERE secret_hash = %s"
    assert abs(int(stage.value(left, opened)) - given) <= 1


def test_a_factor_is_fresh_for_ten_minutes(office: Office) -> None:
    whom = office.member()
    fresh = "SELECT vault.second_fresh(s) FROM vault.session s WHERE secret_hash = %s"
    for moment, found in (("NULL", False), ("- interval '9 minutes 55 seconds'", True), ("- interval '10 minutes 5 seconds'", False),
                          ("+ interval '4 seconds'", True), ("+ interval '6 seconds'", False)):  # fmt: skip
        at = moment if moment == "NULL" else f"clock_timestamp() {moment}"
        assert rows(office.stage, fresh, office.session(whom, usable="true", second_at=at)) == [(found,)]
        assert rows(office.stage, fresh, office.session(whom, usable="false", second_at=at)) == [(False,)]


def test_new_codes_are_written_down_and_the_oldest_record_holds_the_value(office: Office) -> None:
    stage, whom = office.stage, office.member()
    office.codes(whom, b"mine")
    secret, last = office.session(whom, **PROVEN), stage.last()
    rows(stage, "SELECT vault.second_codes(%s, %s)", secret, CODES, door="console")
    assert stage.entries(last) == [(40, True, "console", whom, office.role, whom, None, None, 0, 0, 0, None, stage.policy)]
    record(stage, whom, office.staff)
    record(stage, whom, created_at="clock_timestamp() - interval '2 days'")
    oldest = record(stage, whom, office.staff, "clock_timestamp() - interval '1 day'")
    assert rows(stage, "SELECT codes_left, record FROM vault.second_state(%s)", secret, door="console") == [(10, oldest)]
    # An entry of an enrolment says that it was granted, and of no field.
    office.corrected(whom)
    last = stage.last()
    rows(stage, ENROL, secret, b"g" * 32, office.step, CODES, crypto.random_bytes(32), 600, door="console")
    assert stage.entries(last) == [(40, True, "console", whom, office.role, whom, None, None, 0, 0, 0, None, stage.policy)]
