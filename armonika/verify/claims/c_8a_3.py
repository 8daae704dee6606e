"""8a.3: an erasure destroys the keys, and the person does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from armonika.trust.vault.errors import VaultError
from armonika.trust.vault.types import NewRecord
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import rows


class Claim:
    """A canary deletes the account on its page: no key, record, look-up, credential or session remains, a tombstone stands, sign-in and reads are
    refused, a replayed write does not bring the person back, and the same address makes a new pseudonym."""

    claim, hours = "8a.3", 24
    after = ""

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
        if self.after:
            context.database.execute(self.after.encode(), (canary.subject,))
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

    def sabotages(self) -> Iterator[Sabotage]:
        @contextmanager
        def resurrected(context: Context) -> Iterator[Context]:
            context.database.execute("SET session_replication_role = replica")
            self.after = "WITH gone AS (DELETE FROM vault.tombstone WHERE subject_id = %s RETURNING subject_id) UPDATE vault.subject s SET state = 'active' FROM gone WHERE s.subject_id = gone.subject_id"
            try:
                yield context
            finally:
                self.after = ""
                context.database.execute(
                    "INSERT INTO vault.tombstone (subject_id, audit_id, records) SELECT a.subject, max(a.audit_id), 1 FROM vault.audit a JOIN vault.subject s ON s.subject_id = a.subject WHERE a.operation = 6 AND NOT EXISTS (SELECT FROM vault.tombstone t WHERE t.subject_id = a.subject) GROUP BY a.subject"
                )
                context.database.execute("DELETE FROM vault.record r USING vault.tombstone t WHERE t.subject_id = r.subject_id")
                context.database.execute(
                    "UPDATE vault.subject s SET state = 'erased' FROM vault.tombstone t WHERE t.subject_id = s.subject_id AND s.state <> 'erased'"
                )
                context.database.execute("RESET session_replication_role")

        yield Sabotage("an erasure that only hides, and can be taken back", resurrected)
        yield Sabotage(
            "nobody destroys the keys of who was erased",
            rows(
                "INSERT INTO vault.erasing (subject_id, audit_id, since) "
                "SELECT subject_id, 0, clock_timestamp() - interval '1 hour' FROM vault.subject ORDER BY created_at LIMIT 1"
            ),
        )
