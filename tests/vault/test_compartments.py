"""A door's process holds enough for its duty and nothing for another's (DESIGN: compartments)."""

from __future__ import annotations

import psycopg
import pytest

from armonika.trust import crypto
from armonika.trust.vault import secret_hash, staff
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import KeyUnavailable, Refused, SessionEnded
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors


def staff_member(doors: Doors) -> tuple[object, object]:
    address = f"s{crypto.random_bytes(6).hex()}@operator.example"
    made = doors.console.create(
        doors.console.service, "legal", "staff-appointment", [NewRecord("staff", {"name": "Z", "email": address}, "operator", kind="staff")],
        password="long enough for staff", role="support",
    )[0]  # fmt: skip
    staff.appoint(doors.server.admin_dsn, made.subject)  # type: ignore[attr-defined]
    return made, doors.console.sign_in("staff", address, "long enough for staff")


def test_all_that_the_site_holds_opens_nothing_of_staff(doors: Doors) -> None:
    made, (staff_secret, _) = staff_member(doors)  # type: ignore[misc]
    site = doors.server.provisioned.credentials("site")  # type: ignore[attr-defined]
    with pytest.raises(Refused):
        doors.site.read(doors.site.service, made.subject, "staff", ["name"], "provide", "own-view")  # type: ignore[attr-defined]
    with pytest.raises(SessionEnded):
        doors.site.read(secret_hash(staff_secret), made.subject, "staff", ["name"], "provide", "own-view")  # type: ignore[attr-defined]
    with doors.admin() as connection:
        row = connection.execute(
            "SELECT r.record_id, k.kind, k.epoch, k.wrapped, r.present, r.versions, r.ciphertexts FROM vault.record r JOIN vault.data_key k USING (subject_id, record_id) "
            "WHERE r.subject_id = %s", (made.subject,),  # type: ignore[attr-defined]
        ).fetchone()  # fmt: skip
    assert row is not None
    dataset = doors.console.catalogue.dataset("staff")
    record, kind, epoch, wrapped, present, versions, ciphertexts = row
    with pytest.raises(KeyUnavailable):
        Envelope(site).open(Layout(dataset, present), made.subject, record, kind, epoch, wrapped, versions, ciphertexts)  # type: ignore[arg-type, attr-defined]
    console = doors.server.provisioned.credentials("console")  # type: ignore[attr-defined]
    values, _ = Envelope(console).open(
        Layout(dataset, present), made.subject, record, kind, epoch, wrapped, versions, ciphertexts
    )  # type: ignore[arg-type, attr-defined]
    assert values["name"] == "Z", "positive control: the console's keys do open it"
    held = [
        key for keys in site.compartments.values() for e in keys.epochs.values() for key in (e.kek, e.index, e.private) if key
    ]
    held += [site.service_secret, site.web_key, site.pepper, site.throttle_key]
    for key in held:
        with pytest.raises((crypto.Unauthentic, ValueError, IndexError)):
            crypto.unseal(key[:32], wrapped, b"")  # type: ignore[arg-type]


def test_a_write_only_door_cannot_open_what_it_just_wrote(doors: Doors) -> None:
    made = doors.site.create(
        doors.site.service, "provide", "demo-request",
        [NewRecord("demo", {"name": "P", "email": "p@visitor.example", "company": "C", "role": "R"}, "subject", kind="prospect")],
    )[0]  # fmt: skip
    with pytest.raises(Refused):
        doors.site.read(doors.site.service, made.subject, "demo", ["name"], "provide", "demo-request")
    assert doors.verifier.read(doors.verifier.service, made.subject, "demo", ["name"], "legal", "verification")[0].values == {
        "name": "P"
    }
    site = doors.server.provisioned.credentials("site")  # type: ignore[attr-defined]
    assert all(epoch.kek is None and epoch.private is None for epoch in site.compartments["prospects"].epochs.values())


def test_the_sites_database_role_cannot_become_another(doors: Doors) -> None:
    with doors.raw("site", autocommit=True) as connection:
        for statement in (
            "SET ROLE armonika_console",
            "SET SESSION AUTHORIZATION armonika_console",
            "SET ROLE armonika_vault",
            "SELECT * FROM vault.record",
            "COPY vault.session TO STDOUT",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement)


def test_no_door_holds_traffic_and_applicants_together(doors: Doors) -> None:
    compartments = doors.server.provisioned.compartments  # type: ignore[attr-defined]
    for door, held in compartments.items():
        readable = {name for name, mode in held.items() if mode == "full"}
        assert not {"traffic", "applicants"} <= readable, door
