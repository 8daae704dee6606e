"""Calls of the vault and their entries, counted against each other inside a transaction that is rolled back (claim 7a.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from armonika.verify import access
from armonika.verify.context import Context
from armonika.verify.frame import Evidence

_WHO = "%s, %s::smallint, %s::smallint, NULL"
_ASK = (
    "SELECT ticket FROM vault.ask(%s::bytea[], %s::smallint[], %s::smallint[], %s::smallint[], array_fill(NULL::text, ARRAY[{n}]), %s::uuid[], array_fill(NULL::uuid, ARRAY[{n}]), "
    "%s::smallint[], %s::bigint[])"
)
_FIND = f"SELECT ticket FROM vault.ask_find({_WHO}, %s::smallint, %s::smallint, %s::int[], %s::bytea[], %s::bigint)"
_CREATE = (
    f"SELECT vault.create({_WHO}, ARRAY[%s::uuid], ARRAY[NULL]::text[], ARRAY[NULL]::uuid[], ARRAY[%s::uuid], ARRAY[%s]::smallint[], ARRAY[1]::bigint[], ARRAY[3]::smallint[], "
    "ARRAY[1]::smallint[], ARRAY[%s]::int[], ARRAY[%s::bytea], ARRAY[1], ARRAY[%s::bytea], '{}'::int[], '{}'::smallint[], '{}'::int[], '{}'::bytea[], '{}'::text[])"
)
ITEMS = 3


@dataclass(frozen=True)
class Call:
    """One call and what it must leave: an entry of `operation` for each of its `whom`, granted or refused."""

    door: str
    role: str
    purpose: str
    operation: str
    statement: str
    parameters: tuple[Any, ...]
    whom: tuple[UUID | None, ...]
    granted: bool = True


def calls(context: Context) -> list[Call]:
    """Calls of three doors, of each kind that tells or changes something; made-up people and sessions, in the transaction of the caller."""
    known = access.names(context)
    subject, records = access.person(context)
    others = [access.person(context)[0] for _ in range(ITEMS - 1)]
    dataset, mask = known.datasets["account"], known.masks["account", "name"]
    made: list[Call] = []

    def who(door: str, role: str, purpose: str, actor: UUID | None = None) -> tuple[bytes, int, int]:
        label = f"accounted {door} {role}"
        access.open_session(context, label, role, door, usable=True, actor=actor)
        return access.secret(label), known.purposes[purpose], known.reasons[purpose]

    def ask(hashed: bytes, purpose: int, reason: int, of: list[UUID], number: int, bits: int) -> tuple[str, tuple[Any, ...]]:
        n = len(of)
        return _ASK.format(n=n), ([hashed] * n, [1] * n, [purpose] * n, [reason] * n, of, [number] * n, [bits] * n)

    member = who("site", "admin", "provide", subject)
    made.append(Call("site", "admin", "provide", "read", *ask(*member, [subject], dataset, mask), (subject,)))
    made.append(Call("site", "admin", "provide", "read", *ask(*member, others[:1], dataset, mask), (others[0],), granted=False))
    officer, service = who("console", "dpo", "legal"), who("api", "integration", "provide")
    for door, role, purpose, hashed in (("console", "dpo", "legal", officer), ("api", "integration", "provide", service)):
        index, epochs = known.masks["account", "email"].bit_length(), known.epochs["account"]
        searched = (*hashed, dataset, index, epochs, [access.secret("nobody")] * len(epochs), mask)
        begun = (*hashed, subject, records["account"])
        for operation, statement, parameters, whom in (
            ("read", *ask(*hashed, [subject, *others], dataset, mask), (subject, *others)),
            ("find", _FIND, searched, (None,)),
            ("erase", f"SELECT vault.erase({_WHO}, %s::uuid[])", (*hashed, [subject, *others]), (subject, *others)),
            ("restrict", f"SELECT vault.restrict({_WHO}, %s, true)", (*hashed, subject), (subject,)),
            ("event", f"SELECT vault.event({_WHO}, %s, %s)", begun, (subject,)),
        ):
            made.append(Call(door, role, purpose, operation, statement, parameters, whom))
    for operation, number in (("describe", 3), ("accesses", 16)):
        consult = f"SELECT vault.consult(%s, {number}::smallint, %s::smallint, %s::smallint, NULL, %s)"
        made.append(Call("console", "dpo", "legal", operation, consult, (*officer, subject), (subject,)))
    one = f"SELECT record FROM vault.erase_records({_WHO}, ARRAY[%s], ARRAY[%s])"
    made.append(Call("console", "dpo", "legal", "erase", one, (*officer, subject, records["account"]), (subject,)))
    written = (*service, subject, uuid4(), dataset, known.epochs["account"][-1], b"\x01wrapped", b"\x01x")
    made.append(Call("api", "integration", "provide", "create", _CREATE, written, (subject,)))
    return made


def counted(context: Context, evidence: Evidence) -> int:
    """Makes each call and looks at the entries that it left: as many as people, each with who, where, what for and whether. Returns the entries seen."""
    seen = 0
    with context.undone():
        for call in calls(context):
            what = f"{call.door}/{call.role}: {call.operation}"
            entries, state = _entries(context, call)
            evidence.expect(state is None, f"{what} could not be tried ({state})")
            wanted = sorted(
                (call.operation, call.granted, call.door, call.role, call.purpose, str(whom) if whom else "")
                for whom in call.whom
            )
            evidence.expect(
                state is not None or entries == wanted,
                f"{what} left {len(entries)} entries that say what it did, not {len(wanted)}",
            )
            seen += len(entries)
    return seen


def _entries(context: Context, call: Call) -> tuple[list[tuple[Any, ...]], str | None]:
    """What this transaction wrote to the log during one call, and the SQLSTATE of a failure. The call is undone."""
    database = context.database
    ((before,),) = context.rows("SELECT last_value FROM vault.audit_number")
    database.execute("SAVEPOINT counted")
    database.execute(f"SET LOCAL SESSION AUTHORIZATION armonika_{call.door}".encode())
    try:
        database.execute(call.statement.encode(), call.parameters).fetchall()
    except psycopg.Error as error:
        database.execute("ROLLBACK TO SAVEPOINT counted")
        return [], error.sqlstate or "?"
    database.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
    found = context.rows(
        "SELECT o.name, a.granted, a.door, r.name, p.name, coalesce(a.subject::text, '') FROM vault.audit a JOIN vault.operation o ON o.id = a.operation "
        "JOIN vault.role r ON r.id = a.role JOIN vault.purpose p ON p.id = a.purpose WHERE a.audit_id > %s AND a.xact = pg_current_xact_id() ORDER BY 1, 2, 3, 4, 5, 6",
        (before,),
    )
    database.execute("ROLLBACK TO SAVEPOINT counted")
    return found, None
