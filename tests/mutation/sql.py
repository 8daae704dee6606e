"""`python -m tests.mutation.sql [FUNCTION…] [--every N [--from K]]`: how many careless changes of the SQL functions the vault's tests notice. Writes build/mutants-sql.json.

Each changed function is installed into a copy of a database (CREATE OR REPLACE) and tried by tests that act as a door's own role. A change that the
server does not take, or that every call refuses at once, counts as noticed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.mutation.shared import Place, Shared, place
from tests.mutation.sql_mutants import Change, changes, functions

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "armonika" / "store" / "sql" / "functions"
SECONDS = 60.0
COPY = "armonika_mutant"
CATALOGUE = "tests/vault/test_catalogue.py"
CLAUSES = [
    f"{CATALOGUE}::test_every_function_names_its_whole_search_path",
    f"{CATALOGUE}::test_exactly_what_is_called_from_outside_runs_with_the_vaults_rights",
]
# The server of a run is faster than it may be (`fsync`), so that the other rules of the catalogue do not hold there.
FILES = {
    "actor": "administrator_rows asking acting creating correcting listing old_views sessions", "ask": "asking finding administrator", "take": "taking round_trips asking finding", "create": "creating shapes writes_at_once erase_races",
    "correct": "correcting shapes writes_at_once", "erase": "erasing partly_erased listing sweep erase_races", "describe": "listing untraced_lists", "session": "sessions letters sign_in_races", "challenge": "letters sign_in_races",
    "staff": "staff_calls appointments untraced_lists letters", "epoch": "epochs checked_epochs rotating rotation_locks creating shapes correcting finding", "second_factor": "second_factor_rows second_factor sign_in_races",
    "retention": "expiring settled_ends retention", "seal": "sealed_rows", "ended": "ended_rows imported_entries", "event": "replayed_events events kept_by_law", "policy": "installing administering",
    "administrator": "administrator_rows administrator",
}  # fmt: skip


def noticed(where: Place, tests: list[str]) -> bool:
    """Whether a test fails, or nothing ends in time."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        status = 1
        try:
            pytest = importlib.import_module("pytest")
            status = pytest.main(
                ["-x", "-q", "-p", "no:cacheprovider", "--noconftest", "--no-header", "-W", "ignore", *tests],
                plugins=[Shared(where)],
            )
        finally:
            os._exit(0 if status == 0 else 1)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def installed(where: Place, text: str) -> bool:
    """Whether the server takes a function."""
    with psycopg.connect(where.admin_dsn, autocommit=True) as admin:
        try:
            admin.execute(text.encode())
        except psycopg.Error:
            return False
    return True


@contextmanager
def copied(where: Place) -> Iterator[Place]:
    """The same place with a copy of its database: what a mutant spoils is gone with it."""
    name = str(conninfo_to_dict(where.admin_dsn)["dbname"])
    with psycopg.connect(make_conninfo(where.admin_dsn, dbname="postgres"), autocommit=True) as admin:
        drop = f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)".encode()
        for statement in (
            drop,
            f"CREATE DATABASE {COPY} TEMPLATE {name} STRATEGY file_copy".encode(),
            f"REVOKE CREATE, TEMPORARY ON DATABASE {COPY} FROM PUBLIC".encode(),
        ):
            admin.execute(statement)
        try:
            yield Place(where.home, make_conninfo(where.dsn, dbname=COPY), make_conninfo(where.admin_dsn, dbname=COPY))
        finally:
            admin.execute(drop)


def tried(where: Place, change: Change, tests: list[str]) -> bool:
    """Whether one change is noticed."""
    with copied(where) as copy:
        return not installed(copy, change.text) or noticed(
            copy, [*(CLAUSES if re.search("pg_temp|rights", change.what) else []), *tests]
        )


def measure(where: Place, stem: str, wanted: list[str], every: int, first: int) -> dict[str, object]:
    """Each `every`-th mutant of one file from number `first` on."""
    path, counts, survivors = FOLDER / f"{stem}.sql", [0, 0], []
    tests = _tests(stem)
    for name, line, text in functions(path.read_text()):
        if wanted and name not in wanted and stem not in wanted:
            continue
        for number, change in enumerate(changes(name, line, text)):
            if number % every != first:
                continue
            counts[0] += 1
            if tried(where, change, tests):
                counts[1] += 1
                continue
            survivors.append(f"{stem}.sql:{change.line} {name} {number}: {change.what}")
            print(f"    {survivors[-1]}", flush=True)
    share = counts[1] / counts[0] if counts[0] else 1.0
    print(f"{stem:<12} {counts[0]:>5} mutants, {share:7.1%} noticed", flush=True)
    return {"file": stem, "mutants": counts[0], "share": share, "survivors": survivors}


def _tests(stem: str) -> list[str]:
    return [f"tests/vault/test_{name}.py" for name in FILES[stem].split()]


def main() -> int:
    """0 when every file is at 95 % or better."""
    parser = argparse.ArgumentParser(prog="tests.mutation.sql")
    parser.add_argument("names", nargs="*", help="files or functions, such as ask; all when none is named")
    parser.add_argument("--every", type=int, default=1, help="only each n-th mutant")
    parser.add_argument("--from", dest="first", type=int, default=0, help="of these the one that is the first, from 0")
    arguments = parser.parse_args()
    if not 0 <= arguments.first < arguments.every:
        parser.error("--from is less than --every")
    os.chdir(CHECKOUT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with place() as where:
        stems = [stem for stem in FILES if not arguments.names or any(stem == name or re.search(rf"(?:FUNCTION|PROCEDURE) vault\.{name}\(", (FOLDER / f"{stem}.sql").read_text()) for name in arguments.names)]  # fmt: skip
        for tests in [CLAUSES, *(_tests(stem) for stem in stems)]:
            with copied(where) as copy:
                assert not noticed(copy, tests), f"{tests} must pass before anything is changed"
        found = [measure(where, stem, arguments.names, arguments.every, arguments.first) for stem in stems]
    (CHECKOUT / "build").mkdir(exist_ok=True)
    (CHECKOUT / "build" / "mutants-sql.json").write_text(json.dumps(found, indent=1))
    return 0 if all(float(str(one["share"])) >= 0.95 for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
