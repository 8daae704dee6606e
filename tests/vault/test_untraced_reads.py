"""No shape of call reads a ciphertext without a committed audit row.

The attacker has what a door's process has: its database role, a living token, and SQL of their own choice. Each attack returns what it
received; afterwards an administrator counts the committed rows. The first test is the positive control: the honest way works.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from armonika.trust.vault import codec
from armonika.trust.vault.types import Ask
from tests.doors import Doors

Attack = Callable[[Doors, UUID], int]


class Sql:
    """The two steps for one person, as SQL text with literals, as an attacker would type it."""

    def __init__(self, doors: Doors, subject: UUID) -> None:
        catalogue = doors.api.catalogue
        dataset = catalogue.dataset("account")
        self.secret = f"'\\x{doors.token.hex()}'::bytea"
        self.ask = (
            f"vault.ask(ARRAY[{self.secret}], ARRAY[1]::smallint[], ARRAY[{catalogue.purpose('provide')}]::smallint[], "
            f"ARRAY[{catalogue.reason('integration')}]::smallint[], ARRAY[NULL]::text[], ARRAY['{subject}']::uuid[], ARRAY[NULL]::uuid[], "
            f"ARRAY[{dataset.id}]::smallint[], ARRAY[{dataset.mask(('name',))}]::bigint[])"
        )

    def take(self, ticket: object) -> str:
        return f"vault.take(ARRAY[{self.secret}], ARRAY[{ticket}]::bigint[])"


def ask(cursor: Any, sql: Sql) -> int:
    return int(cursor.execute(f"SELECT ticket FROM {sql.ask}").fetchone()[0])


def taken(cursor: Any, sql: Sql, ticket: object) -> int:
    return len(cursor.execute(f"SELECT * FROM {sql.take(ticket)}").fetchall())


def committed(doors: Doors, subject: UUID) -> int:
    with doors.admin() as connection:
        row = connection.execute(
            "SELECT count(*) FROM vault.audit WHERE subject = %s AND operation = 1 AND granted", (subject,)
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


def rollback(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        got = taken(cursor, sql, ask(cursor, sql))
        connection.rollback()
    return got


def savepoint(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        cursor.execute("SAVEPOINT s")
        ticket = ask(cursor, sql)
        got = taken(cursor, sql, ticket)
        cursor.execute("ROLLBACK TO SAVEPOINT s")
        got += taken(cursor, sql, ticket)
        connection.commit()
        return got + taken(cursor, sql, ticket)


def one_statement(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection:
        return len(connection.execute(f"SELECT t.* FROM {sql.ask} a, LATERAL {sql.take('a.ticket')} t").fetchall())


def failing_statement(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection:
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            return len(
                connection.execute(
                    f"SELECT t.*, 1 / (a.ticket - a.ticket) FROM {sql.ask} a, LATERAL {sql.take('a.ticket')} t"
                ).fetchall()
            )
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            connection.execute(f"SELECT ticket, 1 / (ticket - ticket) FROM {sql.ask}")
        return guess(doors, sql)


def guess(doors: Doors, sql: Sql) -> int:
    """Takes the tickets around the newest number: those of asks that were undone."""
    with doors.admin() as admin:
        row = admin.execute("SELECT last_value FROM vault.audit_number").fetchone()
    assert row is not None
    newest = int(str(row[0]))
    with doors.raw(autocommit=True) as connection:
        return taken(connection, sql, ",".join(str(number) for number in range(newest - 1, newest + 2)))


def statement_timeout(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection:
        connection.execute("SET statement_timeout = '200ms'")
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            return len(
                connection.execute(f"SELECT t.*, pg_sleep(1) FROM {sql.ask} a, LATERAL {sql.take('a.ticket')} t").fetchall()
            )
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            connection.execute(f"SELECT ticket, pg_sleep(1) FROM {sql.ask}")
    return guess(doors, sql)


def terminated(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection, contextlib.suppress(psycopg.OperationalError):
        connection.execute(f"SELECT ticket, pg_terminate_backend(pg_backend_pid()), pg_sleep(0.2) FROM {sql.ask}")
    return guess(doors, sql)


def cursor_fetch(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        cursor.execute(f"DECLARE c CURSOR FOR SELECT t.* FROM {sql.ask} a, LATERAL {sql.take('a.ticket')} t")
        got = len(cursor.execute("FETCH ALL FROM c").fetchall())
        connection.rollback()
    return got + guess(doors, sql)


def copy_out(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        ticket = ask(cursor, sql)
        with cursor.copy(f"COPY (SELECT * FROM {sql.take(ticket)}) TO STDOUT") as copy:
            got = len(list(copy.rows()))
        connection.rollback()
    return got


def serializable(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        try:
            got = taken(cursor, sql, ask(cursor, sql))
        except psycopg.Error as error:
            got = 0 if error.sqlstate == "AR403" else 1
        connection.rollback()
    return got


def prepared(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        ticket = ask(cursor, sql)
        with contextlib.suppress(psycopg.Error):
            cursor.execute("PREPARE TRANSACTION 'untraced'")
    with doors.raw(autocommit=True) as connection:
        got = taken(connection, sql, ticket)
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK PREPARED 'untraced'")
        return got + taken(connection, sql, ticket)


def second_connection(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor, doors.raw(autocommit=True) as other:
        ticket = ask(cursor, sql)
        got = taken(other, sql, ticket)
        connection.rollback()
        return got + taken(other, sql, ticket)


def multi_statement(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection, contextlib.suppress(psycopg.errors.DivisionByZero):
        connection.pgconn.exec_(f"SELECT ticket FROM {sql.ask}; SELECT 1/0".encode())
    return guess(doors, sql)


def caught_exception(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    block = f"""DO $b$ DECLARE n bigint; got int := 0; BEGIN
        BEGIN SELECT ticket INTO n FROM {sql.ask}; SELECT count(*) INTO got FROM {sql.take("n")}; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
        PERFORM set_config('x.got', got::text, false); END $b$"""
    with doors.raw(autocommit=True) as connection:
        connection.execute(block)
        row = connection.execute("SELECT current_setting('x.got')").fetchone()
    assert row is not None
    return int(str(row[0])) + guess(doors, sql)


def flush_without_sync(doors: Doors, subject: UUID) -> int:
    """Parse, Bind, Execute, Flush; the ticket arrives, the socket closes before Sync; then the ticket is tried."""
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection:
        connection.pgconn.enter_pipeline_mode()
        connection.pgconn.send_query_params(f"SELECT ticket FROM {sql.ask}".encode(), [])
        connection.pgconn.send_flush_request()
        connection.pgconn.flush()
        ticket = None
        for _ in range(300):
            time.sleep(0.01)
            connection.pgconn.consume_input()
            if not connection.pgconn.is_busy():
                result = connection.pgconn.get_result()
                if result is not None and result.ntuples:
                    ticket = int(result.get_value(0, 0) or b"0")
                    break
        assert ticket, "the ticket did arrive before the Sync: the attack is real"
        cut = socket.socket(fileno=os.dup(connection.pgconn.socket))
        cut.shutdown(socket.SHUT_RDWR)
        cut.close()
        connection.pgconn.finish()
    with doors.raw(autocommit=True) as other:
        return taken(other, sql, ticket) + guess(doors, sql)


def shadowed_status(doors: Doors, subject: UUID) -> int:
    """A function of the caller's own that claims every transaction committed, first in the caller's path."""
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            cursor.execute("CREATE TEMP TABLE audit (audit_id bigint)")
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            cursor.execute("CREATE FUNCTION pg_temp.pg_xact_status(xid8) RETURNS text LANGUAGE sql AS $$ SELECT 'committed' $$")
        cursor.execute("SET search_path = pg_temp, vault, pg_catalog")
        got = taken(cursor, sql, ask(cursor, sql))
        connection.rollback()
    return got


def exported_snapshot(doors: Doors, subject: UUID) -> int:
    sql = Sql(doors, subject)
    with doors.raw() as connection, connection.cursor() as cursor:
        ticket = ask(cursor, sql)
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            cursor.execute("SELECT pg_export_snapshot()")
        connection.rollback()
    with doors.raw(autocommit=True) as connection:
        return taken(connection, sql, ticket)


ATTACKS: tuple[Attack, ...] = (
    rollback, savepoint, one_statement, failing_statement, statement_timeout, terminated, cursor_fetch, copy_out, serializable, prepared, second_connection,
    multi_statement, caught_exception, flush_without_sync, shadowed_status, exported_snapshot,
)  # fmt: skip


def test_the_honest_way_reads_and_leaves_a_row(doors: Doors) -> None:
    subject = doors.person().subject
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection, connection.cursor() as cursor:
        assert taken(cursor, sql, ask(cursor, sql)) == 1
    assert committed(doors, subject) == 1


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_is_read_without_a_committed_row(doors: Doors, attack: Attack) -> None:
    subject = doors.person().subject
    received = attack(doors, subject)
    assert received == 0 or committed(doors, subject) >= 1
    assert received == 0, f"{attack.__name__} received {received} records"


def test_a_ticket_is_of_one_actor_and_ten_seconds(doors: Doors) -> None:
    subject = doors.person().subject
    sql = Sql(doors, subject)
    with doors.raw(autocommit=True) as connection, connection.cursor() as cursor:
        ticket = ask(cursor, sql)
        assert taken(cursor, sql, ticket) == 1
        other = f"'\\x{doors.api.service.hex()}'::bytea"
        assert len(cursor.execute(f"SELECT * FROM vault.take(ARRAY[{other}], ARRAY[{ticket}]::bigint[])").fetchall()) == 0
        assert taken(cursor, sql, "NULL") == 0
        with doors.admin() as admin:
            admin.execute("ALTER TABLE vault.audit DISABLE TRIGGER keep")
            admin.execute("UPDATE vault.audit SET at = at - interval '11 seconds' WHERE audit_id = %s", (ticket,))
            admin.execute("ALTER TABLE vault.audit ENABLE TRIGGER keep")
        assert taken(cursor, sql, ticket) == 0


def test_read_at_once_works_alone_and_never_inside_a_transaction(doors: Doors) -> None:
    subject = doors.person().subject
    catalogue = doors.api.catalogue
    asked, _, _ = codec.ask_parameters(catalogue, [Ask(doors.token, subject, "account", ("name",), "provide", "integration")])
    call = codec.percent(codec.READ_AT_ONCE).encode()
    with doors.raw(autocommit=True) as connection:
        row = connection.execute(call, asked).fetchone()
        assert row is not None and row[2] is not None
    assert committed(doors, subject) == 1
    with doors.raw() as connection, pytest.raises(psycopg.errors.InvalidTransactionTermination):
        connection.execute("SELECT 1")
        connection.execute(call, asked)
    assert committed(doors, subject) == 1


def test_an_erased_or_restricted_person_is_not_taken_on_an_older_ticket(doors: Doors) -> None:
    for change in ("restrict", "erase"):
        subject = doors.person().subject
        sql = Sql(doors, subject)
        with doors.raw(autocommit=True) as connection, connection.cursor() as cursor:
            ticket = ask(cursor, sql)
            if change == "restrict":
                doors.api.restrict(doors.token, subject, True, "provide", "integration")
            else:
                doors.api.erase(doors.token, [subject], "provide", "integration")
            assert taken(cursor, sql, ticket) == 0
