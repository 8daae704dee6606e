"""`armonika restore BACKUP --to HOME [--time T]`: a backup into a new place; what ended since stays ended."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from armonika import policy, settings
from armonika.store.private_files import KeyFileError
from armonika.supervisor.backup.catalogue import BackupError
from armonika.supervisor.backup.create import catalogue_of
from armonika.supervisor.backup.restore import restore


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("restore", help="restore a backup into a new place")
    parser.add_argument("backup", nargs="?", default="latest", help="an id of the catalogue (default: the newest)")
    parser.add_argument("--to", type=Path, required=True, help="an empty folder: the home of the restored system")
    parser.add_argument(
        "--time", type=datetime.fromisoformat, help="a moment such as 2026-11-24T10:00:00; the end of the archive without it"
    )


def run(args: argparse.Namespace) -> int:
    """0 restored, 2 could not."""
    config, loaded = settings.load(), policy.load()
    until = args.time if args.time is None or args.time.tzinfo else args.time.replace(tzinfo=ZoneInfo(loaded.time_zone))
    try:
        kept = catalogue_of(config)
        done = restore(config, loaded, kept, kept.get(args.backup), args.to.absolute(), until)
    except (BackupError, KeyFileError, OSError, psycopg.Error) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    print(
        f"Restored into {done.home}. {done.replayed.entries} entries of the log and {done.replayed.ended} erasures were replayed.\n"
        f"Start it: ARMONIKA_HOME={done.home} armonika serve"
    )
    return 0
