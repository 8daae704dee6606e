"""What must hold of everything that is stored: each ciphertext and wrapped key opens in its own place alone, no nonce comes twice, and every entry is of a person's pseudonym."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from armonika.trust.vault.errors import KeyUnavailable, Tampered, VaultError
from armonika.trust.vault.types import Created, NewRecord
from tests.doors import Doors

FIELDS = ["name", "email", "company", "role"]


@pytest.fixture
def admin(doors: Doors) -> Any:
    with doors.admin() as connection:
        yield connection


def read(doors: Doors, made: Created) -> dict[str, str] | type[VaultError]:
    try:
        (record,) = doors.api.read(doors.token, made.subject, "account", FIELDS, "provide", "integration")
    except VaultError as error:
        return type(error)
    return dict(record.values)


def swapped(admin: psycopg.Connection[Any], table: str, columns: str, one: Created, other: Created) -> None:
    """Two rows exchange columns, as a superuser may."""
    names = columns.split(", ")
    rows = [
        admin.execute(f"SELECT {columns} FROM vault.{table} WHERE record_id = %s".encode(), (made.record,)).fetchone()
        for made in (one, other)
    ]
    assignment = ", ".join(f"{name} = %s" for name in names)
    for made, row in zip((one, other), reversed(rows), strict=True):
        assert row is not None
        admin.execute(f"UPDATE vault.{table} SET {assignment} WHERE record_id = %s".encode(), (*row, made.record))


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("data_key", "wrapped"),
        ("data_key", "wrapped, kind, epoch"),
        ("record", "ciphertexts"),
        ("record", "ciphertexts, versions"),
    ],
)
def test_what_two_persons_exchange_opens_for_neither(
    doors: Doors, admin: psycopg.Connection[Any], table: str, columns: str
) -> None:
    one, other = doors.people(2)
    before = read(doors, one), read(doors, other)
    swapped(admin, table, columns, one, other)
    assert (read(doors, one), read(doors, other)) == (Tampered, Tampered)
    swapped(admin, table, columns, one, other)
    assert (read(doors, one), read(doors, other)) == before


def test_a_key_and_its_values_together_open_for_nobody_else(doors: Doors, admin: psycopg.Connection[Any]) -> None:
    one, other = doors.people(2)
    swapped(admin, "data_key", "wrapped", one, other)
    swapped(admin, "record", "ciphertexts, versions", one, other)
    assert read(doors, one) is Tampered


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("UPDATE vault.data_key SET compartment = (SELECT id FROM vault.compartment WHERE name = 'support') WHERE record_id = %s", None),
        ("UPDATE vault.data_key SET epoch = epoch + 7 WHERE record_id = %s", {KeyUnavailable}), ("UPDATE vault.data_key SET kind = 2 WHERE record_id = %s", {Tampered}),
        ("UPDATE vault.record SET versions = array_replace(versions, 1, 2) WHERE record_id = %s", {Tampered}),
        ("UPDATE vault.record SET ciphertexts = ARRAY[ciphertexts[2], ciphertexts[1]] || ciphertexts[3:] WHERE record_id = %s", {Tampered}),
        ("UPDATE vault.record SET ciphertexts[1] = set_byte(ciphertexts[1], 0, 2) WHERE record_id = %s", {Tampered}),
        ("UPDATE vault.record SET ciphertexts[1] = substr(ciphertexts[1], 1, 20) WHERE record_id = %s", {Tampered}),
        ("UPDATE vault.record SET ciphertexts[1] = '' WHERE record_id = %s", {Tampered}), ("UPDATE vault.data_key SET wrapped = '' WHERE record_id = %s", {Tampered}),
    ],
)  # fmt: skip
def test_another_compartment_epoch_version_or_field_does_not_open(
    doors: Doors, admin: psycopg.Connection[Any], change: str, kinds: set[type[VaultError]] | None
) -> None:
    (made,) = doors.people(1)
    assert isinstance(read(doors, made), dict), "the control"
    admin.execute(change.encode(), (made.record,))
    found = read(doors, made)
    if kinds is None:
        # The keys of the record's own compartment do not change with what the row says; what is stored elsewhere is still bound to it.
        assert found in (Tampered, KeyUnavailable) or isinstance(found, dict)
    else:
        assert found in kinds


def test_an_older_value_put_back_does_not_open_as_the_newer(doors: Doors, admin: psycopg.Connection[Any]) -> None:
    (made,) = doors.people(1)
    old = admin.execute("SELECT ciphertexts FROM vault.record WHERE record_id = %s", (made.record,)).fetchone()
    doors.api.correct(doors.token, made.subject, made.record, {"name": "M"}, "provide", "integration")
    assert old is not None
    admin.execute("UPDATE vault.record SET ciphertexts = %s WHERE record_id = %s", (old[0], made.record))
    assert read(doors, made) is Tampered


def test_no_nonce_and_no_wrapped_key_comes_twice_in_the_store(doors: Doors, admin: psycopg.Connection[Any]) -> None:
    """Every nonce there is, over many writes of the same values and many corrections of one person; the control is a row that is there twice."""
    doors.people(300)
    (made,) = doors.people(1)
    for _ in range(60):
        doors.api.correct(doors.token, made.subject, made.record, {"name": "N", "company": "C"}, "provide", "integration")
        row = admin.execute("SELECT ciphertexts[1] FROM vault.record WHERE record_id = %s", (made.record,)).fetchone()
        assert row is not None
        SEEN.append(bytes(row[0][1:13]))
    assert len(set(SEEN)) == len(SEEN) == 60, "one key, sixty values"
    twice = (
        "SELECT count(DISTINCT c) - count(DISTINCT substr(c, 2, 12)) FROM (SELECT c FROM vault.record r, unnest(r.ciphertexts) c WHERE c IS NOT NULL "
        "UNION ALL SELECT wrapped FROM vault.data_key WHERE kind = 1) x WHERE octet_length(c) >= 29"
    )
    row = admin.execute(twice.encode()).fetchone()
    assert row is not None
    assert row[0] == 0
    with doors.admin() as other, other.transaction(force_rollback=True):
        other.execute(
            "UPDATE vault.record SET ciphertexts[3] = substr(ciphertexts[1], 1, 13) || sha256('another') WHERE record_id = %s",
            (made.record,),
        )
        control = other.execute(twice.encode()).fetchone()
        assert control is not None
        assert control[0] == 1


SEEN: list[bytes] = []


def test_every_change_and_read_has_one_entry(doors: Doors, admin: psycopg.Connection[Any]) -> None:
    """Invariant 2: no operation without its entry, and every entry names purpose, reason, actor and door, and no value."""

    def entries(made: Created) -> list[tuple[Any, ...]]:
        return admin.execute(
            "SELECT o.name, a.granted, p.name, c.name, a.door FROM vault.audit a JOIN vault.operation o ON o.id = a.operation "
            "JOIN vault.purpose p ON p.id = a.purpose JOIN vault.reason c ON c.id = a.reason WHERE a.subject = %s ORDER BY a.audit_id", (made.subject,),
        ).fetchall()  # fmt: skip

    tail = ("provide", "integration", "api")
    (made,) = doors.people(1)
    assert entries(made) == [("create", True, *tail)]
    doors.api.correct(doors.token, made.subject, made.record, {"name": "M"}, "provide", "integration")
    assert entries(made)[1:] == [("release", True, *tail), ("correct", True, *tail)]
    doors.api.restrict(doors.token, made.subject, True, "provide", "integration")
    assert entries(made)[3:] == [("restrict", True, *tail)]
    doors.api.restrict(doors.token, made.subject, False, "provide", "integration")
    read(doors, made)
    doors.api.erase(doors.token, [made.subject], "provide", "integration")
    assert [entry[0] for entry in entries(made)] == ["create", "release", "correct", "restrict", "restrict", "read", "erase"]
    new = NewRecord(
        "account", {"name": "N", "email": "x@org.example", "company": "C", "role": "R"}, "organisation", subject=made.subject
    )
    with pytest.raises(VaultError):
        doors.api.create(doors.token, "provide", "integration", [new])
    last = entries(made)[-1]
    assert (last[0], last[1]) == ("create", False), "what was refused is an entry too, and made nothing"
    assert admin.execute("SELECT count(*) FROM vault.record WHERE subject_id = %s", (made.subject,)).fetchone() == (0,)
