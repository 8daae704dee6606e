"""What a door's own database role can do, tried inside a transaction that is rolled back (claim 7a.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from armonika.verify.context import Context

UNPROVEN_MAY = frozenset(
    {"whoami", "sign_out", "second_state", "second_begin", "second_prove", "second_recover", "second_enrol"}
)  # fmt: skip
"""All that a session of staff may call before its second factor is proven."""


def secret(label: str) -> bytes:
    """The hash of a made-up session secret."""
    return hashlib.sha256(f"verify access {label}".encode()).digest()


def call(context: Context, statement: str, parameters: tuple[Any, ...] = ()) -> tuple[str | None, list[tuple[Any, ...]]]:
    """(SQLSTATE or None, rows) of one statement whose effects are undone. Inside `acting_as`."""
    try:
        rows = context.database.execute(statement.encode(), parameters).fetchall()
        state = None
    except psycopg.Error as error:
        rows, state = [], error.sqlstate or "?"
    context.database.execute("ROLLBACK TO SAVEPOINT acting")
    return state, rows


@contextmanager
def acting_as(context: Context, door: str) -> Iterator[None]:
    """Everything inside is done by the door's own role, as if it had signed in; what the caller planted before is seen."""
    context.database.execute(f"SET LOCAL SESSION AUTHORIZATION armonika_{door}; SAVEPOINT acting".encode())
    try:
        yield
    finally:
        context.database.execute(
            "ROLLBACK TO SAVEPOINT acting; RELEASE SAVEPOINT acting; SET LOCAL SESSION AUTHORIZATION DEFAULT"
        )


def open_session(context: Context, label: str, role: str, door: str, *, usable: bool, actor: UUID | None = None, org: UUID | None = None) -> bytes:  # fmt: skip
    """A made-up session of a role, as sign_in would write it. Inside a transaction that is rolled back only."""
    hashed = secret(label)
    context.database.execute(
        "INSERT INTO vault.session (secret_hash, actor, role, org_id, door, kind, expires_at, usable, second_at) "
        "SELECT %s, %s, r.id, %s, %s, 'session', clock_timestamp() + interval '1 hour', %s, CASE WHEN %s AND r.kind = 'staff' THEN clock_timestamp() END "
        "FROM vault.role r WHERE r.name = %s",
        (hashed, actor or uuid4(), org, door, usable, usable, role),
    )
    return hashed


def person(context: Context, org: UUID | None = None) -> tuple[UUID, dict[str, UUID]]:
    """A made-up person with a record in each dataset: (subject, records by dataset). Inside a transaction that is rolled back only."""
    subject = uuid4()
    context.database.execute(
        "INSERT INTO vault.subject (subject_id, kind, org_id) VALUES (%s, 'customer_user', %s)", (subject, org)
    )
    records = {}
    for dataset, number in context.rows("SELECT name, id FROM vault.dataset"):
        records[str(dataset)] = uuid4()
        context.database.execute(
            "INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events) VALUES (%s, %s, %s, 1, '{1}', %s, '{3}', '{1}')",
            (subject, records[str(dataset)], number, [b"\x01synthetic"]),
        )
    return subject, records


@dataclass(frozen=True)
class Names:
    """Numbers of the names that the database knows."""

    purposes: dict[str, int]
    datasets: dict[str, int]
    reasons: dict[str, int]
    masks: dict[tuple[str, str], int]
    epochs: dict[str, list[int]]


def names(context: Context) -> Names:
    """Purposes with a reason that is declared for each, datasets, the bit of each field, and the epochs that a search names."""
    return Names(
        dict(context.rows("SELECT name, id FROM vault.purpose")),
        dict(context.rows("SELECT name, id FROM vault.dataset")),
        dict(
            context.rows(
                "SELECT p.name, min(d.reason) FROM vault.declared_reason d JOIN vault.purpose p ON p.id = d.purpose WHERE d.policy_id = vault.policy_in_force() GROUP BY p.name"
            )
        ),
        {
            (str(dataset), str(field)): 1 << (int(ordinal) - 1)
            for dataset, field, ordinal in context.rows(
                "SELECT d.name, f.name, f.ordinal FROM vault.field f JOIN vault.dataset d ON d.id = f.dataset"
            )
        },
        dict(
            context.rows(
                "SELECT d.name, array_agg(e.epoch) FROM vault.dataset d JOIN vault.epoch e ON e.compartment = d.compartment AND e.state IN ('active', 'suspended', 'retiring') GROUP BY d.name"
            )
        ),
    )


def callable_functions(context: Context, door: str) -> list[tuple[str, str, list[str]]]:
    """(name, signature, argument types) of every function that takes a session's secret first and that the door may call."""
    return [
        (str(name), str(signature), list(types))
        for name, signature, types in context.rows(
            "SELECT p.proname, p.oid::regprocedure::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) t) FROM pg_proc p "
            "WHERE p.pronamespace = 'vault'::regnamespace AND p.prokind = 'f' AND p.proargnames[1] IN ('secret', 'service') "
            "AND p.proargtypes[0] = 'bytea'::regtype AND has_function_privilege(%s, p.oid, 'EXECUTE') ORDER BY 1, 2",
            (f"armonika_{door}",),
        )
    ]


def committed(context: Context, door: str, session: bytes, known: Names, purpose: str, subject: UUID) -> int:
    """The ticket of a list, as if a transaction that is over had asked for it: nothing here is ever committed. Inside a transaction that is rolled back only."""
    ((number,),) = context.rows(
        "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, fields, purpose, reason, policy_id) "
        "SELECT (SELECT least(min(audit_id), 0) - 1 FROM vault.audit), clock_timestamp(), (SELECT a.xact FROM vault.audit a WHERE pg_xact_status(a.xact) = 'committed' ORDER BY a.audit_id DESC LIMIT 1), "
        "3, true, %s, s.actor, s.role, %s, 0, %s, %s, vault.policy_in_force() FROM vault.session s WHERE s.secret_hash = %s RETURNING audit_id",
        (door, subject, known.purposes[purpose], known.reasons.get(purpose, 0), session),
    )  # fmt: skip
    return int(number)


def described(context: Context, door: str, session: bytes, known: Names, purpose: str, subject: UUID) -> set[int]:
    """The datasets that the list of such a ticket names; none where it stays closed."""
    ticket = committed(context, door, session, known, purpose, subject)
    with acting_as(context, door):
        _, rows = call(context, "SELECT DISTINCT dataset FROM vault.describe(%s, %s)", (session, ticket))
    return {int(number) for (number,) in rows}
