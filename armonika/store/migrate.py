"""Brings a database to the schema of this release: roles, migrations, functions, grants. Safe to run again and on a live system.

Migrations are files `NNNN_{pre,post}_name.sql`, applied once each under time-limited locks; functions are applied whenever they differ. A file
`…_concurrently.sql` makes one index while the table is read and written, outside a transaction. A file `…_afterwards.sql` fills in what the functions, which
are in place by then, keep up themselves from there on: a look at a whole table that no lock of another migration may wait for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from armonika.store import partitions
from armonika.store.turn import MigrationError, turn

SQL = Path(__file__).parent / "sql"
# What writes without a table, lends a snapshot, or holds what a migration or a new partition waits for.
_DANGEROUS = (
    "pg_logical_emit_message", "lo_create", "lo_creat", "lo_from_bytea", "lo_import", "lo_put", "lowrite", "pg_export_snapshot",
    *(f"pg_{'try_' * tried}advisory_{kind}lock{shared}" for tried in (0, 1) for kind in ("", "xact_") for shared in ("", "_shared")),
)  # fmt: skip
CONNECTIONS = 32
"""Connections of one door's role: twice what its pool opens while a process is replaced. A door that was taken over cannot use up the server's."""
DOOR_SETTINGS = {"temp_file_limit": "256MB", "idle_in_transaction_session_timeout": "60s"}
"""Of each door's role. The first no door can change; the second is against accidents (see `armonika.store.watch`)."""


@dataclass(frozen=True, slots=True)
class MigrationResult:
    applied: tuple[str, ...]
    functions_changed: bool
    server_version: int


def migrate(admin_dsn: str, passwords: Mapping[str, str], keyring_id: str) -> MigrationResult:
    """Migrates the database behind `admin_dsn` (a superuser). `passwords` maps doors to the passwords of their roles.

    Raises MigrationError for a server before 15, a role that is no superuser, a database of another keyring, one that a newer release
    made, or one that somebody else holds on to.
    """
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        version = connection.info.server_version // 10000
        if version < 15:
            raise MigrationError(f"PostgreSQL {version} is too old: Armonika needs 15 or newer.")
        if connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() != (True,):
            raise MigrationError(
                "The role in ARMONIKA_DATABASE_URL must be a superuser to install; the services then use roles of their own."
            )
        connection.execute("SET lock_timeout = '4s'")
        with turn(admin_dsn):
            try:
                files = sorted((SQL / "migrations").glob("*.sql"))
                _belongs(connection, keyring_id, files)
                with connection.transaction():
                    _roles(connection, passwords)
                afterwards = [path for path in files if path.stem.endswith("_afterwards")]
                applied = _tables(connection, [path for path in files if path not in afterwards])
                connection.execute(
                    "INSERT INTO vault.installation (keyring_id) SELECT %s WHERE NOT EXISTS (SELECT FROM vault.installation)",
                    (keyring_id,),
                )
                with connection.transaction():
                    changed = _functions(connection, version)
                partitions.extend(connection)
                applied += _tables(connection, afterwards)
            except psycopg.errors.UndefinedTable as error:
                raise MigrationError(
                    f"A table of this installation is gone: {error.diag.message_primary}. Put it back or restore a backup (docs/operate.md); nothing was changed."
                ) from None
            except psycopg.errors.LockNotAvailable:
                raise MigrationError(
                    "A transaction that stays open holds a table that this release changes. What was begun is undone; start again when it has ended "
                    "(`SELECT pid, usename, xact_start FROM pg_stat_activity ORDER BY xact_start` at the server names it)."
                ) from None
    return MigrationResult(tuple(applied), changed, version)


def _roles(connection: psycopg.Connection[tuple[object, ...]], passwords: Mapping[str, str]) -> None:
    known = {str(row[0]) for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'armonika\\_%'")}
    for owner in ("armonika_store", "armonika_vault"):
        if owner not in known:
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(owner)))
    for door, password in passwords.items():
        role = sql.Identifier(f"armonika_{door}")
        verb = sql.SQL("ALTER" if f"armonika_{door}" in known else "CREATE")
        connection.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT {} PASSWORD {}"
            ).format(verb, role, sql.Literal(CONNECTIONS), sql.Literal(_scram(connection, f"armonika_{door}", password)))
        )
    _reset(connection, [f"armonika_{door}" for door in passwords])
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    connection.execute("REVOKE ALL ON SCHEMA armonika_meta FROM PUBLIC")
    named = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (%s)",
        (list(_DANGEROUS),),
    ).fetchall()
    for (signature,) in named:
        connection.execute(sql.SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(sql.SQL(str(signature))))


