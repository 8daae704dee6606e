"""`armonika restore BACKUP --to HOME [--time T]`: a backup into a new place; what ended since stays ended."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from armonika import policy, settings
from armonika.store.private_files import KeyFileError
from armonika.store.turn import MigrationError
from armonika.store.users import UserError
from armonika.supervisor.backup.catalogue import Backup, BackupError
from armonika.supervisor.backup.create import catalogue_of
from armonika.supervisor.backup.restore import Restored, restore


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("restore", help="restore a backup into a new place")
    parser.add_argument("backup", nargs="?", default="latest", help="an id of the catalogue (default: the newest)")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; progress goes to standard error")
    parser.add_argument("--to", type=Path, required=True, help="an empty folder: the home of the restored system")
    parser.add_argument(
        "--time",
        type=_moment,
        help="a moment such as 2026-11-24T10:00:00, in the policy's time zone, or 2026-11-24T09:00:00Z, as `backup list` shows it; the end of the archive without it",
    )


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment. Write it as 2026-11-24T10:00:00, or with a zone as 2026-11-24T10:00:00+01:00"
        ) from None


def run(args: argparse.Namespace) -> int:
    """0 restored, 2 could not."""
    config, loaded = settings.load(), policy.load()
    until = args.time if args.time is None or args.time.tzinfo else args.time.replace(tzinfo=ZoneInfo(loaded.time_zone))
    try:
        kept = catalogue_of(config)
        chosen = kept.get(args.backup)
        done = restore(config, loaded, kept, chosen, args.to.absolute(), until, lambda text: print(text, file=sys.stderr))
    except (BackupError, KeyFileError, MigrationError, UserError, psycopg.Error) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"armonika: {error.filename or args.to}: {error.strerror}. What was begun is removed.", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(asdict(done), indent=1, default=str))
    elif config.database_url:
        print(_by_hand(done.home, chosen))
    else:
        _tell(done)
    return 0


def _tell(done: Restored) -> None:
    print(
        f"Restored into {done.home}, with what was committed until {done.until}.\n"
        f"{done.replayed.entries} entries of the log and {done.replayed.ended} erasures were replayed."
    )
    for words in done.replayed.words()[1:]:
        print(words)
    print(f"Start it: ARMONIKA_HOME={done.home} armonika serve")


def _by_hand(home: Path, backup: Backup) -> str:
    data, wal = home / "server" / "data", home / "server" / "wal"
    return (
        f"The files of {backup.backup_id} are in {data}, the segments of its log in {wal}; keys and audit log are in {home}.\n"
        f"1. chown -R postgres {home / 'server'}, and start a PostgreSQL {backup.server} on {data}: it recovers by itself and then takes writes.\n"
        "2. At that server: ALTER SYSTEM RESET archive_command; ALTER SYSTEM RESET restore_command; ALTER SYSTEM RESET recovery_target_time; SELECT pg_reload_conf();\n"
        f"3. ARMONIKA_HOME={home} and ARMONIKA_DATABASE_URL with its address: `armonika serve` replays what was sealed since, before anything is served.\n"
        f"4. `armonika backup create`; then remove {wal}."
    )
