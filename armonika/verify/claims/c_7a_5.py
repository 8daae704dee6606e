"""7a.5: every use is in a log that shows any change of itself."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg

from armonika.trust.audit.verify import own_vkey, verify
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.crypto import ed25519_public
from armonika.trust.keys import Keyring
from armonika.verify import accounted, witnessed
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import Plant, rows

READS = 7
MOST_SECONDS = 10.0
"""How long an entry may wait for its leaf, and a checkpoint for the witness."""
ONLY_ADDED = (
    "audit", "leaf", "tombstone", "policy_version", "declared_retention", "staff_end", "access_review", "administrator_entry", "administrator_seen",
)  # fmt: skip


class Claim:
    """Calls of each kind at three doors, and reads that are committed, are counted against their entries; each entry is sealed within seconds and the
    witness, whose key is not the log's, has cosigned it; the whole log is recomputed from its files, compared with the database and with what the witness
    saw before; no entry stands beside the log; changing one is refused in every partition; entries name nobody."""

    claim, hours = "7a.5", 24
    most_seconds: float = MOST_SECONDS
    log: Path | None = None
    witness: Path | None = None
    """Planted: other folders in the place of the log's and the witness's."""

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        gaps = DatabaseRows(context.database).gaps()
        evidence.expect(not gaps, "; ".join(gaps))
        if gaps:
            # Nobody can be registered where no entry can be written, and the claim is false whatever else there is.
            return evidence
        canary = context.member()
        count = "SELECT count(*) FROM vault.audit WHERE subject = %s AND operation = 1 AND door = 'verifier'"
        before = context.rows(count, (canary.subject,))[0][0]
        for _ in range(READS):
            context.vault.read(context.vault.service, canary.subject, "account", ["email"], "legal", "verification")
        evidence.expect(context.rows(count, (canary.subject,))[0][0] == before + READS, "reads and entries do not count the same")
        entries = accounted.counted(context, evidence)
        evidence.expect(self._sealed(context), f"entries wait longer than {MOST_SECONDS:.0f} s for their leaf: nothing seals")
        self._log(context, evidence)
        self._guards(context, evidence)
        (text,) = context.rows(
            "SELECT coalesce(string_agg(a::text, ' '), '') FROM vault.audit a WHERE a.subject = %s", (canary.subject,)
        )[0]
        named = [value for value in canary.values.values() if value in text]
        evidence.expect(not named, "an entry names the person")
        evidence.control = str(canary.subject) in text and entries > READS
        return evidence

    def _log(self, context: Context, evidence: Evidence) -> None:
        """The log's files against its key, the database, and what the witness kept."""

        folder, witness = self.log or context.settings.audit_log, self.witness or context.settings.home / "witness"
        vkey = own_vkey(folder, ed25519_public(Keyring.open(context.settings.keys).log_key()))
        kept = witness / f"{hashlib.sha256(vkey.split('+', 1)[0].encode()).hexdigest()}.checkpoint"
        evidence.expect(kept.exists(), "the witness keeps no checkpoint of this log")
        older = kept.read_bytes() if kept.exists() else None
        database = DatabaseRows(context.database)
        ((least,),) = context.rows("SELECT size FROM vault.seal_state")
        end = time.monotonic() + self.most_seconds
        while (fault := witnessed.cosigned(folder, vkey, witness, int(least))) and time.monotonic() < end:
            time.sleep(0.2)
        evidence.expect(not fault, f"the checkpoint {fault}")
        report = verify(folder, vkey, database.rows, witnessed=older, beyond=database.beyond)
        evidence.examined += report.entries
        evidence.failures += report.findings
        evidence.summary = f"{report.entries} entries recomputed, compared with the database and with what the witness saw; {READS} reads, {READS} entries"

    def _guards(self, context: Context, evidence: Evidence) -> None:
        """What is only added to: a guard before every change, in each partition too, and a try."""
        tables = context.rows(
            "SELECT c.oid::regclass::text, EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgfoid = 'vault.keep'::regproc AND t.tgenabled IN ('O', 'A') "
            "AND t.tgtype::int & 2 = 2 AND t.tgtype::int & 1 = 0 AND t.tgtype::int & 56 = 56 AND t.tgqual IS NULL) "
            "FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p') "
            "AND (c.relname = ANY (%s) OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = 'vault.audit'::regclass))", (list(ONLY_ADDED),),
        )  # fmt: skip
        evidence.expect(len(tables) > len(ONLY_ADDED), "tables that are only added to are not there")
        for table, guarded in tables:
            evidence.expect(guarded, f"{table} has no guard against changes")
            evidence.expect(refused(context, f"DELETE FROM {table} WHERE false"), f"not refused: a deletion from {table}")
        for statement in ("UPDATE vault.audit SET reason = 0 WHERE false", "UPDATE vault.leaf SET leaf_hash = '' WHERE false"):
            evidence.expect(refused(context, statement), f"not refused: {statement}")

    def _sealed(self, context: Context) -> bool:
        """Waits until every entry of this moment is a leaf (it is sealed each second). What a planted state adds is not committed, and no sealer sees it."""
        ((newest,),) = context.rows("SELECT max(audit_id) FROM vault.audit")
        others = "true" if context.idle else "a.xact <> pg_current_xact_id()"
        waiting = (
            "SELECT 1 FROM vault.audit a, vault.seal_state s WHERE a.audit_id > s.settled AND a.audit_id <= %s "
            f"AND {others} AND NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = a.audit_id) LIMIT 1"
        )
        end = time.monotonic() + self.most_seconds
        while context.rows(waiting, (newest,)):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def sabotages(self) -> Iterator[Sabotage]:
        # Triggers are silenced for this transaction only, without a lock that would stop the running system.
        free = "SET LOCAL session_replication_role = replica"
        some = "(SELECT audit_id FROM vault.leaf WHERE leaf_no = 3)"
        guarded = "SET LOCAL session_replication_role = origin"

        def without(function: str, words: str, instead: str) -> Plant:
            return rows(
                f"DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('{function}'::regproc), $y${words}$y$, $y${instead}$y$); END $x$"
            )

        yield Sabotage("an entry is deleted", rows(free, f"DELETE FROM vault.audit WHERE audit_id = {some}", guarded))
        yield Sabotage(
            "an entry is altered",
            rows(free, f"UPDATE vault.audit SET actor = gen_random_uuid() WHERE audit_id = {some}", guarded),
        )
        yield Sabotage(
            "an entry is put in behind the sealer",
            rows(
                "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, fields, purpose, reason, policy_id) "
                "SELECT -1, clock_timestamp(), '3'::xid8, operation, granted, door, actor, role, fields, purpose, reason, policy_id FROM vault.audit LIMIT 1"
            ),
        )
        yield Sabotage("the guard against changes is taken away", rows(free))
        off = "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'keep' AND tgrelid = (SELECT max(inhrelid::regclass::oid) FROM pg_inherits WHERE inhparent = 'vault.audit'::regclass)"
        yield Sabotage("the guard of one partition is taken away", rows(off))
        # In the catalogue alone: a real one would hold the table, and with it the running system, until it is taken back.
        detached = "DELETE FROM pg_inherits WHERE inhparent = 'vault.audit'::regclass AND inhrelid = (SELECT tableoid FROM vault.audit ORDER BY audit_id LIMIT 1)"
        yield Sabotage("a partition is taken out of the log", rows(detached))
        yield Sabotage(
            "every other use is written down",
            without("vault.note", "INSERT INTO vault.audit", "IF n % 2 = 0 THEN RETURN n; END IF; INSERT INTO vault.audit"),
        )
        yield Sabotage(
            "a door whose reads leave nothing",
            without("vault.ask", "WHERE j.id IS NOT NULL", "WHERE j.id IS NOT NULL AND here <> 'api'"),
        )
        yield Sabotage("refusals are not written down", without("vault.ask", "WHERE j.id IS NOT NULL", "WHERE j.verdict = 0"))
        later = (
            "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, fields, purpose, reason, policy_id) "
            "SELECT max(audit_id) OVER () + 1000000, at - interval '1 minute', '3'::xid8, operation, granted, door, actor, role, fields, purpose, reason, policy_id FROM vault.audit LIMIT 1"
        )
        yield Sabotage("nothing seals", self._planted(lambda context, folder: None, later))
        yield Sabotage("a checkpoint that stands still", self._planted(witnessed.still))
        yield Sabotage("a witness that has not seen the newest checkpoint", self._planted(witnessed.unseen))
        yield Sabotage("a witness with the log's own key", self._planted(witnessed.own_key))
        yield Sabotage("a log that is shorter than what the witness saw", self._planted(witnessed.shorter))

    def _planted(self, change: Callable[[Context, Path], None], *statements: str) -> Plant:
        """The log and what the witness shows of itself, through a folder in which one of them is changed; nothing is waited for long."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            with tempfile.TemporaryDirectory() as place, context.planted(*statements) if statements else nullcontext():
                self.log, self.witness, self.most_seconds = Path(place) / "log", Path(place) / "witness", 2.0
                self.log.symlink_to(context.settings.audit_log)
                shutil.copytree(context.settings.home / "witness", self.witness, ignore=shutil.ignore_patterns(".lock", "*.key"))
                change(context, Path(place))
                try:
                    yield context
                finally:
                    self.log = self.witness = None
                    self.most_seconds = MOST_SECONDS

        return planted


def refused(context: Context, statement: str) -> bool:
    """Whether the database refuses a statement, as the administrator."""
    try:
        with context.undone():
            context.database.execute(statement.encode())
    except psycopg.Error:
        return True
    return False
