"""The job queue: procrastinate's own schema in the schema `jobs`, and who may do what in it.

Jobs are enqueued in the database, in the transaction of what they follow from (`vault.defer`), and carry a pseudonym and a language only.
"""

from __future__ import annotations

from importlib.resources import files

import psycopg
from procrastinate import App, PsycopgConnector

from armonika.store.turn import turn

SCHEMA = "jobs"


def install(admin_dsn: str) -> bool:
    """Applies procrastinate's schema once and grants the worker its use. Returns whether anything was made. For the administrator."""
    with turn(admin_dsn), psycopg.connect(admin_dsn) as connection:
        row = connection.execute("SELECT to_regclass('jobs.procrastinate_jobs')").fetchone()
        new = row is None or row[0] is None
        if new:
            connection.execute("CREATE SCHEMA IF NOT EXISTS jobs")
            connection.execute("SET LOCAL search_path = jobs, pg_catalog")
            connection.execute((files("procrastinate") / "sql" / "schema.sql").read_bytes())
            connection.execute("SET LOCAL search_path = pg_catalog")
        # Its functions name their tables without a schema: pin where they look, whoever calls.
        for (signature,) in connection.execute(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'jobs'::regnamespace"
        ).fetchall():
            connection.execute(f"ALTER FUNCTION {signature} SET search_path = jobs, pg_catalog, pg_temp".encode())
            connection.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC".encode())
            connection.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO armonika_worker, armonika_vault".encode())
        connection.execute("GRANT USAGE ON SCHEMA jobs TO armonika_worker, armonika_vault")
        connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA jobs TO armonika_worker")
        connection.execute("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA jobs TO armonika_worker, armonika_vault")
        connection.execute("GRANT INSERT, SELECT ON jobs.procrastinate_jobs TO armonika_vault")
        connection.execute("GRANT INSERT, SELECT ON jobs.procrastinate_events TO armonika_vault")
        # vault.purge_stale: a job that is over holds a pseudonym nobody needs any more.
        connection.execute("GRANT DELETE ON jobs.procrastinate_jobs TO armonika_vault")
        connection.execute("GRANT SELECT, UPDATE ON jobs.procrastinate_periodic_defers TO armonika_vault")
    return new


def make_app(conninfo: str) -> App:
    """The queue as the worker sees it."""
    return App(connector=PsycopgConnector(conninfo=conninfo, kwargs={"options": "-c search_path=jobs"}, min_size=1, max_size=4))
