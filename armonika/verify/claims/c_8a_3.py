"""8a.3: an erasure destroys the keys, and the person does not come back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from armonika.trust.vault.errors import VaultError
from armonika.trust.vault.types import NewRecord
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import Plant, rows

FILE = "ended.jsonl"
MOST_SECONDS = 10.0
"""How long an erasure may wait for its line in the register."""
LASTING = ("subject", "tombstone", "ended", "audit", "staff_end", "access_review", "administrator_entry", "administrator_seen")
"""Tables that say under a pseudonym that somebody was here, and ended."""


class Claim:
    """A canary deletes the account on its page: no key, record, look-up, credential or session remains, nothing names the pseudonym but what says that it
    ended, a tombstone stands, the signed register outside the database has the erasure and every other, nothing that it names is there, sign-in and reads are refused,
    a replayed write does not bring the person back, and the same address makes a new pseudonym."""

    claim, hours = "8a.3", 24

    def __init__(self) -> None:
        self._hides = False
        """Planted: an erasure that can be taken back."""
        self._taken_back: list[tuple[Any, ...]] = []
        self._remembers = False
        """Planted: a table of pseudonyms."""
        self.cut: Callable[[set[int]], set[int]] = set
        """Planted: which lines of the register are seen."""
        self.most_seconds = MOST_SECONDS

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
        if self._remembers:
            context.database.execute("INSERT INTO vault.sabotage VALUES (%s)", (canary.subject,))
        self._traces(context, evidence, canary.subject)
        self._registered(context, evidence, canary.subject)
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

    def _traces(self, context: Context, evidence: Evidence, subject: UUID) -> None:
        """No table but those that say that somebody was here and ended names the pseudonym, whatever its columns are called."""
        columns = context.rows(
            "SELECT c.oid::regclass::text, a.attname, a.atttypid = 'uuid'::regtype FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND (c.relnamespace = 'vault'::regnamespace AND a.atttypid = 'uuid'::regtype AND c.relname <> ALL (%s) "
            "AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) OR c.relnamespace = 'jobs'::regnamespace AND a.atttypid IN ('jsonb'::regtype, 'text'::regtype, 'varchar'::regtype))",
            (list(LASTING),),
        )  # fmt: skip
        found = {
            str(table)
            for table, column, whole in columns
            if context.rows(f'SELECT 1 FROM {table} WHERE {"" if whole else "strpos("}"{column}"{" = %s::uuid" if whole else "::text, %s) > 0"} LIMIT 1', (str(subject),))
        }  # fmt: skip
        evidence.expect(len(columns) > 10, "no table was looked through")
        evidence.expect(not found, f"the pseudonym still stands in {sorted(found)}")

    def _registered(self, context: Context, evidence: Evidence, subject: UUID) -> None:
        """The erasure is in the signed register outside the database within seconds, and so is every other: without it a restored copy brings the person back."""
        path, end = context.settings.audit_log / FILE, time.monotonic() + self.most_seconds
        numbers = {number for (number,) in context.rows("SELECT ended_no FROM vault.ended WHERE subject_id = %s", (subject,))}
        while not numbers <= (named := self.cut(register(path))) and time.monotonic() < end:
            time.sleep(0.2)
        evidence.expect(len(numbers) >= 2 and numbers <= named, "the register outside the database does not name the erasure: a restored copy would bring the person back")  # fmt: skip
        waits = "SELECT count(*) FROM vault.ended WHERE NOT registered AND at < clock_timestamp() - interval '1 minute'"
        evidence.expect(context.rows(waits)[0][0] == 0, "an end waits to be written to the register")
        missing = [
            number for (number,) in context.rows("SELECT ended_no FROM vault.ended WHERE registered") if number not in named
        ]
        evidence.expect(not missing, f"the register lacks line {missing[:1]}, which was written once")
        evidence.expect(
            not self._back(context, path), "somebody or something that the register names as ended stands in the database again"
        )

    def _back(self, context: Context, path: Path) -> bool:
        """Whether a record that ended, or any of a person of whom nothing was kept, is there: a superuser can put back what a copy still has. Who is still
        being destroyed, in pages, is judged by how long that takes."""
        lines = (json.loads(raw) for raw in (path.read_bytes().splitlines() if path.exists() else ()))
        while page := list(islice(lines, 10_000)):
            pairs = [(line["subject"], line["record"]) for line in page if line["record"]]
            people = [line["subject"] for line in page if not line["record"] and not line.get("kept")]
            if context.rows(
                "SELECT 1 FROM unnest(%s::uuid[], %s::uuid[]) AS i (subject, record) WHERE EXISTS (SELECT FROM vault.record r WHERE r.subject_id = i.subject AND r.record_id = i.record) "
                "OR EXISTS (SELECT FROM vault.data_key k WHERE k.subject_id = i.subject AND k.record_id = i.record) UNION ALL "
                "SELECT 1 FROM unnest(%s::uuid[]) AS i (subject) WHERE NOT EXISTS (SELECT FROM vault.erasing x WHERE x.subject_id = i.subject) AND (NOT EXISTS (SELECT FROM vault.tombstone t WHERE t.subject_id = i.subject) "
                "OR EXISTS (SELECT FROM vault.record r WHERE r.subject_id = i.subject) OR EXISTS (SELECT FROM vault.lookup l WHERE l.subject_id = i.subject) OR EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = i.subject)) LIMIT 1",
                ([subject for subject, _ in pairs], [record for _, record in pairs], people),
            ):  # fmt: skip
                return True
        return False

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
            "a register that nobody writes any more", self._cut(lambda named: {n for n in named if n < max(named) - 1})
        )
        yield Sabotage("a register that lost its beginning", self._cut(lambda named: named - {min(named)}))
        yield Sabotage("a table that still names the person", self._named)
        yield Sabotage(
            "a record that ended was put back from a copy",
            rows(
                "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) "
                "SELECT e.subject_id, e.record_id, d.id, 0, '{}', '{}', '{}', '{}' FROM vault.ended e JOIN vault.subject s ON s.subject_id = e.subject_id, "
                "(SELECT min(id) AS id FROM vault.dataset) d WHERE e.registered AND e.record_id IS NOT NULL ORDER BY e.ended_no LIMIT 1"
            ),
        )
        yield Sabotage(
            "a person who was erased lives again",
            rows(
                "SET LOCAL session_replication_role = replica",
                "DELETE FROM vault.tombstone WHERE subject_id = (SELECT subject_id FROM vault.ended WHERE registered AND record_id IS NULL AND kept = 0 ORDER BY ended_no LIMIT 1)",
                "SET LOCAL session_replication_role = origin",
            ),
        )
        yield Sabotage(
            "nobody destroys the keys of who was erased",
            rows(
                "INSERT INTO vault.erasing (subject_id, audit_id, since) "
                "SELECT subject_id, 0, clock_timestamp() - interval '1 hour' FROM vault.subject ORDER BY created_at LIMIT 1"
            ),
        )

    def _cut(self, change: Callable[[set[int]], set[int]]) -> Plant:
        """The register as if lines were not in it."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            self.cut, self.most_seconds = change, 2.0
            try:
                yield context
            finally:
                self.cut, self.most_seconds = set, MOST_SECONDS

        return planted

    @contextmanager
    def _named(self, context: Context) -> Iterator[Context]:
        """A list of pseudonyms that nobody thought of."""
        context.database.execute("CREATE TABLE vault.sabotage (whom uuid)")
        self._remembers = True
        try:
            yield context
        finally:
            self._remembers = False
            context.database.execute("DROP TABLE vault.sabotage")


def register(path: Path) -> set[int]:
    """Numbers of the lines of the register, as far as each follows the one before."""
    numbers: set[int] = set()
    before = ""
    for raw in path.read_bytes().splitlines() if path.exists() else ():
        content = json.loads(raw)
        if content["prev"] != before:
            return numbers
        before = hashlib.sha256(raw).hexdigest()
        numbers.add(int(content["n"]))
    return numbers
