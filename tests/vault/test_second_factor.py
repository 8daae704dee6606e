"""The second factor as the database keeps it, attacked with what the console's own process has."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from armonika import policy
from armonika.flows import access, appointments
from armonika.flows import second_factor as flow
from armonika.rules import one_time_code
from armonika.trust import crypto
from armonika.trust.vault import second_factor as factor
from armonika.trust.vault import secret_hash
from armonika.trust.vault.errors import Forbidden, Refused, SessionEnded, Throttled, Undeclared, VaultError, VersionConflict
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors
from tests.staff import Agent, appoint, code


@pytest.fixture
def agent(doors: Doors) -> Agent:
    made = appoint(doors.console, doors.server.admin_dsn)
    made.signed_in()
    return made


def admin(doors: Doors, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with doors.admin() as connection:
        done = connection.execute(statement.encode(), parameters)
        return done.fetchall() if done.description else []


def test_nothing_opens_before_the_second_factor(doors: Doors) -> None:
    console, person = doors.console, doors.person()
    dpo = appoint(console, doors.server.admin_dsn, "dpo")
    session, actor = dpo.pending()
    secret = secret_hash(session)
    assert actor.usable is False
    assert actor.second_at is None
    attempts = (
        lambda who: console.read(who, actor.actor_id, "staff", ["name"], "provide", "own-view"),
        lambda who: console.read(who, person.subject, "account", ["name"], "legal", "rights-request"),
        lambda who: console.find(who, "account", "email", "x@org.example", ["name"], "legal", "rights-request"),
        lambda who: console.describe(who, person.subject, "legal", "rights-request"),
        lambda who: console.accesses(who, person.subject),
        lambda who: console.restrict(who, person.subject, False, "legal", "rights-request"),
        lambda who: access.accounts(console, who),
        lambda who: console.erase(who, [person.subject], "legal", "rights-request"),
    )
    for attempt in attempts:
        with pytest.raises(SessionEnded):
            attempt(secret)
    for attempt in (
        lambda: console.create(secret, "legal", "staff-appointment", [NewRecord("staff", {"name": "X", "email": f"{uuid4().hex}@x.example"}, "operator", kind="employee")]),
        lambda: console.correct(secret, actor.actor_id, uuid4(), {"name": "X"}, "provide", "own-view", dataset="staff"),
        lambda: console.erase_records(secret, [(person.subject, person.record)], "legal", "rights-request"),
        lambda: console.prove_again(secret, "long enough for staff"),
        lambda: factor.renew_codes(console, secret, actor.actor_id, factor.new_recovery_codes()),
        lambda: console.access_entry(secret, person.subject, 1),
    ):  # fmt: skip
        with pytest.raises(SessionEnded):
            attempt()
    assert console.whoami(secret).actor_id == actor.actor_id, "who it is may be said"
    proven = secret_hash(dpo.enrol(session, actor))
    for attempt in attempts:
        attempt(proven)
    with pytest.raises((Refused, Forbidden)):
        console.read(proven, person.subject, "account", ["name"], "respond", "support-call")


def test_a_ticket_of_before_is_not_taken_by_a_pending_session(doors: Doors) -> None:
    agent = appoint(doors.console, doors.server.admin_dsn)
    secret = agent.signed_in()
    with doors.raw("console", autocommit=True) as raw:
        catalogue = doors.console.catalogue
        staff = catalogue.dataset("staff")
        ask = "SELECT ticket FROM vault.ask(ARRAY[%s::bytea], ARRAY[1]::smallint[], ARRAY[%s]::smallint[], ARRAY[%s]::smallint[], ARRAY[NULL]::text[], ARRAY[%s]::uuid[], ARRAY[NULL]::uuid[], ARRAY[%s]::smallint[], ARRAY[1]::bigint[])"
        parameters = (secret, catalogue.purpose("provide"), catalogue.reason("own-view"), agent.subject, staff.id)
        ((ticket,),) = raw.execute(ask, parameters).fetchall()
        take = "SELECT record FROM vault.take(ARRAY[%s::bytea], ARRAY[%s]::bigint[])"
        assert raw.execute(take, (secret, ticket)).fetchall(), "positive control"
        pending = secret_hash(agent.pending()[0])
        assert not raw.execute(take, (pending, ticket)).fetchall()


def test_the_session_gets_another_secret_and_the_old_one_is_dead(doors: Doors, agent: Agent) -> None:
    session, actor = agent.pending()
    old = secret_hash(session)
    new = secret_hash(flow.prove(doors.console, old, actor, agent.next_code()))
    assert new != old
    assert doors.console.whoami(new).usable
    with pytest.raises(SessionEnded):
        doors.console.whoami(old)
    with pytest.raises(SessionEnded):
        flow.prove(doors.console, old, actor, agent.next_code())


def test_a_code_opens_once_and_never_an_earlier_one_after_it(doors: Doors, agent: Agent) -> None:
    session, actor = agent.pending()
    now = flow.standing(doors.console, secret_hash(session)).step
    flow.prove(doors.console, secret_hash(session), actor, code(agent.key, now + 1))
    for step in (now + 1, now, now - 1):
        session, actor = agent.pending()
        with pytest.raises(Refused):
            flow.prove(doors.console, secret_hash(session), actor, code(agent.key, step))


@pytest.mark.parametrize("shift", [-40, -3, 3, 2880])
def test_codes_of_other_times_are_refused(doors: Doors, agent: Agent, shift: int) -> None:
    session, actor = agent.pending()
    now = flow.standing(doors.console, secret_hash(session)).step
    with pytest.raises(Refused):
        flow.prove(doors.console, secret_hash(session), actor, code(agent.key, now + shift))
    with doors.raw("console", autocommit=True) as raw:
        # What a broken console could say: the right proof with a step of its own choice.
        raw.execute("SELECT * FROM vault.second_begin(%s)", (secret_hash(session),))
        proof = factor._proof(doors.console, agent.subject, agent.key)
        said = raw.execute(
            "SELECT vault.second_prove(%s, %s, %s, %s, 600)", (secret_hash(session), proof, now + shift, crypto.random_bytes(32))
        ).fetchone()
    assert said == (False,)


def test_no_proof_is_taken_without_a_counted_try_or_the_value(doors: Doors, agent: Agent) -> None:
    session, _ = agent.pending()
    secret, proof = secret_hash(session), factor._proof(doors.console, agent.subject, agent.key)
    now = flow.standing(doors.console, secret).step
    prove = "SELECT vault.second_prove(%s, %s, %s, %s, 600)"
    with doors.raw("console", autocommit=True) as raw:
        assert raw.execute(prove, (secret, proof, now + 1, crypto.random_bytes(32))).fetchone() == (False,), "no try was counted"
        for wrong in (b"", crypto.random_bytes(32), crypto.sha256(proof), None):
            raw.execute("SELECT * FROM vault.second_begin(%s)", (secret,))
            assert raw.execute(prove, (secret, wrong, now + 1, crypto.random_bytes(32))).fetchone() == (False,)
        stored = admin(doors, "SELECT check_hash FROM vault.second_factor WHERE subject_id = %s", agent.subject)[0][0]
        assert raw.execute(prove, (secret, stored, now + 1, crypto.random_bytes(32))).fetchone() == (False,), (
            "a copy of the database proves nothing"
        )
        admin(doors, "UPDATE vault.second_factor SET failures = 0 WHERE subject_id = %s", agent.subject)
        raw.execute("SELECT * FROM vault.second_begin(%s)", (secret,))
        assert raw.execute(prove, (secret, proof, now + 1, crypto.random_bytes(32))).fetchone() == (True,), "positive control"


def test_guessing_is_slowed_down_and_sessions_end_after_eight_tries(doors: Doors, agent: Agent) -> None:
    session, actor = agent.pending()
    for _ in range(5):
        with pytest.raises(Refused):
            flow.prove(doors.console, secret_hash(session), actor, "000000")
    waits = []
    for _ in range(3):
        with pytest.raises(Throttled) as throttled:
            flow.prove(doors.console, secret_hash(session), actor, "000000")
        waits.append(throttled.value.retry_after)
        admin(
            doors,
            "UPDATE vault.second_factor SET last_try_at = last_try_at - interval '1 hour' WHERE subject_id = %s",
            agent.subject,
        )
        with pytest.raises(Refused):
            flow.prove(doors.console, secret_hash(session), actor, "000000")
    assert 25 < waits[0] <= 30 < 55 < waits[1] <= 60 < 115 < waits[2] <= 120
    admin(
        doors, "UPDATE vault.second_factor SET last_try_at = last_try_at - interval '1 hour' WHERE subject_id = %s", agent.subject
    )
    with pytest.raises(SessionEnded):
        flow.prove(doors.console, secret_hash(session), actor, "000000")
    with pytest.raises(SessionEnded):
        doors.console.whoami(secret_hash(session))
    admin(
        doors,
        "UPDATE vault.second_factor SET failures = 1000, last_try_at = clock_timestamp() WHERE subject_id = %s",
        agent.subject,
    )
    session, actor = agent.pending()
    with pytest.raises(Throttled) as throttled:
        flow.prove(doors.console, secret_hash(session), actor, "000000")
    assert throttled.value.retry_after <= 3600, "never for good"
    opened = flow.recover(doors.console, secret_hash(session), actor, agent.codes[0])
    assert doors.console.whoami(secret_hash(opened)).usable, "a stranger's tries do not keep the owner out"
    assert agent.signed_in(), "and the owner's sign-in ends the wait"


def test_tries_at_the_same_time_are_each_counted(doors: Doors, agent: Agent) -> None:
    answers: list[object] = []
    secret = secret_hash(agent.pending()[0])
    with doors.raw("console", autocommit=True) as one:
        one.execute("SELECT 1")

    def begin() -> None:
        with doors.raw("console", autocommit=True) as raw:
            answers.append(raw.execute("SELECT wait FROM vault.second_begin(%s)", (secret,)).fetchone()[0])  # type: ignore[index]

    threads = [threading.Thread(target=begin) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wait == 0 for wait in answers) == 5
    assert len(answers) == 12


def test_one_code_opens_one_of_many_sessions_at_the_same_time(doors: Doors, agent: Agent) -> None:
    sessions = [agent.pending() for _ in range(4)]
    typed, opened = agent.next_code(), []

    def prove(session: str, actor: object) -> None:
        try:
            opened.append(flow.prove(doors.console, secret_hash(session), actor, typed))  # type: ignore[arg-type]
        except (Refused, Throttled):
            return

    threads = [threading.Thread(target=prove, args=pair) for pair in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


def test_a_clock_that_went_back_opens_nothing_twice_and_locks_nobody_out(doors: Doors, agent: Agent) -> None:
    now = flow.standing(doors.console, secret_hash(agent.pending()[0])).step
    admin(
        doors,
        "UPDATE vault.second_factor SET last_step = %s, failures = 6, last_try_at = clock_timestamp() + interval '3 days' WHERE subject_id = %s",
        now + 8640,
        agent.subject,
    )
    session, actor = agent.pending()
    with pytest.raises(Throttled) as throttled:
        flow.prove(doors.console, secret_hash(session), actor, "000000")
    assert throttled.value.retry_after <= 60
    admin(doors, "UPDATE vault.second_factor SET failures = 0 WHERE subject_id = %s", agent.subject)
    with pytest.raises(Refused):
        flow.prove(doors.console, secret_hash(session), actor, agent.next_code())
    opened = flow.recover(doors.console, secret_hash(session), actor, agent.codes[3])
    admin(
        doors,
        "UPDATE vault.session SET second_at = clock_timestamp() + interval '1 hour' WHERE secret_hash = %s",
        secret_hash(opened),
    )
    assert not flow.standing(doors.console, secret_hash(opened)).fresh, "a proof of the future is none of the last ten minutes"


def test_recovery_codes_are_their_owners_and_work_once(doors: Doors, agent: Agent) -> None:
    other = appoint(doors.console, doors.server.admin_dsn)
    other.signed_in()
    assert len(set(agent.codes)) == 10
    session, actor = other.pending()
    for stolen in (*agent.codes[:3], "", "ABCD"):
        with pytest.raises(Refused):
            flow.recover(doors.console, secret_hash(session), actor, stolen)
    session, actor = agent.pending()
    assert flow.recover(doors.console, secret_hash(session), actor, one_time_code.grouped(agent.codes[0]).lower())
    session, actor = agent.pending()
    with pytest.raises(Refused):
        flow.recover(doors.console, secret_hash(session), actor, agent.codes[0])
    assert flow.standing(doors.console, secret_hash(session)).codes_left == 9
    kept = admin(doors, "SELECT code_hash FROM vault.recovery_code WHERE subject_id = %s", agent.subject)
    plain = {crypto.sha256(one.encode()) for one in agent.codes}
    assert len(kept) == 10
    assert not plain & {bytes(row[0]) for row in kept}, "no code can be recognised without the pepper"  # type: ignore[arg-type]


def test_new_codes_end_the_old_ones_and_need_a_fresh_proof(doors: Doors, agent: Agent) -> None:
    secret = agent.signed_in()
    actor = doors.console.whoami(secret)
    made = flow.renew_codes(doors.console, secret, actor)
    session, _ = agent.pending()
    with pytest.raises(Refused):
        flow.recover(doors.console, secret_hash(session), actor, agent.codes[5])
    assert flow.recover(doors.console, secret_hash(session), actor, made[5])
    admin(doors, "UPDATE vault.session SET second_at = second_at - interval '11 minutes' WHERE secret_hash = %s", secret)
    with pytest.raises(SessionEnded):
        flow.renew_codes(doors.console, secret, actor)
    with pytest.raises(Undeclared):
        factor.renew_codes(doors.console, agent.signed_in(), actor.actor_id, made[:9])


def test_erasing_needs_a_factor_proven_in_the_last_ten_minutes(doors: Doors) -> None:
    dpo, person = appoint(doors.console, doors.server.admin_dsn, "dpo"), doors.person()
    secret = dpo.signed_in()
    admin(
        doors,
        "UPDATE vault.session SET second_at = second_at - interval '11 minutes', auth_at = clock_timestamp() WHERE secret_hash = %s",
        secret,
    )
    with pytest.raises(SessionEnded):
        doors.console.erase(secret, [person.subject], "legal", "rights-request")
    actor = doors.console.whoami(secret)
    assert not flow.standing(doors.console, secret).fresh
    again = secret_hash(flow.prove(doors.console, secret, actor, dpo.next_code()))
    assert abs(doors.console.whoami(again).expires_at - actor.expires_at) < timedelta(seconds=1), (
        "a step-up does not prolong a session"
    )
    assert doors.console.erase(again, [person.subject], "legal", "rights-request")
    with pytest.raises(SessionEnded):
        doors.console.whoami(secret)


def test_a_factor_is_replaced_by_its_owner_alone(doors: Doors, agent: Agent) -> None:
    session, actor = agent.pending()
    with pytest.raises(Refused):
        agent.enrol(session, actor)
    key_before = admin(doors, "SELECT check_hash FROM vault.second_factor WHERE subject_id = %s", agent.subject)
    opened = flow.recover(doors.console, secret_hash(session), actor, agent.codes[0])
    other = agent.signed_in()
    new = agent.enrol(opened, actor)
    assert admin(doors, "SELECT check_hash FROM vault.second_factor WHERE subject_id = %s", agent.subject) != key_before
    assert doors.console.whoami(secret_hash(new)).usable
    with pytest.raises(SessionEnded):
        doors.console.whoami(other)


def test_enrolment_needs_the_value_in_the_vault_and_a_young_password(doors: Doors) -> None:
    agent = appoint(doors.console, doors.server.admin_dsn)
    session, _ = agent.pending()
    secret = secret_hash(session)
    step = flow.standing(doors.console, secret).step
    enrol = "SELECT vault.second_enrol(%s, %s, %s, %s, %s, 600)"
    hashes = [crypto.random_bytes(32) for _ in range(10)]
    with doors.raw("console", autocommit=True) as raw, pytest.raises(psycopg.Error) as refused:
        raw.execute(enrol, (secret, crypto.random_bytes(32), step, hashes, crypto.random_bytes(32)))
    assert refused.value.sqlstate == "AR403", "no value was written in this transaction"
    admin(doors, "UPDATE vault.credential SET changed_at = changed_at - interval '15 days' WHERE subject_id = %s", agent.subject)
    session, actor = agent.pending()
    assert not flow.standing(doors.console, secret_hash(session)).may_enrol
    with pytest.raises(Refused):
        agent.enrol(session, actor)
    appointments.reset(doors.console, doors.server.admin_dsn, agent.subject, "long enough for staff")  # type: ignore[attr-defined]
    session, actor = agent.pending()
    assert agent.enrol(session, actor)


def test_a_wrong_code_enrols_nothing(doors: Doors) -> None:
    agent = appoint(doors.console, doors.server.admin_dsn)
    session, actor = agent.pending()
    looks = "SELECT count(*) FROM vault.audit WHERE subject = %s"
    before = admin(doors, looks, agent.subject)
    for typed in ("000000", "abc", "", "1234567"):
        with pytest.raises(Refused):
            flow.enrol(doors.console, session, actor, typed)
    assert admin(doors, looks, agent.subject) == before, "and no key of a record is asked for"
    assert not admin(doors, "SELECT 1 FROM vault.second_factor WHERE subject_id = %s", agent.subject)
    assert admin(doors, "SELECT cardinality(ciphertexts) FROM vault.record WHERE subject_id = %s", agent.subject) == [(2,)]


def test_the_value_is_the_consoles_for_securing_alone(doors: Doors, agent: Agent) -> None:
    secret, console = agent.signed_in(), doors.console
    for who, purpose, reason in (
        (secret, "provide", "own-view"),
        (secret, "secure", "second-factor"),
        (console.service, "legal", "staff-appointment"),
    ):
        with pytest.raises((Refused, Forbidden, Undeclared)):
            console.read(who, agent.subject, "staff", ["second_factor"], purpose, reason)
    found = console.read(console.service, agent.subject, "staff", ["second_factor"], "secure", "second-factor")
    assert len(found[0].values["second_factor"]) == 32, "positive control: 160 bits in Base32"
    whole = admin(doors, "SELECT check_hash, last_step::text FROM vault.second_factor WHERE subject_id = %s", agent.subject)
    assert found[0].values["second_factor"] not in str(whole)


def test_only_staff_have_these_functions(doors: Doors) -> None:
    with doors.raw("site", autocommit=True) as site, pytest.raises(psycopg.errors.InsufficientPrivilege):
        site.execute("SELECT * FROM vault.second_state(%s)", (b"x" * 32,))
    for secret in (doors.console.service, secret_hash("nobody")):
        with pytest.raises((Refused, SessionEnded)):
            factor.standing(doors.console, secret)
    (row,) = admin(
        doors, "SELECT count(*) FROM vault.session s JOIN vault.role r ON r.id = s.role WHERE NOT s.usable AND r.kind <> 'staff'"
    )
    assert row == (0,), "nobody else is kept waiting"


def test_no_token_stands_for_a_person(doors: Doors) -> None:
    with pytest.raises(psycopg.Error) as refused:
        admin(
            doors,
            "SELECT vault.install_session(%s, %s, 'dpo', 'console', 'token', interval '1 day', NULL)",
            crypto.random_bytes(32),
            uuid4(),
        )
    assert refused.value.sqlstate == "AR422"


def test_an_appointment_that_ended_opens_nothing_and_never_comes_back(doors: Doors, agent: Agent) -> None:
    secret = agent.signed_in()
    entry = appointments.end(doors.server.admin_dsn, appointments.subject_of(doors.console, agent.email.upper()))  # type: ignore[attr-defined]
    with pytest.raises(SessionEnded):
        doors.console.whoami(secret)
    with pytest.raises(Refused):
        agent.pending()
    assert admin(
        doors,
        "SELECT a.subject, o.name, a.door FROM vault.audit a JOIN vault.operation o ON o.id = a.operation WHERE a.audit_id = %s",
        entry,
    ) == [(agent.subject, "staff-end", "administrator")]
    assert not admin(
        doors,
        "SELECT 1 FROM vault.second_factor WHERE subject_id = %s UNION ALL SELECT 1 FROM vault.recovery_code WHERE subject_id = %s",
        agent.subject,
        agent.subject,
    )
    with pytest.raises(Refused):
        appointments.end(doors.server.admin_dsn, agent.subject)  # type: ignore[attr-defined]
    with pytest.raises((Refused, VaultError)):
        doors.console.create(doors.console.service, "legal", "staff-appointment", [NewRecord("staff", {"name": "Z", "email": f"{uuid4().hex}@x.example"}, "operator", subject=agent.subject)],
                             password="long enough for staff", role="support")  # fmt: skip
    with doors.admin() as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute("DELETE FROM vault.staff_end")


def test_the_operators_commands_touch_staff_alone(doors: Doors) -> None:
    person = doors.person()
    for attempt in (
        lambda: appointments.end(doors.server.admin_dsn, person.subject),  # type: ignore[attr-defined]
        lambda: appointments.reset(doors.console, doors.server.admin_dsn, person.subject, "x" * 12),  # type: ignore[attr-defined]
        lambda: appointments.subject_of(doors.console, "nobody@operator.example"),
    ):
        with pytest.raises(Refused):
            attempt()
    with pytest.raises(Undeclared):
        appointments.appoint(doors.console, doors.server.admin_dsn, policy.load(), "X", "x@operator.example", "admin", "x" * 12)


def test_a_review_is_of_exactly_the_list_that_was_shown_by_whom_the_policy_names(doors: Doors, agent: Agent) -> None:
    dpo = appoint(doors.console, doors.server.admin_dsn, "dpo")
    secret = dpo.signed_in()
    shown = access.accounts(doors.console, secret)
    assert {agent.email, dpo.email} <= {email for _, email in shown.rows}
    entry = access.record(doors.console, secret, shown.digest)
    assert admin(
        doors,
        "SELECT r.name, a.granted FROM vault.audit a JOIN vault.role r ON r.id = a.role JOIN vault.access_review v ON v.audit_id = a.audit_id WHERE a.audit_id = %s AND a.operation = 41",
        entry,
    ) == [("dpo", True)]
    appoint(doors.console, doors.server.admin_dsn)
    with pytest.raises(VersionConflict):
        access.record(doors.console, secret, shown.digest)
    support = agent.signed_in()
    for attempt in (lambda: access.accounts(doors.console, support), lambda: access.record(doors.console, support, access.accounts(doors.console, secret).digest),
                    lambda: access.record(doors.console, doors.console.service, access.accounts(doors.console, secret).digest)):  # fmt: skip
        with pytest.raises((Refused, Forbidden)):
            attempt()
    reviewed = access.accounts(doors.console, secret).reviewed_at
    assert isinstance(reviewed, datetime)
    assert timedelta(0) <= datetime.now(UTC) - reviewed < timedelta(minutes=5)
    with doors.admin() as connection, pytest.raises(psycopg.Error, match="never changed"):
        connection.execute("UPDATE vault.access_review SET at = clock_timestamp()")
