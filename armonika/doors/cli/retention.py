"""`armonika retention status|run|confirm-clock`: what has expired, and its end (claims 6a.6, 6a.9)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC

import psycopg

from armonika import settings
from armonika.doors.cli.running import door_address, not_reached, reach
from armonika.flows import retention
from armonika.settings import Settings
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.trust.keys import Keyring
from armonika.trust.vault.errors import ClockUntrusted, VaultError
from armonika.trust.vault.retention import Clock, Expirer, Progress


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("retention", help="what has expired: how much is left, end it now")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("status", "how many records of each dataset have expired and are still there"),
        ("run", "end everything that has expired, now"),
        ("confirm-clock", "somebody looked at the clock, and it is right: the job goes on"),
    ):
        actions.add_parser(name, help=text).add_argument("--json", action="store_true", help="the report as JSON")


def run(args: argparse.Namespace) -> int:
    """0 nothing is overdue, 1 something is, or a dataset has no class, 2 could not run (or the clock is not to be trusted)."""
    config = settings.load()
    try:
        if args.action == "confirm-clock":
            with psycopg.connect(admin_dsn(config), autocommit=True) as connection:
                connection.execute("SELECT vault.confirm_clock()")
            print(json.dumps({"confirmed": True}) if args.json else "The job goes on.")
            return 0
        return _run(config, args.action, args.json)
    except (psycopg.OperationalError, KeyFileError) as error:
        return not_reached(error)
    except ClockUntrusted as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    except VaultError as error:
        print(f"armonika: the job could not run: {error}. Is the system running (`armonika serve`)?", file=sys.stderr)
        return 2


def _run(config: Settings, action: str, as_json: bool) -> int:
    ring = Keyring.open(config.keys)
    reach(admin_dsn(config))
    expirer = Expirer(ring.credentials("retention", {}), door_address(config, ring, "retention"))
    try:
        done = retention.run(expirer) if action == "run" else None
        rows, clock = expirer.progress(), expirer.clock()
    finally:
        expirer.close()
    if as_json:
        shown = {
            "done": asdict(done) if done else None,
            "ran_at": clock.ran_at.isoformat(),
            "clock": clock.fault or "trusted",
            "datasets": [asdict(row) | {"oldest": row.oldest.isoformat() if row.oldest else None} for row in rows],
        }
        print(json.dumps(shown, indent=1))
    else:
        if done:
            print(
                f"{done.ended} records ended, {done.emptied} people are gone, {sum(done.purged.values())} rows nobody collected."
            )
        _show(rows, clock)
    return 1 if clock.fault or any(row.overdue or row.class_ is None for row in rows) else 0


def _show(rows: Sequence[Progress], clock: Clock) -> None:
    for row in rows:
        kept = f"{row.class_}, {row.days} days{', locked by law' if row.locked else ''}" if row.class_ else "NO CLASS: never ends"
        late = (
            f", {row.overdue} for more than a day, since {row.oldest.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            if row.overdue and row.oldest
            else ""
        )
        print(f"{row.dataset:<16} {kept:<44} {row.due} expired{late}")
    print(
        f"last run         {clock.ran_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{'; NOTHING ENDS: ' + clock.fault if clock.fault else ''}"
    )
