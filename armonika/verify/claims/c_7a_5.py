"""7a.5: every use is in a log that shows any change of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg

from armonika.trust.audit.verify import last_cosigned, own_vkey, verify
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.crypto import ed25519_public
from armonika.trust.keys import Keyring
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import rows

READS = 7


class Claim:
    """Reads and their entries are counted against each other; the whole log is recomputed from its files and compared with the database;
    changing a row is refused; entries name nobody."""

    claim, hours = "7a.5", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        canary = context.member()
        count = "SELECT count(*) FROM vault.audit WHERE subject = %s AND operation = 1 AND door = 'verifier'"
        before = context.rows(count, (canary.subject,))[0][0]
        for _ in range(READS):
            context.vault.read(context.vault.service, canary.subject, "account", ["email"], "legal", "verification")
        evidence.expect(context.rows(count, (canary.subject,))[0][0] == before + READS, "reads and entries do not count the same")
        self._sealed(context)
        folder, witnessed = context.settings.audit_log, last_cosigned(context.settings.home / "witness")
        own = own_vkey(folder, ed25519_public(Keyring.open(context.settings.keys).log_key()))
        report = verify(folder, own, DatabaseRows(context.database).rows, witnessed=witnessed)
        evidence.examined += report.entries
        evidence.failures += report.findings
        for statement in (
            "DELETE FROM vault.audit WHERE false",
            "UPDATE vault.audit SET reason = 0 WHERE false",
            "DELETE FROM vault.leaf WHERE false",
        ):
            evidence.expect(self._refused(context, statement), f"not refused: {statement}")
        (text,) = context.rows(
            "SELECT coalesce(string_agg(a::text, ' '), '') FROM vault.audit a WHERE a.subject = %s", (canary.subject,)
        )[0]
        named = [value for value in canary.values.values() if value in text]
        evidence.expect(not named, "an entry names the person")
        evidence.control = str(canary.subject) in text
        evidence.summary = f"{report.entries} entries recomputed and compared; {READS} reads, {READS} entries"
        return evidence

    def _sealed(self, context: Context) -> None:
        """Waits until the sealer has caught up (it seals every second)."""
        for _ in range(100):
            if not context.rows(
                "SELECT 1 FROM vault.audit a WHERE NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = a.audit_id) AND a.at < clock_timestamp() - interval '2 s' LIMIT 1"
            ):
                return
            time.sleep(0.1)

    def _refused(self, context: Context, statement: str) -> bool:
        try:
            with context.undone():
                context.database.execute(statement.encode())
        except psycopg.Error:
            return True
        return False

    def sabotages(self) -> Iterator[Sabotage]:
        # Triggers are silenced for this transaction only, without a lock that would stop the running system.
        free = "SET LOCAL session_replication_role = replica"
        some = "(SELECT audit_id FROM vault.leaf WHERE leaf_no = 3)"
        guarded = "SET LOCAL session_replication_role = origin"
        yield Sabotage("an entry is deleted", rows(free, f"DELETE FROM vault.audit WHERE audit_id = {some}", guarded))
        yield Sabotage(
            "an entry is altered",
            rows(free, f"UPDATE vault.audit SET actor = gen_random_uuid() WHERE audit_id = {some}", guarded),
        )
        yield Sabotage("the guard against changes is taken away", rows(free))
