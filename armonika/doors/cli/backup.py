"""`armonika backup create|list|verify|drill|expire`: sealed backups with a catalogue, in one country, for as long as the policy says."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

import psycopg

from armonika import policy, settings
from armonika.doors.cli.running import not_reached
from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.store.private_files import KeyFileError
from armonika.supervisor.backup.catalogue import Backup, BackupError, Catalogue
from armonika.supervisor.backup.create import catalogue_of, create, verify
from armonika.supervisor.backup.drill import drill
from armonika.supervisor.database import admin_dsn
from armonika.supervisor.key_desk import KeyDesk, KeyDeskError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("backup", help="make, list and verify backups")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (("create", "make a backup of the running system"), ("list", "the catalogue"), ("verify", "read a backup to its last byte"),
                       ("drill", "restore a backup beside the running system, compare, and throw the copy away"), ("expire", "remove what the policy no longer keeps")):  # fmt: skip
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="the report as JSON")
        if name in ("verify", "drill"):
            action.add_argument("backup", nargs="?", default="latest", help="an id of the catalogue (default: the newest)")


def run(args: argparse.Namespace) -> int:
    """0 all well, 1 a backup is damaged, 2 could not run."""
    config, loaded = settings.load(), policy.load()
    kept = catalogue_of(config)
    try:
        if args.action == "create":
            _show([create(config, loaded, admin_dsn(config))], args.json)
        elif args.action == "drill":
            return _drill(config, loaded, kept, args)
        elif args.action == "list":
            found, damaged = kept.look()
            _show(found, args.json)
            for path in damaged:
                print(f"armonika: {path} is damaged: this backup cannot be restored.", file=sys.stderr)
            return 1 if damaged else 0
        elif args.action == "expire":
            gone = KeyDesk(config, loaded, admin_dsn(config)).expire()
            print(json.dumps(gone) if args.json else f"Removed: {', '.join(gone) or 'nothing was due'}.")
        else:
            chosen = kept.get(args.backup)
            try:
                _show([verify(config, chosen)], args.json)
            except BackupError as error:
                print(f"armonika: {error}", file=sys.stderr)
                return 1
    except (BackupError, KeyDeskError, KeyFileError) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    except psycopg.OperationalError as error:
        return not_reached(error)
    return 0


def _drill(config: Settings, loaded: Policy, kept: Catalogue, args: argparse.Namespace) -> int:
    """A backup that cannot be restored, or is not the same, is a finding (1)."""
    chosen = kept.get(args.backup)
    if config.database_url:
        raise BackupError(
            "A drill restores beside the running system, with the embedded server. Of a server of your own, restore to another machine instead: "
            "`armonika restore latest --to FOLDER` lays the files ready and says how to go on."
        )
    try:
        done = drill(config, loaded, kept, chosen, admin_dsn(config), lambda text: print(text, file=sys.stderr))
    except BackupError as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 1
    print(
        json.dumps(asdict(done), indent=1) if args.json
        else f"{done.backup_id} restores: {done.records} records are the same, {done.keys} keys open, {done.entries} entries of the log verify.\n"
        f"Nobody erased came back: {done.erased} people and {done.ended} records that ended are absent, {done.replayed} of them by the register. The copy is removed."
    )  # fmt: skip
    return 0


def _show(backups: list[Backup], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(backup) for backup in backups], indent=1))
        return
    for backup in backups:
        seen = f"verified {backup.verified_at[:16]}Z" if backup.verified_at else "not verified yet"
        seen += f", restored {backup.restored_at[:16]}Z" if backup.restored_at else ""
        print(
            f"{backup.backup_id}  {backup.created_at[:16]}Z  {backup.bytes // 1024:>9} KiB  site {backup.site}  PostgreSQL {backup.server}  {seen}"
        )
    if not backups:
        print("There is no backup yet: `armonika backup create`.")
