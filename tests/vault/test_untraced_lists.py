"""Lists of a person and of staff without a trace: none comes back before its entry is committed, nor to anybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from armonika.trust.vault import codec
from tests.doors import Doors
from tests.staff import appoint
from tests.vault.stage import ACCESSES, DESCRIBE, ERASE, Stage
from tests.vault.words import erase

LISTS = {
    "describe": (DESCRIBE, "SELECT * FROM vault.describe(%s, %s)"),
    "accesses": (ACCESSES, "SELECT * FROM vault.accesses(%s, %s, 50, NULL)"),
    "access_entry": (ACCESSES, "SELECT * FROM vault.access_entry(%s, %s, {number})"),
}
each = pytest.mark.parametrize("name", LISTS)


class Asker:
    """A person, a session that may see the lists, and the statements of one list."""

    def __init__(self, stage: Stage, name: str) -> None:
        for operation in (DESCRIBE, ACCESSES):
            stage.allow(operation)
        self.stage, self.made = stage, stage.person()
        self.secret = stage.session()
        self.what, call = LISTS[name]
        self.call = call.format(number=self.made.audit_id).encode()

    def words(self, secret: bytes | None = None, what: int | None = None) -> list[Any]:
        stage = self.stage
        return [secret or self.secret, what or self.what, stage.provide, stage.reason, None, self.made.subject]

    def ticket(self, door: str = "api", secret: bytes | None = None, what: int | None = None) -> int:
        return int(self.stage.rows(door, codec.CONSULT, *self.words(secret, what))[0][0])

    def entries(self) -> int:
        count = "SELECT count(*) FROM vault.audit WHERE subject = %s AND operation = %s"
        return int(self.stage.value(count, self.made.subject, self.what))

    def given(self, connection: psycopg.Connection[Any], ticket: object, secret: bytes | None = None) -> str | int:
        """How many rows come, or the SQLSTATE."""
        try:
            with connection.transaction():
                return len(connection.execute(self.call, (secret or self.secret, ticket)).fetchall())
        except psycopg.Error as error:
            return str(error.sqlstate)


@pytest.fixture
def asker(stage: Stage, name: str) -> Asker:
    return Asker(stage, name)


@each
def test_nothing_comes_before_the_entry_is_committed(asker: Asker) -> None:
    consult = codec.percent(codec.CONSULT).encode()
    with asker.stage.doors.raw() as first, asker.stage.doors.raw(autocommit=True) as second:
        first.execute("SELECT 1")
        ((ticket,),) = first.execute(consult, asker.words()).fetchall()
        assert asker.given(first, ticket) == "AR403", "in the same transaction"
        assert asker.given(second, ticket) == "AR403", "while it is open"
        first.rollback()
        assert asker.given(second, ticket) == "AR403", "after it was rolled back"
        with first.transaction():
            with pytest.raises(ZeroDivisionError), first.transaction():
                ((ticket,),) = first.execute(consult, asker.words()).fetchall()
                raise ZeroDivisionError
            assert asker.given(first, ticket) == "AR403", "after its savepoint was rolled back"
        assert asker.given(second, ticket) == "AR403"
        assert asker.entries() == 0
        ticket = asker.ticket()
        assert asker.given(second, ticket) != "AR403", "positive control"
        assert asker.entries() == 1


@each
def test_a_ticket_is_of_one_actor_door_operation_and_moment(asker: Asker) -> None:
    stage = asker.stage
    with stage.doors.raw(autocommit=True) as api, stage.doors.raw("site", autocommit=True) as site:
        ticket = asker.ticket()
        assert asker.given(api, ticket, stage.session()) == "AR403", "another actor"
        assert asker.given(site, ticket) == "AR401", "another door has no such session"
        at_site = stage.session("site", actor=UUID(str(stage.actor(asker.secret))))
        assert asker.given(site, ticket, at_site) == "AR403", "another door, the same actor"
        other = asker.ticket(what=DESCRIBE if asker.what == ACCESSES else ACCESSES)
        assert asker.given(api, other) == "AR403", "another operation"
        for none in (None, 0, -1, 2**62, asker.made.audit_id):
            assert asker.given(api, none) == "AR403"
        for moved, said in (("- interval '11 seconds'", "AR403"), ("+ interval '3 seconds'", "AR403")):
            ticket = asker.ticket()
            with stage.unkept():
                stage.admin.execute(f"UPDATE vault.audit SET at = at {moved} WHERE audit_id = %s".encode(), (ticket,))
            assert asker.given(api, ticket) == said, moved
        ticket = asker.ticket()
        with stage.unkept():
            stage.admin.execute("UPDATE vault.audit SET granted = false WHERE audit_id = %s", (ticket,))
        assert asker.given(api, ticket) == "AR403", "a refusal is no ticket"


@each
def test_what_changed_after_the_ticket_counts(asker: Asker) -> None:
    ticket = asker.ticket()
    with asker.stage.doors.raw(autocommit=True) as api:
        assert asker.given(api, ticket) != "AR403", "positive control"
        asker.stage.forbid()
        assert asker.given(api, ticket) == "AR403", "the rule was taken away"


@each
def test_who_was_erased_after_the_ticket_is_listed_no_more(asker: Asker) -> None:
    stage = asker.stage
    stage.allow(ERASE)
    ticket = asker.ticket()
    with stage.doors.raw(autocommit=True) as api:
        assert asker.given(api, ticket) != "AR403", "positive control"
        assert len(erase(stage, stage.session(), asker.made.subject)) == 1
        assert asker.given(api, ticket) == "AR403"
    assert stage.refused("api", codec.CONSULT, *asker.words()) == "AR403"


def test_the_list_of_staff_leaves_its_entry_first(doors: Doors) -> None:
    dpo = appoint(doors.console, doors.server.admin_dsn, "dpo")
    secret, catalogue = dpo.signed_in(), doors.console.catalogue
    words = (secret, catalogue.purpose("secure"), catalogue.reason("access-review"))
    consult = "SELECT vault.consult_staff(%s, %s::smallint, %s::smallint)"
    given: Callable[[Any, object], Any] = lambda raw, ticket: raw.execute("SELECT * FROM vault.staff_accounts(%s, %s)", (secret, ticket)).fetchall()  # noqa: E731  # fmt: skip
    with doors.raw("console") as raw:
        ((ticket,),) = raw.execute(consult, words).fetchall()
        with pytest.raises(psycopg.Error) as caught:
            given(raw, ticket)
        assert caught.value.sqlstate == "AR403"
        raw.rollback()
        ((ticket,),) = raw.execute(consult, words).fetchall()
        raw.commit()
        assert given(raw, ticket)
        raw.commit()
        person = doors.person().subject
        about = (secret, 3, catalogue.purpose("legal"), catalogue.reason("rights-request"), None, person)
        ((ticket,),) = raw.execute(codec.percent(codec.CONSULT).encode(), about).fetchall()
        raw.commit()
        with pytest.raises(psycopg.Error) as caught:
            given(raw, ticket)
        assert caught.value.sqlstate == "AR403", "a ticket about a person opens no list of staff"
