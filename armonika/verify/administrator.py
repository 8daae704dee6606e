"""What is done with the administrator's rights is told, at once and for good, to those who look after it (claim 7a.4, docs/security/access.md)."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from armonika.trust.keys.journal import Line
from armonika.verify import access, keys_journal
from armonika.verify.context import Context
from armonika.verify.frame import Evidence

_COLUMNS = "audit_id, at, operation, granted, actor, role, subject, reference"
_ENTRIES = f"SELECT {_COLUMNS} FROM vault.audit WHERE door = 'administrator'"
_ROWS = f"SELECT {_COLUMNS} FROM vault.administrator_entry"
_APART = "SELECT count(*), min(x.audit_id) FROM ({} EXCEPT {}) x"
_GUARD = (
    "SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = %s::regclass AND t.tgfoid = 'vault.keep'::regproc AND t.tgenabled IN ('O', 'A') "
    "AND t.tgtype::int & 2 = 2 AND t.tgtype::int & 56 = 56 AND t.tgqual IS NULL"
)
_PURPOSE, _REASON = "secure", "access-review"
_FREE, _GUARDED = "SET LOCAL session_replication_role = replica", "SET LOCAL session_replication_role = origin"
_ONE = "(SELECT min(audit_id) FROM vault.administrator_entry)"

SABOTAGES: dict[str, tuple[str, ...]] = {
    "what the administrator did has no row": (_FREE, f"DELETE FROM vault.administrator_entry WHERE audit_id = {_ONE}", _GUARDED),
    "a row says that something else was done": (_FREE, f"UPDATE vault.administrator_entry SET operation = 3 WHERE audit_id = {_ONE}", _GUARDED),
    "a row of something that was not done": (f"INSERT INTO vault.administrator_entry SELECT -1, {_COLUMNS.partition(', ')[2]} FROM vault.administrator_entry LIMIT 1",),
    "what the administrator does leaves no row": (
        "DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('vault.note'::regproc), $y$PERFORM vault.tell_administrator(ARRAY[n])$y$, $y$NULL$y$); END $x$",
    ),
    "what the administrator does sends no letter": (
        "DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('vault.tell_administrator'::regproc), $y$IF NOT FOUND OR$y$, $y$IF true OR$y$); END $x$",
    ),
    "rows can be taken away": ("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'vault.administrator_entry'::regclass AND tgname = 'keep'",),
    "somebody is said to have seen it who left no entry": (
        f"INSERT INTO vault.administrator_seen (audit_id, actor, role, entry) SELECT {_ONE}, gen_random_uuid(), r.id, 1 FROM vault.role r WHERE r.name = 'dpo'",
    ),
    "a role that looks after it cannot see it": (
        "DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('vault.administrator_unseen'::regproc), $y$RETURN ($y$, "
        "$y$IF true THEN RAISE EXCEPTION USING ERRCODE = 'AR403'; END IF; RETURN ($y$); END $x$",
    ),
}  # fmt: skip
"""Statements that plant a fault of it."""


def told(context: Context, evidence: Evidence, also: Sequence[Line] = ()) -> None:
    """Every entry of the administrator has its row and every row its entry; a new one has both at once, and a letter waits; rows cannot be taken away; who
    is said to have seen one left an entry; the roles that the policy lets review see them, no other role does; what is done with the keys' files is told
    (`keys_journal`, to which `also` goes). Inside a transaction that is rolled back."""
    for what, one, other in (("an entry of the administrator has no row", _ENTRIES, _ROWS), ("a row of the administrator has no entry", _ROWS, _ENTRIES)):  # fmt: skip
        ((count, first),) = context.rows(_APART.format(one, other))
        evidence.expect(count == 0, f"{what}: {count}, the first is audit {first}")
    ((rows,),) = context.rows("SELECT count(*) FROM vault.administrator_entry")
    evidence.expect(rows > 0, "nothing was ever done with the administrator's rights: no installation is without")
    _new(context, evidence)
    for table in ("administrator_entry", "administrator_seen"):
        evidence.expect(context.rows(_GUARD, (f"vault.{table}",)) == [(1,)], f"nothing guards vault.{table} against changes")
        for statement in (f"DELETE FROM vault.{table} WHERE false", f"UPDATE vault.{table} SET at = at WHERE false"):
            evidence.expect(_refused(context, statement), f"not refused: {statement}")
    reviewers = {role for rule in context.policy.rules if "review" in rule.operations for role in rule.roles}
    ((stray,),) = context.rows(
        "SELECT count(*) FROM vault.administrator_seen s WHERE NOT EXISTS (SELECT FROM vault.audit a JOIN vault.role r ON r.id = a.role WHERE a.audit_id = s.entry "
        "AND a.operation = 43 AND a.granted AND a.actor = s.actor AND a.role = s.role AND a.door = 'console' AND r.name = ANY (%s))", (sorted(reviewers),),
    )  # fmt: skip
    evidence.expect(stray == 0, f"{stray} rows are said to be seen by somebody who left no entry")
    _roles(context, evidence, reviewers)
    keys_journal.told(context, evidence, also)


def _new(context: Context, evidence: Evidence) -> None:
    """One entry is made and taken back: nothing is left of it but a number."""
    with context.undone():
        context.database.execute("DELETE FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator' AND status = 'todo'")
        ((number,),) = context.rows(
            "SELECT vault.note(vault.service_of('console'), vault.policy_in_force(), 12::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL)"
        )
        evidence.expect(
            context.rows("SELECT count(*) FROM vault.administrator_entry WHERE audit_id = %s", (number,)) == [(1,)],
            "what the administrator does now leaves no row",
        )
        waiting = (
            "SELECT count(*) FROM jobs.procrastinate_jobs WHERE task_name = 'send-administrator' AND status = 'todo' AND queue_name = 'letters' "
            "AND scheduled_at < clock_timestamp() + interval '1 minute'"
        )
        evidence.expect(context.rows(waiting) == [(1,)], "what the administrator does now sends no letter")


def _roles(context: Context, evidence: Evidence, reviewers: set[str]) -> None:
    known = access.names(context)
    ((reason,),) = context.rows("SELECT id FROM vault.reason WHERE name = %s", (_REASON,))
    roles = [role.name for role in context.policy.roles if role.kind == "staff"]
    sessions = {role: access.open_session(context, f"told {role}", role, "console", usable=True) for role in roles}
    with access.acting_as(context, "console"):
        for role in roles:
            state, _ = access.call(
                context,
                "SELECT vault.administrator_unseen(%s, %s::smallint, %s::smallint)",
                (sessions[role], known.purposes[_PURPOSE], reason),
            )
            evidence.expect(
                (state is None) == (role in reviewers),
                f"{role} {'is not told' if role in reviewers else 'is told'} what the administrator did ({state})",
            )
    context.database.execute("DELETE FROM vault.session WHERE secret_hash = ANY (%s)", (list(sessions.values()),))


def _refused(context: Context, statement: str) -> bool:
    try:
        with context.undone():
            context.database.execute(statement.encode())
    except psycopg.Error:
        return True
    return False
