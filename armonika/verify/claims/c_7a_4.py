"""7a.4: access is controlled: roles x purposes x datasets x operations, a second factor for staff, one person an account, and reviews."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from armonika.settings import CHECKOUT
from armonika.trust import crypto
from armonika.trust.keys import Keyring
from armonika.verify import access, administrator, keys_journal, rights, staff
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import Plant, rows

GRANTS = CHECKOUT / "armonika" / "store" / "sql" / "functions" / "grants.sql"
MOST_SINCE_REVIEW = timedelta(days=90)
DEFAULTS = (
    "admin", "administrator", "password", "changeme", "armonika", "123456", "12345678", "123456789012", "azerty", "qwerty", "letmein", "welcome", "secret",
    "Password123!", "admin123", "default", "root", "test", "demo", "guest",
)  # fmt: skip
READS = "SELECT verdict FROM vault.ask(ARRAY[%s::bytea], ARRAY[1]::smallint[], ARRAY[%s]::smallint[], ARRAY[%s]::smallint[], ARRAY[NULL]::text[], ARRAY[%s::uuid], ARRAY[NULL]::uuid[], ARRAY[%s]::smallint[], ARRAY[%s]::bigint[])"
FINDS = "SELECT ticket FROM vault.ask_find(%s, %s::smallint, %s::smallint, NULL, %s::smallint, %s::smallint, %s::int[], %s::bytea[], %s::bigint)"
CONSULTS = "SELECT vault.consult(%s, {operation}::smallint, %s::smallint, %s::smallint, NULL, %s)"
LISTS = {"describe": CONSULTS.format(operation=3), "accesses": CONSULTS.format(operation=16)}
ERASES = "SELECT record FROM vault.erase_records(%s, %s::smallint, %s::smallint, NULL, ARRAY[%s], ARRAY[%s])"
CORRECTS = "SELECT vault.correct(%s, %s::smallint, %s::smallint, NULL, %s, %s, 3::smallint, ARRAY[1]::smallint[], ARRAY[1], ARRAY[%s::bytea], '{}'::smallint[], '{}'::int[], '{}'::bytea[])"
CREATES = (
    "SELECT vault.create(%s, %s::smallint, %s::smallint, NULL, ARRAY[%s::uuid], ARRAY[NULL]::text[], ARRAY[NULL]::uuid[], ARRAY[%s::uuid], ARRAY[%s]::smallint[], ARRAY[1]::bigint[], "
    "ARRAY[3]::smallint[], ARRAY[1]::smallint[], ARRAY[%s]::int[], ARRAY[%s::bytea], ARRAY[1], ARRAY[%s::bytea], '{}'::int[], '{}'::smallint[], '{}'::int[], '{}'::bytea[], '{}'::text[])"
)


class Claim:
    """As each door's own role: no table, no function but its own, no way into another organisation. As each role of staff: nothing before the second
    factor, afterwards exactly the policy's cells. What the administrator did is told to those who look after it. As a synthetic member of staff at the
    console's pages: the password alone opens nothing, a code opens once, an ended appointment opens nothing. No account of two people, no default
    password, a review of the last 90 days."""

    claim, hours = "7a.4", 24
    skip = False
    planted = False
    alone = ""
    """Planted: what only the `catalogue` shows, or what is told of the `administrator`; the rest, which takes long, is not looked at again."""

    def __init__(self) -> None:
        self.good: set[tuple[bytes, bytes]] = set()
        """Passwords that are no default one: looked at once, for each try costs as much as a sign-in."""

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        self.planted = not context.idle
        with context.undone():
            told = self.alone in ("administrator", keys_journal.DROPPED)
            if not self.planted or told:
                administrator.told(context, evidence, keys_journal.UNTOLD if self.alone == keys_journal.DROPPED else ())
            doors = self._rights(context, evidence) if not told else 0
            if self.alone:
                return evidence
            functions = self._without_factor(context, evidence)
            cells, allowed = self._matrix(context, evidence)
            self._tenants(context, evidence)
            self._two_steps(context, evidence)
            self._accounts(context, evidence)
            self._review(context, evidence)
        if not self.planted:
            # The pages see what is committed alone: a planted state is not looked at through them.
            self._logins(context, evidence)
            self._journey(context, evidence)
        evidence.control = doors > 5 and functions > 10 and allowed > 0
        evidence.summary = (
            f"{doors} database roles, {functions} functions closed without a second factor, {cells} cells of which {allowed} open"
        )
        return evidence

    def _rights(self, context: Context, evidence: Evidence) -> int:
        """The server's own catalogue against the table of grants, and a try as each role."""
        declared = {name: set(held.split(",")) for name, held in re.findall(r"\('(\w+)', '\{([a-z,]+)\}'\)", GRANTS.read_text())}
        doors = [
            str(name)
            for (name,) in context.rows(
                "SELECT substr(rolname, 10) FROM pg_roles WHERE rolname LIKE 'armonika\\_%%' AND rolcanlogin", ()
            )
        ]
        passwords = Keyring.open(context.settings.keys).database_passwords()
        rights.compared(context, evidence, set(passwords))
        rights.rules(context, evidence)
        tables = [str(name) for (name,) in context.rows("SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace IN ('vault'::regnamespace, 'armonika_meta'::regnamespace, 'jobs'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm')")]  # fmt: skip
        for door in doors:
            role = f"armonika_{door}"
            for name, may in context.rows("SELECT p.proname, has_function_privilege(%s, p.oid, 'EXECUTE') FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace", (role,)):  # fmt: skip
                evidence.expect(may == (door in declared.get(str(name), ())), f"{role} {'may' if may else 'may not'} call {name}")
            with access.acting_as(context, door):
                for table in tables:
                    if door == "worker" and table.startswith("jobs."):
                        continue
                    state, _ = access.call(context, f"SELECT 1 FROM {table} LIMIT 1")
                    evidence.expect(state == "42501", f"{role} reads {table}")
        evidence.expect(
            bool(context.rows("SELECT 1 FROM vault.session LIMIT 1")),
            "the administrator reads no table: nothing was tried",
        )
        return len(doors)

    def _without_factor(self, context: Context, evidence: Evidence) -> int:
        roles = [role.name for role in context.policy.roles if role.kind == "staff"]
        known = access.names(context)
        functions = [entry for entry in access.callable_functions(context, "console") if entry[0] not in access.UNPROVEN_MAY]
        pending = {role: access.open_session(context, f"pending {role}", role, "console", usable=False) for role in roles}
        proven = {role: access.open_session(context, f"proven {role}", role, "console", usable=True) for role in roles}
        with access.acting_as(context, "console"):
            for role in roles:
                for name, signature, types in functions:
                    nothing = ", ".join(f"NULL::{kind}" for kind in types[1:])
                    statement = f"SELECT * FROM vault.{name}(%s{', ' + nothing if nothing else ''})"
                    state, _ = access.call(context, statement, (pending[role],))
                    evidence.expect(state == "AR401", f"{role} without a second factor: {signature} answered {state}")
                args = (
                    known.purposes["provide"],
                    known.reasons["provide"],
                    uuid4(),
                    known.datasets["staff"],
                    known.masks["staff", "name"],
                )
                _, without = access.call(context, READS, (pending[role], *args))
                _, with_it = access.call(context, READS, (proven[role], *args))
                evidence.expect(without == [(1,)], f"{role} without a second factor: a read is judged {without}")
                evidence.expect(with_it == [(3,)], f"{role} with a second factor: a read is judged {with_it}")
                state, who = access.call(context, "SELECT usable FROM vault.whoami(%s)", (pending[role],))
                evidence.expect(
                    state is None and who == [(False,)], f"{role}: the session does not say that the factor is missing"
                )
        return len(functions)

    def _matrix(self, context: Context, evidence: Evidence) -> tuple[int, int]:
        policy, known = context.policy, access.names(context)
        full = {name for name, mode in policy.doors["console"].items() if mode == "full"}
        granted = {
            (role, rule.purpose, rule.dataset, operation) for rule in policy.rules if rule.scope == "all" for role in rule.roles for operation in rule.operations
        }  # fmt: skip
        fields = {
            (role, rule.purpose, rule.dataset): [f.name for f in policy.dataset(rule.dataset).fields if "*" in rule.fields or f.name in rule.fields]
            for rule in policy.rules if rule.scope == "all" and "read" in rule.operations for role in rule.roles
        }  # fmt: skip
        subject, records = access.person(context)
        roles = [role.name for role in policy.roles if role.kind == "staff"]
        sessions = {role: access.open_session(context, f"matrix {role}", role, "console", usable=True) for role in roles}
        seen: dict[tuple[str, str, str, str], bool] = {}
        named = {
            (role, purpose): access.described(context, "console", sessions[role], known, purpose, subject)
            for role in roles
            for purpose in known.purposes
        }
        with access.acting_as(context, "console"):
            for role in roles:
                for purpose in (p.name for p in policy.purposes):
                    who = (sessions[role], known.purposes[purpose], known.reasons.get(purpose, 0))
                    described, listed = (
                        access.call(context, LISTS[name], (*who, subject))[0] is None for name in ("describe", "accesses")
                    )
                    locked = (
                        access.call(
                            context, "SELECT vault.restrict(%s, %s::smallint, %s::smallint, NULL, %s, true)", (*who, subject)
                        )[0]
                        is None
                    )
                    reviews = access.call(context, "SELECT vault.consult_staff(%s, %s::smallint, %s::smallint)", who)[0] is None
                    for whole, may in (("accesses", listed), ("restrict", locked), ("review", reviews)):
                        wanted = any((role, purpose, d.name, whole) in granted for d in policy.datasets)
                        evidence.expect(
                            may == wanted, f"{role}/{purpose}: {whole} is {'open' if may else 'refused'} against the policy"
                        )
                    for dataset in (d.name for d in policy.datasets):
                        number, cell = known.datasets[dataset], (role, purpose, dataset)
                        names = fields.get(cell, [policy.dataset(dataset).fields[0].name])
                        mask = sum(known.masks[dataset, name] for name in names)
                        _, verdict = access.call(context, READS, (*who, subject, number, mask))
                        seen[*cell, "read"] = verdict == [(0,)]
                        beyond = [f.name for f in policy.dataset(dataset).fields if f.name not in names]
                        if seen[*cell, "read"] and beyond:
                            _, wider = access.call(
                                context, READS, (*who, subject, number, mask | known.masks[dataset, beyond[0]])
                            )
                            evidence.expect(wider == [(2,)], f"{'/'.join(cell)}: {beyond[0]} opens too, against the policy")
                        index = "email" if (dataset, "email") in known.masks else policy.dataset(dataset).fields[0].name
                        ordinal, epochs = known.masks[dataset, index].bit_length(), known.epochs[dataset]
                        _, ticket = access.call(
                            context, FINDS, (*who, number, ordinal, epochs, [access.secret("nobody")] * len(epochs), mask)
                        )
                        seen[*cell, "find"] = ticket not in ([], [(None,)])
                        seen[*cell, "describe"] = described and number in named[role, purpose]
                        _, gone = access.call(context, ERASES, (*who, subject, records[dataset]))
                        seen[*cell, "erase"] = bool(gone)
                        seen[*cell, "correct"] = (
                            access.call(context, CORRECTS, (*who, subject, records[dataset], b"\x01x"))[0] is None
                        )
                        made = (*who, subject, uuid4(), number, epochs[-1], b"\x01wrapped", b"\x01x")
                        seen[*cell, "create"] = access.call(context, CREATES, made)[0] not in ("AR403", "AR401", "AR422")
        for (role, purpose, dataset, operation), may in seen.items():
            wanted = (role, purpose, dataset, operation) in granted
            if operation == "correct":
                wanted = wanted and policy.dataset(dataset).compartment in full
            evidence.expect(
                may == wanted, f"{role}/{purpose}/{dataset}: {operation} is {'open' if may else 'refused'} against the policy"
            )
        return len(seen), sum(seen.values())

    def _tenants(self, context: Context, evidence: Evidence) -> None:
        known = access.names(context)
        here, there = uuid4(), uuid4()
        context.database.execute("INSERT INTO vault.organisation (org_id) VALUES (%s), (%s)", (here, there))
        (colleague, _), (stranger, records) = access.person(context, here), access.person(context, there)
        members = [role.name for role in context.policy.roles if role.kind == "member"]
        for role in members:
            access.open_session(context, f"member {role}", role, "site", usable=True, org=here)
        with access.acting_as(context, "site"):
            for role in members:
                hashed = access.secret(f"member {role}")
                for purpose in (p.name for p in context.policy.purposes):
                    who = (hashed, known.purposes[purpose], known.reasons.get(purpose, 0))
                    for dataset in (d.name for d in context.policy.datasets):
                        mask = known.masks[dataset, context.policy.dataset(dataset).fields[0].name]
                        _, verdict = access.call(context, READS, (*who, stranger, known.datasets[dataset], mask))
                        evidence.expect(
                            verdict in ([(2,)], [(3,)]), f"{role} reads {dataset} of another organisation for {purpose}"
                        )
                        state = access.call(context, CORRECTS, (*who, stranger, records[dataset], b"\x01x"))[0]
                        evidence.expect(state is not None, f"{role} corrects {dataset} of another organisation for {purpose}")
                    evidence.expect(
                        access.call(context, LISTS["describe"], (*who, stranger))[0] is not None,
                        f"{role} lists another organisation's person for {purpose}",
                    )
                    for statement in (
                        LISTS["accesses"],
                        "SELECT vault.restrict(%s, %s::smallint, %s::smallint, NULL, %s, true)",
                        "SELECT 1 FROM vault.erase(%s, %s::smallint, %s::smallint, NULL, ARRAY[%s])",
                    ):
                        state, found = access.call(context, statement, (*who, stranger))
                        evidence.expect(
                            state is not None or not found, f"{role} reaches another organisation's person for {purpose}"
                        )
            args = (
                known.purposes["provide"],
                known.reasons["provide"],
                colleague,
                known.datasets["account"],
                known.masks["account", "name"],
            )
            _, verdict = access.call(context, READS, (access.secret("member admin"), *args))
            evidence.expect(verdict == [(0,)], "an administrator does not see the own organisation either: nothing was tried")

    def _two_steps(self, context: Context, evidence: Evidence) -> None:
        """A list opens for a ticket that is committed, of the same actor, and for no other: tried on the canary, and on a ticket that nobody committed."""
        known = access.names(context)
        subject, _ = access.person(context)
        officer, other = (
            access.open_session(context, label, "dpo", "console", usable=True) for label in ("list dpo", "other dpo")
        )
        with access.acting_as(context, "console"):
            ((ticket,),) = context.rows(LISTS["describe"], (officer, known.purposes["legal"], known.reasons["legal"], subject))
            state, _ = access.call(context, "SELECT * FROM vault.describe(%s, %s)", (officer, ticket))
        evidence.expect(state == "AR403", f"a list opened in the transaction that asked for it ({state})")
        ticket = access.committed(context, "console", officer, known, "legal", subject)
        for who, wanted in ((officer, None), (other, "AR403")):
            with access.acting_as(context, "console"):
                state, _ = access.call(context, "SELECT * FROM vault.describe(%s, %s)", (who, ticket))
            evidence.expect(
                state == wanted, f"a list answered {state} for the ticket of {'its own' if wanted is None else 'another'} actor"
            )
        if not self.planted:
            held = context.vault.describe(context.vault.service, context.member().subject, "legal", "verification")
            evidence.expect({one.dataset for one in held} == {"account"}, "the list of the canary is not what was registered")

    def _accounts(self, context: Context, evidence: Evidence) -> None:
        kind = context.policy.dataset("staff").subject
        held = context.rows(
            "SELECT c.subject_id, j.kind, (SELECT count(*) FROM vault.record r JOIN vault.dataset d ON d.id = r.dataset AND d.name = 'staff' WHERE r.subject_id = c.subject_id), "
            "(SELECT count(DISTINCT l.record_id) FROM vault.lookup l WHERE l.subject_id = c.subject_id AND l.sole), c.salt, c.check_hash, j.state "
            "FROM vault.credential c JOIN vault.role r ON r.id = c.role AND r.kind = 'staff' JOIN vault.subject j ON j.subject_id = c.subject_id"
        )  # fmt: skip
        pepper = Keyring.open(context.settings.keys).credentials("console", {}).pepper or b""
        for subject, subject_kind, records, addresses, salt, check_hash, state in held:
            evidence.expect(
                subject_kind == kind and records == 1 and addresses == 1 and state != "erased",
                f"the account {subject} is not one person's",
            )
            known = (bytes(salt), bytes(check_hash))
            if known not in self.good:
                proofs = (
                    hmac.digest(pepper, b"armonika/proof/1\0" + crypto.argon2id(word.encode(), known[0]), "sha256")
                    for word in DEFAULTS
                )
                if all(hashlib.sha256(proof).digest() != known[1] for proof in proofs):
                    self.good.add(known)
            evidence.expect(known in self.good, f"the account {subject} has a default password")
        for what, count in (
            ("credentials share a password", "SELECT count(*) - count(DISTINCT check_hash) FROM vault.credential"),
            ("sessions of staff are open without a proven second factor",
             "SELECT count(*) FROM vault.session s JOIN vault.role r ON r.id = s.role AND r.kind = 'staff' WHERE s.usable AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp() "
             "AND s.secret_hash <> ALL (%s) AND (s.kind <> 'session' OR s.second_at IS NULL OR NOT EXISTS (SELECT FROM vault.second_factor f WHERE f.subject_id = s.actor) "
             "OR NOT EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = s.actor AND c.role = s.role))"),
            ("ended appointments can sign in", "SELECT count(*) FROM vault.staff_end e WHERE e.ended_at < clock_timestamp() - interval '24 hours' AND (EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = e.subject_id) "
             "OR EXISTS (SELECT FROM vault.session s WHERE s.actor = e.subject_id AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()))"),
            ("ends left no entry", "SELECT count(*) FROM vault.staff_end e WHERE NOT EXISTS (SELECT FROM vault.audit a WHERE a.audit_id = e.audit_id AND a.operation = 42 AND a.subject = e.subject_id)"),
        ):  # fmt: skip
            own = (
                (
                    [
                        access.secret(f"{label} {role.name}")
                        for label in ("proven", "matrix", "list", "other")
                        for role in context.policy.roles
                    ],
                )
                if "%s" in count
                else ()
            )
            evidence.expect(context.rows(count, own) == [(0,)], f"{what}: {context.rows(count, own)[0][0]}")

    def _review(self, context: Context, evidence: Evidence) -> None:
        ((last, started),) = context.rows(
            "SELECT (SELECT max(at) FROM vault.access_review), (SELECT created_at FROM vault.installation)"
        )
        age = datetime.now(UTC) - (last or started)
        evidence.expect(age <= MOST_SINCE_REVIEW, f"the last review of access is {age.days} days old")
        reviewers = sorted({role for rule in context.policy.rules if "review" in rule.operations for role in rule.roles})
        stray = context.rows(
            "SELECT count(*) FROM vault.access_review v WHERE NOT EXISTS (SELECT FROM vault.audit a JOIN vault.role r ON r.id = a.role WHERE a.audit_id = v.audit_id "
            "AND a.operation = 41 AND a.granted AND a.actor = v.actor AND a.door = 'console' AND r.name = ANY (%s))", (reviewers,),
        )  # fmt: skip
        evidence.expect(stray == [(0,)], "a review has no entry of somebody who may review")
        evidence.expect(bool(reviewers), "nobody may review")

    def _logins(self, context: Context, evidence: Evidence) -> None:
        """Direct sign-ins at the database, over its own socket."""
        parts = conninfo_to_dict(context.database.info.dsn)
        place = make_conninfo(**{name: str(value) for name, value in parts.items() if name in ("host", "port", "dbname")})
        for door, password in Keyring.open(context.settings.keys).database_passwords().items():
            with psycopg.connect(place, user=f"armonika_{door}", password=password, autocommit=True) as own:
                for table in ("vault.record", "vault.session", "vault.second_factor"):
                    try:
                        own.execute(f"SELECT 1 FROM {table} LIMIT 1".encode())
                        evidence.expect(False, f"armonika_{door} reads {table}")
                    except psycopg.errors.InsufficientPrivilege:
                        evidence.expect(True, "")
            for wrong in ("armonika", f"armonika_{door}", "postgres"):
                evidence.expect(not _opens(place, f"armonika_{door}", wrong), f"armonika_{door} has a default password")
        for owner in ("armonika_store", "armonika_vault"):
            evidence.expect(not _opens(place, owner, owner), f"{owner} can sign in")

    def _journey(self, context: Context, evidence: Evidence) -> None:
        base = context.settings.console_url + "/en/"
        with staff.agent(context, "support") as made:
            visitor, answer = staff.sign_in(context, made)
            if self.skip:
                context.database.execute("UPDATE vault.session SET usable = true WHERE actor = %s", (made.subject,))
            evidence.expect(
                answer.status == 302 and answer.headers["location"].endswith("/second-factor/"),
                "the password leads past the second factor",
            )
            before = visitor.jar.get("__Host-session")
            for page in ("", "access/", "second-factor/codes/"):
                seen = visitor.get(base + page)
                evidence.expect(
                    seen.status == 302 and "/second-factor/" in seen.headers["location"],
                    f"/{page} answers {seen.status} before the second factor",
                )
            asked = visitor.submit_from(
                base + "second-factor/enrol/", base, {"email": "nobody@canary.example", "why": "respond:support-call"}
            )
            evidence.expect(asked.status == 302, f"a search answers {asked.status} before the second factor")
            codes = staff.enrol(context, made, visitor)
            evidence.expect(len(codes) == 10 and visitor.get(base).status == 200, "the second factor could not be set up")
            evidence.expect(visitor.jar.get("__Host-session") != before, "the session kept its secret when the factor was proven")
            old = context.visitor()
            old.jar["__Host-session"] = before or ""
            evidence.expect(old.get(base).status == 302, "the session of before the second factor lives on")
            for later, right in ((0, False), (1, True), (1, False)):
                again, _ = staff.sign_in(context, made)
                status = again.submit(base + "second-factor/", {"code": made.code(made.step + later)}).status
                evidence.expect(
                    (status == 302) == right, f"a code that was {'not used yet' if right else 'used'} answered {status}"
                )
            for right in (True, False):
                again, _ = staff.sign_in(context, made)
                status = again.submit(base + "second-factor/recovery/", {"code": codes[0] if codes else ""}).status
                evidence.expect(
                    (status == 302) == right, f"a recovery code that was {'not used yet' if right else 'used'} answered {status}"
                )
            evidence.expect(
                staff.command("staff", "end", str(made.subject)).returncode == 0, "the appointment could not be ended"
            )
            evidence.expect(visitor.get(base).status == 302, "the session outlives the appointment")
            evidence.expect(staff.sign_in(context, made)[1].status == 422, "the password outlives the appointment")

    def sabotages(self) -> Iterator[Sabotage]:
        def without(function: str, words: str, instead: str = "") -> Plant:
            return rows(
                f"DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('{function}'::regproc), $y${words}$y$, $y${instead}$y$); END $x$"
            )

        @contextmanager
        def skipped(context: Context) -> Iterator[Context]:
            self.skip = True
            try:
                yield context
            finally:
                self.skip = False

        default = hashlib.sha256(b"none").digest()
        shared = (
            "INSERT INTO vault.subject (subject_id, kind) VALUES ('00000000-0000-4000-8000-00000000aaaa', 'team')",
            "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) SELECT '00000000-0000-4000-8000-00000000aaaa', r.id, "
            f"'\\x{default[:16].hex()}', 'x', '\\x{default.hex()}', clock_timestamp() FROM vault.role r WHERE r.name = 'dpo'",
        )  # fmt: skip
        somebody = "(SELECT c.subject_id FROM vault.credential c JOIN vault.role r ON r.id = c.role AND r.kind = 'staff' LIMIT 1)"
        widen = "INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, o.id, 'all', 1 FROM vault.role r, vault.purpose p, vault.dataset d, vault.operation o "
        yield Sabotage("the second factor is skipped: a session is altered", skipped)
        yield Sabotage("the second factor is skipped: writes do not ask for it", without("vault.actor", "AND x.usable"))
        yield Sabotage("the second factor is skipped: reads do not ask for it", without("vault.ask", "AND s.usable"))
        yield Sabotage("a door may read a table", rows("GRANT SELECT ON vault.session TO armonika_console"))
        yield Sabotage("a door may call what is another's", rows("GRANT EXECUTE ON FUNCTION vault.create TO armonika_worker"))
        yield Sabotage(
            "a list opens before its entry is committed", without("vault.consulted", "AND pg_xact_status(x.xact) = 'committed'")
        )
        everything = "AND vault.allowed(pol, s, 3::smallint, asked.purpose, r.dataset, 0, j.subject_id, j.org_id)"
        yield Sabotage("a list names every dataset", without("vault.describe", everything))
        for name, statement in rights.SABOTAGES.items():
            yield Sabotage(name, self._by_itself("catalogue", statement))
        for name, statements in (administrator.SABOTAGES | keys_journal.SABOTAGES).items():
            yield Sabotage(name, self._by_itself("administrator", *statements))
        yield Sabotage(keys_journal.DROPPED, self._by_itself(keys_journal.DROPPED))
        yield Sabotage(
            "organisations are not kept apart", without("vault.ask", "h.scope_org AND j.org_id = h.actor_org", "h.scope_org")
        )
        yield Sabotage(
            "a rule is wider in the database than in the policy",
            rows(widen + "WHERE r.name = 'finance' AND p.name = 'billing' AND d.name = 'account' AND o.name = 'read'"),
        )
        yield Sabotage(
            "a role may erase beyond the policy",
            rows(widen + "WHERE r.name = 'support' AND p.name = 'legal' AND d.name = 'account' AND o.name = 'erase'"),
        )
        yield Sabotage("a shared administrator", rows(*shared))
        yield Sabotage("an account with a default password", self._default_password)
        yield Sabotage(
            "no review for 100 days",
            rows(
                "SET LOCAL session_replication_role = replica",
                "UPDATE vault.access_review SET at = at - interval '100 days'",
                "UPDATE vault.installation SET created_at = created_at - interval '100 days'",
            ),
        )
        yield Sabotage(
            "somebody ended two days ago still signs in",
            rows(
                f"INSERT INTO vault.staff_end (subject_id, ended_at, audit_id) VALUES ({somebody}, clock_timestamp() - interval '2 days', 1)"
            ),
        )

    def _by_itself(self, part: str, *statements: str) -> Plant:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            self.alone = part
            try:
                with context.planted(*statements) as altered:
                    yield altered
            finally:
                self.alone = ""

        return planted

    @contextmanager
    def _default_password(self, context: Context) -> Iterator[Context]:
        salt = b"0123456789abcdef"
        pepper = Keyring.open(context.settings.keys).credentials("console", {}).pepper or b""
        proof = hmac.digest(pepper, b"armonika/proof/1\0" + crypto.argon2id(b"changeme", salt), "sha256")
        with context.planted(
            f"UPDATE vault.credential SET salt = '\\x{salt.hex()}', check_hash = '\\x{hashlib.sha256(proof).hexdigest()}' WHERE subject_id = "
            "(SELECT c.subject_id FROM vault.credential c JOIN vault.role r ON r.id = c.role AND r.kind = 'staff' LIMIT 1)"
        ) as altered:
            yield altered


def _opens(place: str, user: str, password: str) -> bool:
    try:
        psycopg.connect(place, user=user, password=password, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
