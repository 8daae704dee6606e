"""6a.6: what has expired is deleted: by its period, by the job, and for good."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from armonika.settings import CHECKOUT
from armonika.trust.audit import certificate
from armonika.trust.keys import Keyring
from armonika.trust.vault.errors import VaultError
from armonika.trust.vault.types import NewRecord
from armonika.verify import places
from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.http import Answer
from armonika.verify.retained import edge, overdue
from armonika.verify.sabotage import Plant
from armonika.verify.scan import Scanner, pieces

JOB = [sys.executable, "-m", "armonika.doors.cli.main"]
MOMENT = timedelta(microseconds=1)
TABLES = ("record", "data_key", "lookup")
_LENGTHENED = (
    "SET LOCAL session_replication_role = replica",
    "UPDATE vault.declared_retention SET days = days * 2 WHERE class = 'demo_year'",
)


class Claim:
    """Somebody asks for a demo on the page, somebody registers there. Their periods are made to have passed to the microsecond (the beginnings are moved
    back, no clock is), beside records that end a moment later or that the law locks; then the job is run. Row, key and look-up must be gone, nothing
    must open or be found, no canary may stand in any file and no key beside what it opens, the certificate must verify offline, and nothing overdue may be left in the whole system."""

    claim, hours = "6a.6", 24
    after: Callable[[Context, UUID, UUID], None] | None = None
    older: timedelta = timedelta(0)
    lengthened: bool = False
    sweeps: bool = True
    places: tuple[Path, ...] = ()
    decoy: bytes = secrets.token_bytes(32)
    sent: dict[str, str] | None = None

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        zone = ZoneInfo(context.policy.time_zone)
        today = datetime.now(zone).date()
        try:
            self._examine(context, evidence)
        finally:
            context.rows(
                "DELETE FROM vault.record WHERE subject_id IN (SELECT subject_id FROM vault.subject WHERE kind = 'canary') RETURNING 1"
            )
            context.rows("DELETE FROM vault.subject WHERE kind = 'canary' RETURNING 1")
        if datetime.now(zone).date() != today:
            raise CannotProbe("it became midnight while this was tried: what is due changed; try again")
        return evidence

    def _examine(self, context: Context, evidence: Evidence) -> None:
        demo, values = self._demo(context)
        member = context.member()
        (account,) = context.vault.read(context.vault.service, member.subject, "account", ["name"], "legal", "verification")
        context.vault.event(context.vault.service, member.subject, account.record, "legal", "verification")
        (beside,) = context.vault.create(
            context.vault.service, "legal", "verification", [NewRecord("demo", values | {"email": f"{context.token().lower()}@canary.example"}, "subject", subject=member.subject)]
        )  # fmt: skip
        edges = {name: edge(context, name) for name in ("demo", "account", "billing_profile", "traffic")}
        self._begin(context, demo[1], edges["demo"] - MOMENT - self.older)
        self._begin(context, beside.record, edges["demo"])
        self._begin(context, account.record, edges["account"])
        locked = [self._locked(context, name, edges[name]) for name in ("billing_profile", "traffic")]
        if self.after:
            for table in TABLES:
                context.database.execute(
                    f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM vault.{table} WHERE record_id = '{demo[1]}'".encode()
                )
        evidence.control = (
            self._left(context, demo[1]) >= 3
            and len(
                context.vault.find(context.vault.service, "demo", "email", values["email"], ["email"], "legal", "verification")
            )
            == 1
        )

        evidence.expect(self._job() is not None, "the job does not run")
        if self.after:
            self.after(context, demo[1], beside.record)
        evidence.expect(self._left(context, demo[1]) == 0, "the row, its key or its look-ups are still there")
        self._refused(context, evidence, demo[0], values["email"])
        for record, what in (
            (beside.record, "of the same person"),
            (account.record, "account"),
            *((record, "locked by law") for record in locked),
        ):
            evidence.expect(self._left(context, record) >= 2, f"a record that is not due ended ({what})")
        try:
            opened = context.vault.read(context.vault.service, member.subject, "account", ["name"], "legal", "verification")
        except VaultError:
            opened = []
        evidence.expect(
            [row.values["name"] for row in opened] == [member.values["name"]], "what is not due does not open any more"
        )
        evidence.expect(
            bool(context.rows("SELECT 1 FROM vault.tombstone WHERE subject_id = %s", (demo[0],))),
            "a person of whom nothing is left has no tombstone",
        )
        again = self._job()
        evidence.expect((again or {}).get("ended") == 0, "a second run ended something more")
        with context.planted(*_LENGTHENED) if self.lengthened else nullcontext():
            self._classes(context, evidence)
        late = overdue(context)[1]
        evidence.expect(late == 0, f"{late} records are kept longer than their period and a day")
        held = self._certificate(context, evidence, demo)
        self._copies(context, evidence)
        files = self._sweep(context, evidence, values) if self.sweeps else 0
        context.vault.withdraw_event(context.vault.service, member.subject, account.record, "legal", "verification")
        with suppress(VaultError):
            context.vault.erase_records(context.vault.service, [(member.subject, beside.record)], "legal", "verification")
        evidence.summary = (
            f"the job ended the record and no other; its key, of {held}, is destroyed and certified; no canary in {files} files; nothing overdue. "
            "Copies end with the epoch. Not in it yet: objects and a search index (there are none), confirmations of processors (none is declared)"
        )

    def _demo(self, context: Context) -> tuple[tuple[UUID, UUID], dict[str, str]]:
        """A demo request of a canary, made on the page."""
        values = {
            "name": f"{context.token()} {context.token('arabic')}", "email": f"{context.token().lower()}@canary.example", "company": context.token("arabic"),
            "phone": "+2137" + "".join(secrets.choice("0123456789") for _ in range(16)), "role": context.token(),
        }  # fmt: skip
        self.sent = values
        answer = context.visitor().submit(context.site("/en/demo/"), values)
        if answer.status != 200:
            raise CannotProbe(f"the demo page answered {answer.status}")
        (found,) = context.vault.find(context.vault.service, "demo", "email", values["email"], ["email"], "legal", "verification")
        return (found.subject, found.record), values

    def _begin(self, context: Context, record: UUID, at: datetime) -> None:
        """Moves the beginning of a period, as the administrator: the recording and, where there is one, the event."""
        context.rows("UPDATE vault.record SET created_at = %s WHERE record_id = %s RETURNING 1", (at, record))
        context.rows("UPDATE vault.retention SET began_at = %s WHERE record_id = %s RETURNING 1", (at, record))

    def _locked(self, context: Context, dataset: str, at: datetime) -> UUID:
        """A record that the law locks until tomorrow. No page makes one yet: noise stands for values and key, of nobody."""
        subject, record = uuid4(), uuid4()
        number, compartment = context.rows("SELECT id, compartment FROM vault.dataset WHERE name = %s", (dataset,))[0]
        with context.database.transaction():
            context.database.execute("INSERT INTO vault.subject (subject_id, kind) VALUES (%s, 'canary')", (subject,))
            context.database.execute(
                "INSERT INTO vault.record (subject_id, record_id, dataset, created_at, present, versions, ciphertexts, origins, events) "
                "VALUES (%s, %s, %s, %s, 1, '{1}', ARRAY[%s::bytea], '{4}', '{1}')", (subject, record, number, at, secrets.token_bytes(64)),
            )  # fmt: skip
            context.database.execute(
                "INSERT INTO vault.data_key SELECT %s, %s, %s, max(epoch), 1, %s FROM vault.epoch WHERE compartment = %s AND state = 'active'",
                (subject, record, compartment, secrets.token_bytes(61), compartment),
            )
            context.database.execute("INSERT INTO vault.retention VALUES (%s, %s, %s, %s, 1)", (subject, record, number, at))
        return record

    def _job(self) -> dict[str, Any] | None:
        """The command that an operator would use; the same job as the worker's. What it did, or None when it could not run."""
        done = subprocess.run(
            [*JOB, "retention", "run", "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode not in (0, 1):
            return None
        found: dict[str, Any] = json.loads(done.stdout)["done"]
        return found

    def _left(self, context: Context, record: UUID) -> int:
        """Rows of a record: itself, its wrapped key, its look-ups."""
        statement = "SELECT (SELECT count(*) FROM vault.record WHERE record_id = %s) + (SELECT count(*) FROM vault.data_key WHERE record_id = %s) + (SELECT count(*) FROM vault.lookup WHERE record_id = %s)"
        return int(context.rows(statement, (record,) * 3)[0][0])

    def _refused(self, context: Context, evidence: Evidence, subject: UUID, email: str) -> None:
        try:
            opened: list[Any] = context.vault.read(context.vault.service, subject, "demo", ["name"], "legal", "verification")
        except VaultError:
            opened = []
        evidence.expect(not opened, "what has ended still opens")
        try:
            found: list[Any] = context.vault.find(
                context.vault.service, "demo", "email", email, ["email"], "legal", "verification"
            )
        except VaultError:
            found = []
        evidence.expect(not found, "what has ended is still found")

    def _classes(self, context: Context, evidence: Evidence) -> None:
        """The database counts with the days that the policy's text names, in each dataset."""
        rows = context.rows(
            "SELECT d.name, x.days, x.starts, x.locked, x.zone FROM vault.declared_retention x JOIN vault.dataset d ON d.id = x.dataset WHERE x.policy_id = vault.policy_in_force()"
        )
        known = {name: rest for name, *rest in rows}
        for dataset in context.policy.datasets:
            for field in dataset.fields:
                entry = context.policy.retention_of(field)
                evidence.expect(
                    known.get(dataset.name) == [entry.days, entry.starts, entry.locked, context.policy.time_zone],
                    f"the database keeps {dataset.name} by another period than the policy",
                )
        strays = context.rows("SELECT count(*) FROM vault.record r WHERE NOT EXISTS (SELECT FROM vault.declared_retention x WHERE x.dataset = r.dataset AND x.policy_id = vault.policy_in_force())")  # fmt: skip
        evidence.expect(strays[0][0] == 0, f"{strays[0][0]} records have no period")

    def _certificate(self, context: Context, evidence: Evidence, demo: tuple[UUID, UUID]) -> str:
        """The certificate of the end, made of the sealed log and verified with nothing but the log's key. Returns compartment and epoch."""
        states = {
            (line.compartment, line.epoch): str(line.state) for line in Keyring.open(context.settings.keys).epochs.inventory()
        }
        log = context.settings.audit_log
        text = ""
        for _ in range(50):
            try:
                text = certificate.make(log, demo[0], states, demo[1])
                break
            except (certificate.NoErasure, OSError):
                time.sleep(0.2)
        try:
            found = certificate.verify(text, (log / "log.vkey").read_text())
        except Exception as error:
            evidence.expect(False, f"there is no certificate that verifies: {error}")
            return "no epoch"
        keys = [key for key in found.keys if key["record"] == str(demo[1])]
        entry = found.proven.entry
        evidence.expect(
            len(keys) == 1 and keys[0]["epoch"] >= 1 and bool(keys[0]["compartment"]),
            "the certificate does not name the key's epoch",
        )
        evidence.expect(
            (entry["reason"], entry["purpose"], entry["actor_role"]) == ("retention", "legal", "retention"),
            "the entry names another reason",
        )
        return f"{keys[0]['compartment']}/{keys[0]['epoch']}" if keys else "no epoch"

    def _copies(self, context: Context, evidence: Evidence) -> None:
        """Neither the database's files nor a backup hold what opens a wrapped key: a copy of the two together would open what has ended."""
        # Of what ended here it is the compartment of demo requests; of everything that has ended anywhere it is each: looked for once a run.
        named = context.policy.compartments if self.sweeps else ("prospects",)
        held = Keyring.open(context.settings.keys).credentials("verifier", dict.fromkeys(named, "full")).compartments.values()
        secret = [part for keys in held for epoch in keys.epochs.values() for part in (epoch.kek, epoch.private) if part] + [
            self.decoy
        ]
        forms = [form for key in secret for form in (key, base64.b64encode(key), key.hex().encode())]
        for folder in {*(places.server(context) or [context.settings.postgres]), places.backups(context)}:
            for path in sorted(folder.rglob("*")) if folder.exists() else ():
                try:
                    if path.is_file() and not path.is_symlink():
                        found = any(form in piece for piece in pieces(path, max(map(len, forms))) for form in forms)
                        evidence.expect(not found, f"{path} holds the key of what it keeps")
                except OSError:
                    continue

    def _sweep(self, context: Context, evidence: Evidence, values: dict[str, str]) -> int:
        """No canary in any file of the installation, backups among them, and a planted token found in the same pass."""
        context.database.execute("CHECKPOINT")
        tokens = [part for value in values.values() for part in value.replace("@canary.example", "").split()]
        control = context.token()
        planted = context.settings.run / f"positive-control-{secrets.token_hex(4)}"
        planted.write_bytes(b"\x00" + control.encode("utf-16-le") + b"\n" + control.encode().hex().encode())
        scanner = Scanner([*tokens, control])
        try:
            found = list(scanner.files_below(self.places or places.own(context)))
        finally:
            planted.unlink(missing_ok=True)
        evidence.control = evidence.control and len([path for path, token, _ in found if token == control]) >= 2
        leaks = sorted({f"{path} ({name})" for path, token, name in found if token != control})
        evidence.expect(not leaks, f"a canary stands in {leaks[:3]}")
        return scanner.files

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage("a row that is only hidden", self._altered(after=_put_back("record")))
        yield Sabotage("a wrapped key that was kept", self._altered(after=_put_back("data_key")))
        yield Sabotage("a look-up that was kept", self._altered(after=_put_back("lookup")))
        yield Sabotage("a record that ended early", self._altered(after=_early))
        yield Sabotage("a period that is longer in the database than in the policy", self._altered(lengthened=True))
        yield Sabotage("the job stopped, and something is overdue", self._stopped)
        yield Sabotage("a backup with the key", self._with_key)
        yield Sabotage("a canary in a log", self._leak)

    @contextmanager
    def _with_key(self, context: Context) -> Iterator[Context]:
        """A backup that a key was put into; one that opens nothing."""
        path = places.backups(context) / "sabotage.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._altered(decoy=secrets.token_bytes(32))(context):
            path.write_bytes(b'{"kek": "' + base64.b64encode(self.decoy) + b'"}')
            try:
                yield context
            finally:
                path.unlink()

    def _altered(self, **changed: Any) -> Plant:
        """What happens in one examination beside what should. The files are searched where that is the point."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            before = {name: getattr(self, name) for name in changed} | {"sweeps": self.sweeps}
            for name, value in ({"sweeps": False} | changed).items():
                setattr(self, name, value)
            try:
                yield context
            finally:
                for name, value in before.items():
                    setattr(self, name, value)
                _tidy(context)

        return planted

    @contextmanager
    def _stopped(self, context: Context) -> Iterator[Context]:
        """The job's secret is withdrawn: neither the worker's job nor the command can act."""
        living = context.rows(
            "SELECT secret_hash FROM vault.session WHERE kind = 'service' AND door = 'retention' AND revoked_at IS NULL"
        )
        context.rows(
            "UPDATE vault.session SET revoked_at = clock_timestamp() WHERE secret_hash = ANY (%s) RETURNING 1",
            ([row[0] for row in living],),
        )
        try:
            with self._altered(older=timedelta(days=2))(context):
                yield context
        finally:
            context.rows(
                "UPDATE vault.session SET revoked_at = NULL WHERE secret_hash = ANY (%s) RETURNING 1",
                ([row[0] for row in living],),
            )
            self._job()

    @contextmanager
    def _leak(self, context: Context) -> Iterator[Context]:
        """The request of the examination that follows is written to a log on its way."""
        path = context.settings.logs / "sabotage.log"
        # The whole home takes long to read; where the control is planted and where the leak is are enough to see it.
        self.places = (context.settings.logs, context.settings.run)

        def route(url: str, answer: Answer) -> Answer:
            if "/demo/" in url and self.sent:
                path.write_text(json.dumps(self.sent, ensure_ascii=False))
            return answer

        try:
            with context.altered(route) as altered:
                yield altered
        finally:
            self.places = ()
            path.unlink(missing_ok=True)


def _put_back(table: str) -> Callable[[Context, UUID, UUID], None]:
    def put(context: Context, ended: UUID, early: UUID) -> None:
        del ended, early
        context.database.execute("SET session_replication_role = replica")
        try:
            context.database.execute(f"INSERT INTO vault.{table} SELECT * FROM kept_{table}".encode())
        finally:
            context.database.execute("RESET session_replication_role")

    return put


def _early(context: Context, ended: UUID, early: UUID) -> None:
    del ended
    context.rows("DELETE FROM vault.record WHERE record_id = %s RETURNING 1", (early,))


def _tidy(context: Context) -> None:
    """Nothing that was put back stays."""
    for table in TABLES:
        if context.rows("SELECT 1 FROM pg_tables WHERE tablename = %s AND schemaname LIKE 'pg_temp%%'", (f"kept_{table}",)):
            context.database.execute("SET session_replication_role = replica")
            try:
                context.database.execute(
                    f"DELETE FROM vault.{table} WHERE record_id IN (SELECT record_id FROM kept_{table})".encode()
                )
            finally:
                context.database.execute("RESET session_replication_role")
            context.database.execute(f"DROP TABLE kept_{table}".encode())
