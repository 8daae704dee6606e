"""8a.3: an erasure destroys the keys, and the person does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from armonika.trust.vault.errors import VaultError
from armonika.trust.vault.types import NewRecord
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import rows


class Claim:
    """A canary deletes the account on its page: no key, record, look-up, credential or session remains, a tombstone stands, sign-in and reads are
    refused, a replayed write does not bring the person back, and the same address makes a new pseudonym."""

    claim, hours = "8a.3", 24

    def __init__(self) -> None:
        self._hides = False
        """Planted: an erasure that can be taken back."""
        self._taken_back: list[tuple[Any, ...]] = []

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        canary = context.member(fresh=True)
        context.canaries.remove(canary)
        left = (
            "SELECT (SELECT count(*) FROM vault.record WHERE subject_id = %s) + (SELECT count(*) FROM vault.data_key WHERE subject_id = %s) "
            "+ (SELECT count(*) FROM vault.lookup WHERE subject_id = %s) + (SELECT count(*) FROM vault.credential WHERE subject_id = %s) "
            "+ (SELECT count(*) FROM vault.session WHERE actor = %s AND kind = 'session')"
        )
        five = (canary.subject,) * 5
        evidence.control = context.rows(left, five)[0][0] >= 4
        visitor = context.signed_in(canary)
        wrong = visitor.submit(context.site("/en/me/delete/"), {"word": "delete", "password": "not the password"})
        evidence.expect(wrong.status == 422 and context.rows(left, five)[0][0] >= 4, "a wrong password deleted the account")
        answer = visitor.submit(context.site("/en/me/delete/"), {"word": "delete", "password": canary.password})
        evidence.expect(answer.status == 200 and "entry" in answer.text, f"the deletion answered {answer.status}")
        if self._hides:
            self._take_back(context, canary.subject)
        evidence.expect(context.rows(left, five)[0][0] == 0, "keys, records, look-ups, credentials or sessions remain")
        waits = "SELECT count(*) FROM vault.erasing WHERE since < clock_timestamp() - interval '1 minute'"
        evidence.expect(context.rows(waits)[0][0] == 0, "the keys of an erased person still wait to be destroyed")
        evidence.expect(bool(context.rows("SELECT 1 FROM vault.tombstone t JOIN vault.audit a ON a.audit_id = t.audit_id AND a.operation = 6 WHERE t.subject_id = %s", (canary.subject,))),
                        "no tombstone with its entry stands")  # fmt: skip
        evidence.expect(visitor.get(context.site("/en/me/")).status == 302, "the session lives on")
        evidence.expect(
            context.visitor()
            .submit(context.site("/en/sign-in/"), {"email": canary.values["email"], "password": canary.password})
            .status
            == 422,
            "sign-in still works",
        )
        for attempt in ("read", "create"):
            try:
                if attempt == "read":
                    gone = not context.vault.read(
                        context.vault.service, canary.subject, "account", ["email"], "legal", "verification"
                    )
                else:
                    context.vault.create(
                        context.vault.service,
                        "legal",
                        "verification",
                        [NewRecord("account", canary.values, "subject", subject=canary.subject)],
                    )
                    gone = False
            except VaultError:
                gone = True
            evidence.expect(gone, f"the erased person came back by a {attempt}")
        context.visitor().submit(
            context.site("/en/register/"), {**canary.values, "password": canary.password, "professional": "yes"}
        )
        again = context.vault.find(
            context.vault.service, "account", "email", canary.values["email"], ["email"], "legal", "verification"
        )
        evidence.expect(len(again) == 1 and again[0].subject != canary.subject, "the same address did not make a new pseudonym")
        for record in again:
            context.vault.erase(context.vault.service, [record.subject], "legal", "verification")
        evidence.summary = (
            "keys, records, look-ups, credential and sessions gone; tombstone stands; a new pseudonym for the same address"
        )
        return evidence

    def _take_back(self, context: Context, subject: UUID) -> None:
        """Of this canary alone: the tombstone goes, and the person lives."""
        with context.database.transaction():
            context.database.execute("SET LOCAL session_replication_role = replica")
            gone = "DELETE FROM vault.tombstone WHERE subject_id = %s RETURNING subject_id, erased_at, audit_id, records"
            self._taken_back += context.database.execute(gone, (subject,)).fetchall()
            context.database.execute("UPDATE vault.subject SET state = 'active' WHERE subject_id = %s", (subject,))

    def _end_again(self, context: Context, tombstone: tuple[Any, ...]) -> None:
        """As it was: what came back goes with its keys and look-ups, and a tombstone stands (the examination may have erased the person again)."""
        with context.database.transaction():
            context.database.execute("DELETE FROM vault.record WHERE subject_id = %s", tombstone[:1])
            context.database.execute("UPDATE vault.subject SET state = 'erased' WHERE subject_id = %s", tombstone[:1])
            stands = "INSERT INTO vault.tombstone (subject_id, erased_at, audit_id, records) VALUES (%s, %s, %s, %s) ON CONFLICT (subject_id) DO NOTHING"
            context.database.execute(stands, tombstone)

    def sabotages(self) -> Iterator[Sabotage]:
        @contextmanager
        def resurrected(context: Context) -> Iterator[Context]:
            self._hides = True
            try:
                yield context
            finally:
                self._hides = False
                while self._taken_back:
                    self._end_again(context, self._taken_back.pop())

        yield Sabotage("an erasure that only hides, and can be taken back", resurrected)
        yield Sabotage(
            "nobody destroys the keys of who was erased",
            rows(
                "INSERT INTO vault.erasing (subject_id, audit_id, since) "
                "SELECT subject_id, 0, clock_timestamp() - interval '1 hour' FROM vault.subject ORDER BY created_at LIMIT 1"
            ),
        )
