"""What the second factor's calls make of the database's answers, over a stand-in for it; and one that the database refuses at the end."""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust.vault import second_factor as factor
from armonika.trust.vault import secret_hash, staff
from armonika.trust.vault.errors import KeyUnavailable, Refused, SessionEnded, Throttled, Unavailable
from tests.doors import Doors
from tests.staff import appoint, code


def test_what_is_stored_is_derived_as_ever() -> None:
    """The database compares hashes of these: with another derivation nobody could prove a factor or use a code that they have."""
    vault: Any = SimpleNamespace(_credentials=SimpleNamespace(pepper=bytes(range(32))))
    actor, key = UUID(int=7), b"k" * 20
    assert factor._proof(vault, actor, key).hex() == "c3b79c0a1d6ff1cd29a87e10438f0ce488887af6ed7f010f3119219c8d88857c"
    assert (
        factor._recovery_proof(vault, actor, "ABCD-EFGH").hex()
        == "712b4aca965317138f401a9044d452d2e050dff8dd4b36ec2b3f39aa659251e5"
    )
    assert factor.candidate(vault, "secret").hex() == "9999fe4ed8fa2081a3274a44fc17143a9e562ce8"


@pytest.mark.parametrize("wait", [0.25, 1.0, 40.5])
def test_whoever_must_wait_hears_how_long(wait: float) -> None:
    vault: Any = SimpleNamespace(_store=SimpleNamespace(rows=lambda *_: [(wait, 1)]))
    with pytest.raises(Throttled) as throttled:
        factor.prove(vault, secret_hash("s"), uuid4(), "123456", 600)
    assert throttled.value.retry_after == wait


def test_a_list_without_accounts_is_empty() -> None:
    catalogue = SimpleNamespace(purpose=lambda _: 1, reason=lambda _: 1)
    vault: Any = SimpleNamespace(catalogue=catalogue, _store=SimpleNamespace(value=lambda *_: 1, rows=lambda *_: []))
    assert staff.accounts(vault, secret_hash("s")) == staff.AccessList([], b"", None)


def test_a_door_without_a_pepper_signs_nobody_in() -> None:
    vault: Any = SimpleNamespace(_credentials=SimpleNamespace(pepper=None))
    for call in (
        lambda: factor.candidate(vault, "secret"),
        lambda: factor.recover(vault, secret_hash("s"), uuid4(), "code", 600),
    ):
        with pytest.raises(KeyUnavailable):
            call()


@pytest.mark.parametrize(("held", "typed"), [(True, None), (False, "123456"), (False, None), (True, "000000")])
def test_what_is_no_right_code_is_a_try_without_a_proof(held: bool, typed: str | None) -> None:
    """What was typed is no code, or there is no factor to compare it with: the database hears of a try all the same, and says no."""
    found = [SimpleNamespace(values={factor.FIELD: base64.b32encode(b"k" * 20).decode()} if held else {})]
    asked: list[Any] = []
    store = SimpleNamespace(rows=lambda *_: [(0.0, 1)], value=lambda _, given: bool(asked.append(given)))
    vault: Any = SimpleNamespace(_store=store, service=b"", read=lambda *_: found, _credentials=SimpleNamespace(pepper=b"p" * 32))
    with pytest.raises(Refused):
        factor.prove(vault, secret_hash("s"), uuid4(), typed, 600)
    ((_, proof, step, _, ttl),) = asked
    assert (proof, step, ttl) == (None, None, 600)


def test_a_session_whose_tries_are_over_hears_so() -> None:
    store = SimpleNamespace(rows=lambda *_: [(None, 1)], value=lambda *_: None)
    vault: Any = SimpleNamespace(_store=store, _credentials=SimpleNamespace(pepper=b"p" * 32))
    for call in (factor.prove, factor.recover):
        with pytest.raises(SessionEnded):
            call(vault, secret_hash("s"), uuid4(), "123456", 600)


def test_an_enrolment_that_the_database_refuses_is_none(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password grew too old between the look and the enrolment, or the connection is gone."""
    agent = appoint(doors.console, doors.server.admin_dsn)  # type: ignore[attr-defined]
    session, _ = agent.pending()
    now = factor.standing(doors.console, secret_hash(session))
    with doors.admin() as admin:
        admin.execute(
            "UPDATE vault.credential SET changed_at = changed_at - interval '15 days' WHERE subject_id = %s", (agent.subject,)
        )
    key = factor.candidate(doors.console, session)
    monkeypatch.setattr(factor, "standing", lambda *_: replace(now, may_enrol=True))
    words = (doors.console, secret_hash(session), agent.subject, key, code(key, now.step), factor.new_recovery_codes(), 600)
    with pytest.raises(Refused):
        factor.enrol(*words)

    def lost() -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr(doors.console._store, "connection", lost)
    with pytest.raises(Unavailable):
        factor.enrol(*words)
    with doors.admin() as admin:
        assert not admin.execute("SELECT FROM vault.second_factor WHERE subject_id = %s", (agent.subject,)).fetchall()
