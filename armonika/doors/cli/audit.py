"""`armonika audit verify`: recomputes the whole log, from its folder and against the database."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from armonika import settings
from armonika.doors.cli.running import admin_dsn
from armonika.store.private_files import KeyFileError
from armonika.trust.audit.verify import Report, verify


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("audit", help="verify the audit log")
    parser.add_argument("action", choices=("verify",))
    parser.add_argument("--folder", type=Path, help="the log's folder (default: of this installation)")
    parser.add_argument("--vkey", type=Path, help="the log's verifier key (default: log.vkey in the folder)")
    parser.add_argument("--kept", type=Path, help="a checkpoint kept from before: the log must extend it")
    parser.add_argument("--no-database", action="store_true", help="look at the folder alone")
    parser.add_argument("--json", action="store_true")


def check(folder: Path, vkey: Path, kept: Path | None, dsn: str | None, show: bool) -> Report:
    """One verification. Raises OSError for files that are not there, psycopg.OperationalError without a database."""

    def progress(done: int, size: int) -> None:
        print(f"\r{done} of {size} entries", end="", file=sys.stderr, flush=True)

    if dsn is None:
        return verify(folder, vkey.read_text(), None, kept.read_bytes() if kept else None, progress if show else None)
    with psycopg.connect(dsn, row_factory=dict_row) as connection:

        def rows(first: int, count: int) -> list[dict[str, Any]]:
            return connection.execute("SELECT * FROM vault.leaves(%s, %s)", (first, count)).fetchall()

        return verify(folder, vkey.read_text(), rows, kept.read_bytes() if kept else None, progress if show else None)


def run(args: argparse.Namespace) -> int:
    """0 the log is whole, 1 something was found, 2 could not run."""
    try:
        config = settings.load()
        folder = args.folder or config.audit_log
        dsn = None if args.no_database or args.folder else admin_dsn(config)
        report = check(folder, args.vkey or folder / "log.vkey", args.kept, dsn, sys.stderr.isatty() and not args.json)
    except (OSError, KeyFileError, psycopg.OperationalError) as error:
        print(
            f"armonika: cannot verify: {error}. Is the system running (`make run`)? An exported folder is checked with --folder.",
            file=sys.stderr,
        )
        return 2
    if args.json:
        print(json.dumps(asdict(report), indent=1))
    else:
        print(
            f"{report.entries} of {report.size} entries recomputed, {report.database_rows} compared with the database; root {report.root}"
        )
        print("\n".join(f"FOUND: {finding}" for finding in report.findings) or "The log is whole.")
    return 1 if report.findings else 0
