"""Somebody with many records is erased at once and destroyed in pages: in between nothing reads them, and nothing of it is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from armonika.trust.vault.errors import Refused, VaultError
from armonika.trust.vault.keeper import Keeper
from armonika.trust.vault.types import Created, NewRecord
from tests.doors import Doors

MANY = 100


@pytest.fixture
def keeper(doors: Doors) -> Iterator[Keeper]:
    made = Keeper(doors.server.provisioned.credentials("keeper"), doors.server.dsn, size=2)  # type: ignore[attr-defined]
    while made.step():
        continue
    yield made
    made.close()


def crowded(doors: Doors, records: int = MANY) -> tuple[Created, str]:
    """A person with an address and so many records in all."""
    address = f"u{uuid4().hex}@org.example"
    person = doors.person(email=address)
    more = [NewRecord("account", {"name": f"N{n}"}, "organisation", subject=person.subject) for n in range(records - 1)]
    doors.api.create(doors.token, "provide", "integration", more)
    return person, address


def left(doors: Doors, subject: UUID) -> tuple[int, ...]:
    """How many records, keys, look-ups, and marks of a person are there."""
    tables = ("record", "data_key", "lookup", "erasing")
    with doors.admin() as admin:
        return tuple(
            admin.execute(f"SELECT count(*) FROM vault.{table} WHERE subject_id = %s".encode(), (subject,)).fetchone()[0]  # type: ignore[index]
            for table in tables
        )


def test_nothing_reads_whose_keys_are_still_being_destroyed(doors: Doors, keeper: Keeper) -> None:
    person, address = crowded(doors)
    assert left(doors, person.subject) == (MANY, MANY, 1, 0)
    ((_, entry, erased, kept),) = doors.api.erase(doors.token, [person.subject], "provide", "integration")
    assert (erased, kept) == (MANY, 0)
    assert left(doors, person.subject) == (MANY, MANY, 0, 1), "the erasure itself destroys no page"
    read = ("account", ["name"], "provide", "integration")
    with pytest.raises(Refused):
        doors.api.read(doors.token, person.subject, *read)
    with pytest.raises(Refused):
        doors.verifier.describe(doors.verifier.service, person.subject, "legal", "verification")
    assert doors.api.find(doors.token, "account", "email", address, ["name"], "provide", "integration") == []
    with pytest.raises(Refused):
        doors.api.correct(doors.token, person.subject, person.record, {"name": "X"}, "provide", "integration")
    with pytest.raises(Refused):
        doors.api.create(doors.token, "provide", "integration", [NewRecord("account", {"name": "X"}, "organisation", subject=person.subject)])  # fmt: skip
    with pytest.raises(Refused):
        doors.api.erase(doors.token, [person.subject], "provide", "integration")
    with pytest.raises(Refused):
        doors.api.restrict(doors.token, person.subject, True, "provide", "integration")
    again = doors.person(email=address)
    assert again.subject != person.subject, "the address is free at once"
    assert keeper.step(), "and there may be more"
    while keeper.step():
        continue
    assert left(doors, person.subject) == (0, 0, 0, 0)
    with doors.admin() as admin:
        lines = admin.execute(
            "SELECT record_id IS NULL, audit_id, records, kept FROM vault.ended WHERE subject_id = %s", (person.subject,)
        ).fetchall()
    assert lines.count((False, entry, None, None)) == MANY
    assert lines.count((True, entry, MANY, 0)) == 1
    assert doors.api.read(doors.token, again.subject, *read)


def test_few_records_are_destroyed_with_the_erasure(doors: Doors) -> None:
    person, _ = crowded(doors, 32)
    doors.api.erase(doors.token, [person.subject], "provide", "integration")
    assert left(doors, person.subject) == (0, 0, 0, 0)


def test_what_the_law_keeps_stays_and_the_rest_is_destroyed_at_once(doors: Doors) -> None:
    person, _ = crowded(doors, 60)
    values = {"name": "N", "email": f"u{uuid4().hex}@org.example", "company": "C", "role": "M"}
    kept = NewRecord("demo", values, "organisation", subject=person.subject)
    doors.verifier.create(doors.verifier.service, "legal", "verification", [kept])
    ((_, _, erased, remaining),) = doors.api.erase(doors.token, [person.subject], "provide", "integration")
    assert (erased, remaining) == (60, 1)
    assert left(doors, person.subject) == (1, 1, 1, 0)
    (found,) = doors.verifier.read(doors.verifier.service, person.subject, "demo", ["role"], "legal", "verification")
    assert found.values == {"role": "M"}


def test_two_keepers_and_a_torn_page_destroy_each_record_once(doors: Doors, keeper: Keeper) -> None:
    people = [crowded(doors)[0] for _ in range(3)]
    for person in people:
        doors.api.erase(doors.token, [person.subject], "provide", "integration")
    statement, given = b"SELECT vault.sweep(%s::bytea, 40)", (keeper.service,)
    with doors.raw("keeper") as torn:
        assert torn.execute(statement, given).fetchone() == (40,)
        torn.rollback()
    with doors.raw("keeper") as holder, doors.raw("keeper") as other, ThreadPoolExecutor(2) as pool:
        assert holder.execute(statement, given).fetchone() == (40,)
        assert pool.submit(other.execute, statement, given).result(10).fetchone() == (40,), "the next person, without waiting"
        other.commit()
        holder.commit()
    while keeper.step():
        continue
    for person in people:
        assert left(doors, person.subject) == (0, 0, 0, 0)
        with doors.admin() as admin:
            ended = admin.execute("SELECT count(*), count(DISTINCT record_id) FROM vault.ended WHERE subject_id = %s", (person.subject,))  # fmt: skip
            assert ended.fetchone() == (MANY + 1, MANY)


def test_only_a_keeper_sweeps_and_only_the_erased(doors: Doors, keeper: Keeper) -> None:
    person, _ = crowded(doors, 40)
    with doors.admin() as admin:
        admin.execute("INSERT INTO vault.erasing (subject_id, audit_id) VALUES (%s, 1)", (person.subject,))
        try:
            assert not keeper.step()
            assert left(doors, person.subject)[:2] == (40, 40), "a mark alone erases nobody"
        finally:
            admin.execute("DELETE FROM vault.erasing WHERE subject_id = %s", (person.subject,))
    for door, secret in (("api", doors.token), ("keeper", doors.token)):
        with doors.raw(door) as raw, pytest.raises(psycopg.Error):
            raw.execute("SELECT vault.sweep(%s::bytea, 10)", (secret,))


def test_a_lock_of_a_later_policy_stops_no_erasure_that_was_before(doors: Doors, keeper: Keeper) -> None:
    (first, _), (second, _) = crowded(doors), crowded(doors)
    doors.api.erase(doors.token, [first.subject], "provide", "integration")
    account = doors.api.catalogue.dataset("account").id
    where = "policy_id = vault.policy_in_force() AND dataset = %s"
    with doors.admin() as admin:
        held = admin.execute(f"SELECT * FROM vault.declared_retention WHERE {where}".encode(), (account,)).fetchall()
        admin.execute("SET session_replication_role = replica")
        admin.execute(f"DELETE FROM vault.declared_retention WHERE {where}".encode(), (account,))
        admin.execute(
            "INSERT INTO vault.declared_retention SELECT vault.policy_in_force(), %s, 'books', 3653, 'recording', true, 'Africa/Algiers'",
            (account,),
        )
        try:
            while keeper.step():
                continue
            assert left(doors, first.subject) == (0, 0, 0, 0)
            with pytest.raises(VaultError):
                doors.api.erase_records(doors.token, [(second.subject, second.record)], "provide", "integration")
            assert left(doors, second.subject)[:2] == (MANY, MANY)
        finally:
            admin.execute(f"DELETE FROM vault.declared_retention WHERE {where}".encode(), (account,))
            for row in held:
                admin.execute("INSERT INTO vault.declared_retention VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
