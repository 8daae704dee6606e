"""Who makes staff: the console writes and the administrator confirms; neither does it alone."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from armonika.trust.vault import staff
from armonika.trust.vault.errors import Refused
from armonika.trust.vault.types import NewRecord
from tests.doors import Doors
from tests.staff import PASSWORD


def test_a_console_alone_makes_no_staff(doors: Doors) -> None:
    """What the door's role can do by itself: write the person and the credential, ask for letters, redeem them, ask for the confirmation."""
    console, email = doors.console, f"s{uuid4().hex}@operator.example"
    new = NewRecord("staff", {"name": "Zahra", "email": email}, "operator", kind="employee")
    whom = console.create(console.service, "legal", "staff-appointment", [new], password=PASSWORD, role="dpo")[0].subject
    with pytest.raises(Refused):
        console.sign_in("staff", email, PASSWORD)
    for kind, password in (("verify-address", None), ("reset-password", PASSWORD)):
        token = doors.verifier.issue_challenge(whom, kind, 60)
        assert console.redeem_challenge(token, kind, password) == whom
        with pytest.raises(Refused):
            console.sign_in("staff", email, PASSWORD)
    with doors.raw("console", autocommit=True) as raw, pytest.raises(psycopg.errors.InsufficientPrivilege):
        raw.execute("SELECT vault.staff_appoint(%s)", (whom,))
    entry = staff.appoint(doors.server.admin_dsn, whom)
    with doors.admin() as admin:
        told = admin.execute("SELECT subject, door FROM vault.audit WHERE audit_id = %s", (entry,)).fetchall()
    assert told == [(whom, "administrator")]
    console.sign_in("staff", email, PASSWORD)
    for subject in (whom, doors.person().subject, uuid4()):
        with pytest.raises(Refused):
            staff.appoint(doors.server.admin_dsn, subject)
