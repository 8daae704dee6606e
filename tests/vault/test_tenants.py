"""No row of one organisation is reachable with another's actor: by id, by search, by error, by state."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.errors import Forbidden, Refused, SessionEnded, Undeclared
from armonika.trust.vault.types import Actor, NewRecord, SecretHash
from tests.doors import Doors


def member(doors: Doors, org: UUID, role: str = "admin") -> tuple[SecretHash, Actor]:
    email = f"{uuid4().hex}@org.example"
    site: Vault = doors.site
    values = {"name": "Membre", "email": email, "company": "C", "role": "R"}
    site.create(
        site.service,
        "provide",
        "register",
        [NewRecord("account", values, "subject", kind="customer_user", org=org)],
        password="une phrase assez longue",
        role=role,
    )
    found = doors.verifier.find(doors.verifier.service, "account", "email", email, ["email"], "legal", "verification")
    doors.verifier.redeem_challenge(doors.verifier.issue_challenge(found[0].subject, "verify-address", 60), "verify-address")
    secret, actor = site.sign_in("account", email, "une phrase assez longue")
    return secret_hash(secret), actor


def test_members_reach_their_own_organisation_and_no_other(doors: Doors) -> None:
    here, there = uuid4(), uuid4()
    admin, _ = member(doors, here)
    developer, colleague = member(doors, here, "developer")
    _, stranger = member(doors, there)
    read = doors.site.read
    assert read(admin, colleague.actor_id, "account", ["name"], "provide", "member-list")[0].values == {"name": "Membre"}, (
        "positive control"
    )
    answers = []
    for whom in (stranger.actor_id, uuid4()):
        with pytest.raises(Refused) as refused:
            read(admin, whom, "account", ["name"], "provide", "member-list")
        answers.append((type(refused.value), str(refused.value)))
    assert answers[0] == answers[1]
    for attempt in (
        lambda: doors.site.describe(admin, stranger.actor_id, "legal", "rights-request"),
        lambda: doors.site.accesses(admin, stranger.actor_id),
        lambda: doors.site.erase(admin, [stranger.actor_id], "legal", "rights-request"),
        lambda: doors.site.erase(developer, [stranger.actor_id, colleague.actor_id][:1], "legal", "rights-request"),
        lambda: doors.site.restrict(admin, stranger.actor_id, True, "legal", "rights-request"),
        lambda: read(developer, colleague.actor_id, "account", ["name"], "respond", "support-call"),
        lambda: doors.site.find(developer, "account", "email", "x@org.example", ["name"], "provide", "own-view"),
    ):
        with pytest.raises((Refused, Forbidden)):
            attempt()
    assert read(developer, colleague.actor_id, "account", ["name"], "provide", "own-view")
    with pytest.raises((Refused, Forbidden)):
        read(admin, colleague.actor_id, "account", ["phone"], "provide", "member-list")
    with pytest.raises(Undeclared):
        read(admin, colleague.actor_id, "account", ["name"], "profiling", "member-list")
    with pytest.raises(SessionEnded):
        doors.console.read(admin, colleague.actor_id, "account", ["name"], "provide", "own-view")


def test_every_refusal_of_a_read_is_itself_an_entry(doors: Doors) -> None:
    admin, actor = member(doors, uuid4())
    nobody = uuid4()
    with pytest.raises(Refused):
        doors.site.read(admin, nobody, "account", ["name"], "provide", "member-list")
    with doors.admin() as connection:
        row = connection.execute("SELECT granted, actor FROM vault.audit WHERE subject = %s", (nobody,)).fetchone()
    assert row == (False, actor.actor_id)
