"""A record that is added while its person is erased or locked: it waits, and then there is nothing to add it to."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from armonika.trust.vault.errors import Refused, Restricted
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors

CASES = {
    "erase": ("SELECT FROM vault.erase(%s, %s::smallint, %s::smallint, NULL, ARRAY[%s])", Refused, 0),
    "restrict": ("SELECT vault.restrict(%s, %s::smallint, %s::smallint, NULL, %s, true)", Restricted, 1),
}


@pytest.mark.parametrize("what", CASES)
def test_a_record_does_not_come_in_behind_an_erasure_or_a_lock(doors: Doors, what: str) -> None:
    statement, error, left = CASES[what]
    person, catalogue = doors.person(), doors.api.catalogue
    values = {"name": "N", "email": f"late.{what}@org.example", "company": "C", "role": "R"}
    late = NewRecord("account", values, "organisation", subject=person.subject)
    with doors.raw("api") as other, doors.admin() as admin, ThreadPoolExecutor(1) as pool:
        given = (doors.token, catalogue.purpose("provide"), catalogue.reason("integration"), person.subject)
        other.execute(statement.encode(), given)
        waiting = pool.submit(doors.api.create, doors.token, "provide", "integration", [late])
        end = time.monotonic() + 10
        while (
            not admin.execute("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchall() and time.monotonic() < end
        ):
            time.sleep(0.01)
        other.commit()
        with pytest.raises(error):
            waiting.result(10)
        found = admin.execute("SELECT FROM vault.data_key WHERE subject_id = %s", (person.subject,)).fetchall()
    assert len(found) == left
