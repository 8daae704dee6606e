"""Records that are added or end while their person is erased or locked: everybody waits in one order, and nothing comes in behind."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from armonika.trust.vault.errors import Refused, Restricted
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors

CASES = {
    "erase": ("SELECT FROM vault.erase(%s, %s::smallint, %s::smallint, NULL, ARRAY[%s])", Refused, 0),
    "restrict": ("SELECT vault.restrict(%s, %s::smallint, %s::smallint, NULL, %s, true)", Restricted, 1),
}


def waiting_for(doors: Doors, count: int) -> None:
    """Until so many sessions wait for a lock."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with doors.admin() as admin:
            if len(admin.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall()) >= count:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("what", CASES)
def test_a_record_does_not_come_in_behind_an_erasure_or_a_lock(doors: Doors, what: str) -> None:
    statement, error, left = CASES[what]
    person, catalogue = doors.person(), doors.api.catalogue
    values = {"name": "N", "email": f"late.{what}@org.example", "company": "C", "role": "R"}
    late = NewRecord("account", values, "organisation", subject=person.subject)
    with doors.raw("api") as other, ThreadPoolExecutor(1) as pool:
        given = (doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), person.subject)
        other.execute(statement.encode(), given)
        waiting = pool.submit(doors.api.create, doors.token, "provide", "integration", [late])
        waiting_for(doors, 1)
        other.commit()
        with pytest.raises(error):
            waiting.result(10)
        with doors.admin() as admin:
            found = admin.execute("SELECT FROM vault.data_key WHERE subject_id = %s", (person.subject,)).fetchall()
    assert len(found) == left


def test_a_person_and_one_of_their_records_are_erased_at_once_and_nobody_waits_for_ever(doors: Doors) -> None:
    person = doors.person()
    with psycopg.connect(doors.server.admin_dsn) as holder, ThreadPoolExecutor(2) as pool:  # type: ignore[attr-defined]
        holder.execute("SELECT FROM vault.data_key WHERE subject_id = %s FOR UPDATE", (person.subject,))
        whole = pool.submit(doors.api.erase, doors.token, [person.subject], "provide", "integration")
        waiting_for(doors, 1)
        part = pool.submit(doors.api.erase_records, doors.token, [(person.subject, person.record)], "provide", "integration")
        waiting_for(doors, 2)
        holder.rollback()
        ((_, _, erased, kept),) = whole.result(10)
        assert (erased, kept) == (1, 0)
        with pytest.raises(Refused):
            part.result(10)


def test_no_letters_token_comes_in_behind_an_erasure(doors: Doors) -> None:
    values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}
    new = NewRecord("account", values, "subject", kind="customer_user", org=uuid4())
    (person,) = doors.verifier.create(doors.verifier.service, "legal", "verification", [new], password="a password of some length", role="admin")  # fmt: skip
    catalogue = doors.api.catalogue
    with doors.raw("api") as other, ThreadPoolExecutor(1) as pool:
        given = (doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), person.subject)
        other.execute(CASES["erase"][0].encode(), given)
        waiting = pool.submit(doors.verifier.issue_challenge, person.subject, "verify-address", 600)
        waiting_for(doors, 1)
        other.commit()
        with pytest.raises(Refused):
            waiting.result(10)
    with doors.admin() as admin:
        assert not admin.execute("SELECT FROM vault.challenge WHERE subject_id = %s", (person.subject,)).fetchall()