def _reset(connection: psycopg.Connection[tuple[object, ...]], roles: list[str]) -> None:
    """Takes back what a door that was taken over can leave behind: a role may change its own settings for every session to come."""
    kept = connection.execute(
        "SELECT r.rolname, d.datname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase "
        "WHERE r.rolname = ANY (%s)",
        (roles,),
    ).fetchall()
    for name, database in kept:
        where = sql.SQL("IN DATABASE {} ").format(sql.Identifier(str(database))) if database else sql.SQL("")
        connection.execute(sql.SQL("ALTER ROLE {} {}RESET ALL").format(sql.Identifier(str(name)), where))
    for name in roles:
        for setting, value in DOOR_SETTINGS.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(*map(sql.Identifier, (name, setting)), sql.Literal(value))
            )


def _scram(connection: psycopg.Connection[tuple[object, ...]], role: str, password: str) -> str:
    """The SCRAM verifier, made here, so that no statement carries the password."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _tables(connection: psycopg.Connection[tuple[object, ...]], paths: Sequence[Path]) -> list[str]:
    done = {str(name): str(digest) for name, digest in connection.execute("SELECT name, sha256 FROM armonika_meta.migration")}
    applied = []
    for path in paths:
        text = path.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if path.stem in done:
            if done[path.stem] != digest:
                raise MigrationError(f"Migration {path.stem} was changed after it was applied. Add a new migration instead.")
            continue
        if path.stem.endswith("_concurrently"):
            _index(connection, text)
        with connection.transaction():
            if not path.stem.endswith("_concurrently"):
                connection.execute(text.encode())
            connection.execute("INSERT INTO armonika_meta.migration (name, sha256) VALUES (%s, %s)", (path.stem, digest))
        applied.append(path.stem)
    return applied


def _index(connection: psycopg.Connection[tuple[object, ...]], text: str) -> None:
    """One `CREATE INDEX CONCURRENTLY`. What an attempt left that did not finish is dropped first: such an index is never used, and never whole."""
    found = re.search(r"CREATE INDEX CONCURRENTLY (\w+) ON (\w+)\.", text)
    if found is None:
        raise MigrationError("A migration _concurrently makes exactly one index.")
    connection.execute("SET lock_timeout = '60s'")
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(found.group(2), found.group(1))))
    connection.execute(text.encode())
    connection.execute("SET lock_timeout = '4s'")


def _belongs(connection: psycopg.Connection[tuple[object, ...]], keyring_id: str, files: Sequence[Path]) -> None:
    """Before anything is changed: the roles of another keyring's database would get passwords that its running doors do not have, and a newer release's
    functions would be replaced by those of this one."""
    if connection.execute("SELECT to_regclass('vault.installation')").fetchone() != (None,):
        row = connection.execute("SELECT keyring_id FROM vault.installation").fetchone()
        if row is not None and row[0] != keyring_id:
            raise MigrationError(
                "The keys in the keys folder do not belong to this database. Put back the keys folder that was made with it, "
                "or name an empty database; nothing was changed."
            )
    own = {path.stem for path in files} | {"functions"}
    newer = {str(name) for (name,) in connection.execute("SELECT name FROM armonika_meta.migration")} - own
    if newer:
        raise MigrationError(
            f"This database was changed by a newer release ({max(newer)}), and this one would put older functions there. Start that release, or "
            "restore a backup from before the upgrade with this one; nothing was changed."
        )


def _functions(connection: psycopg.Connection[tuple[object, ...]], version: int) -> bool:
    # Only from 17 on can a session flush the log it did not write; before, wal_writer_delay bounds the window (SECURITY.md).
    flush = (
        "IF pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() THEN PERFORM pg_logical_emit_message(false, 'vault', '', true); END IF;"
        if version >= 17
        else "NULL;"
    )
    texts = [
        "CREATE OR REPLACE FUNCTION vault.flush_wal() RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE "
        f"SET search_path = pg_catalog, vault, pg_temp AS $$ BEGIN {flush} END $$;"
    ]
    paths = sorted((SQL / "functions").glob("*.sql"), key=lambda path: (path.stem == "grants", path.stem))
    texts += [path.read_text() for path in paths]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    row = connection.execute("SELECT sha256 FROM armonika_meta.migration WHERE name = 'functions'").fetchone()
    connection.execute("SET LOCAL check_function_bodies = off")
    for text in texts:
        connection.execute(text.encode())
    if version >= 17:
        connection.execute("GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean) TO armonika_vault")
    connection.execute(
        "INSERT INTO armonika_meta.migration (name, sha256) VALUES ('functions', %s) "
        "ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = clock_timestamp()",
        (digest,),
    )
    return row is None or row[0] != digest
