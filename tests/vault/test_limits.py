"""What a door's role can use up, hold or leave behind in the server, apart from what it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.store import watch
from armonika.trust.keys.provision import provision
from tests.doors import Doors

DOORS = ("site", "console", "api", "worker", "sealer", "verifier", "mailin", "timpani", "keeper", "retention")
ADVISORY = [f"pg_{one}" for one in ("advisory_lock", "advisory_xact_lock", "advisory_lock_shared", "advisory_xact_lock_shared", "try_advisory_lock",
                                    "try_advisory_lock_shared", "try_advisory_xact_lock", "try_advisory_xact_lock_shared")]  # fmt: skip
each = pytest.mark.parametrize("door", DOORS)


def installed(doors: Doors) -> None:
    """As each start of the installation does."""
    server: Any = doors.server
    provision(server.home / "keys", server.admin_dsn, catalogue(policy.load()))


@each
def test_no_door_uses_up_the_connections_or_the_disk(doors: Doors, door: str) -> None:
    with doors.admin() as admin:
        (limit,) = admin.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (f"armonika_{door}",)).fetchone() or (0,)
        assert 16 <= int(str(limit)) <= 40, "a pool and its successor, and a third of the server at most"
    with doors.raw(door, autocommit=True) as raw:
        assert raw.execute("SHOW temp_file_limit").fetchone() == ("256MB",)
        for statement in ("SET temp_file_limit = -1", f"ALTER ROLE armonika_{door} SET temp_file_limit = -1", f"ALTER ROLE armonika_{door} CONNECTION LIMIT -1"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                raw.execute(statement.encode())
        raw.execute(f"ALTER ROLE armonika_{door} RESET ALL".encode())
    with doors.raw(door, autocommit=True) as raw:
        assert raw.execute("SHOW temp_file_limit").fetchone() == ("256MB",)


@each
def test_no_door_holds_an_advisory_lock(doors: Doors, door: str) -> None:
    with doors.raw(door, autocommit=True) as raw:
        for name in ADVISORY:
            for words in ("1", "1, 1"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    raw.execute(f"SELECT {name}({words})".encode())


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_no_door_comes_into_another_database(doors: Doors, database: str) -> None:
    server: Any = doors.server
    if server.embedded is None:
        pytest.skip("the databases of somebody else's server are theirs")
    held = server.provisioned.credentials("site")
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        psycopg.connect(make_conninfo(server.dsn, dbname=database, user=held.database_user, password=held.database_password))


@pytest.fixture
def clean(doors: Doors) -> Iterator[None]:
    yield
    installed(doors)


def test_what_a_door_set_for_its_later_sessions_is_gone_at_the_next_start(doors: Doors, clean: None) -> None:
    with doors.raw("site", autocommit=True) as raw:
        (database,) = raw.execute("SELECT current_database()").fetchone() or ("",)
        for where in ("", f' IN DATABASE "{database}"'):
            for setting in ("default_transaction_isolation = 'serializable'", "synchronous_commit = off", "statement_timeout = '1h'"):  # fmt: skip
                raw.execute(f"ALTER ROLE armonika_site{where} SET {setting}".encode())
        raw.execute("ALTER ROLE armonika_site PASSWORD 'mine'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            raw.execute("GRANT armonika_site TO armonika_api")
    installed(doors)
    with doors.raw("site") as raw:
        found = [raw.execute(f"SHOW {name}".encode()).fetchone() for name in ("default_transaction_isolation", "synchronous_commit", "statement_timeout")]  # fmt: skip
        assert found == [("read committed",), ("on",), ("0",)]


def test_a_transaction_that_a_door_holds_open_is_ended(doors: Doors) -> None:
    held, keeper, idle = doors.raw("site"), doors.raw("keeper"), doors.raw("api", autocommit=True)
    with doors.admin() as admin:
        for connection in (held, keeper):
            connection.execute("SET idle_in_transaction_session_timeout = 0")
            connection.execute("SELECT pg_current_xact_id()")
        idle.execute("SELECT 1")
        assert watch.end_held(admin) == []
        assert watch.end_held(admin, 0, 60) == ["armonika_site"]
        with pytest.raises(psycopg.OperationalError):
            held.execute("SELECT 1")
        keeper.execute("SELECT 1")
        idle.execute("SELECT 1")
        assert watch.end_held(admin, 60, 0) == ["armonika_keeper"]
    for connection in (held, keeper, idle):
        connection.close()
