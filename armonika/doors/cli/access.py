"""`armonika access review`: who of staff has which role, what a role may do, and whether a review is due. Names nobody."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

import psycopg

from armonika import policy as policies
from armonika import settings
from armonika.doors.cli.running import not_reached
from armonika.flows import access
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("access", help="who of staff may do what, and when it was last reviewed")
    parser.add_argument("action", choices=("review",), help="who has which role, what it may do, and what is due")
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def run(args: argparse.Namespace) -> int:
    """0 reviewed within 90 days and every account in order, 1 something is due, 2 could not run."""
    try:
        report = _report(admin_dsn(settings.load()))
    except (KeyFileError, psycopg.OperationalError) as error:
        return not_reached(error)
    print(json.dumps(report, indent=1, default=str) if args.json else _table(report))
    return 1 if report["due"] else 0


def _report(dsn: str) -> dict[str, object]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT subject, role, since, last_sign_in, second_factor, codes_left FROM vault.staff_list()"
        ).fetchall()
        state = connection.execute(
            "SELECT (SELECT max(at) FROM vault.access_review), (SELECT created_at FROM vault.installation)"
        ).fetchone()
    assert state is not None
    reviewed, started = state
    now = datetime.now(UTC)
    due = []
    if access.overdue(reviewed, started, now):
        due.append(f"the last review is more than {access.REVIEW_DAYS} days ago: record one at the console, page `access/`")
    due += [
        f"{row[0]} has no second factor for 14 days: `armonika staff end` or `reset`"
        for row in rows
        if not row[4] and (now - row[2]).days >= 14
    ]
    names = ("subject", "role", "since", "last_sign_in", "second_factor", "codes_left")
    return {
        "accounts": [dict(zip(names, row, strict=True)) for row in rows],
        "rights": {
            role: [f"{right.dataset} for {right.purpose}: {', '.join(right.operations)} ({right.scope}; {', '.join(right.fields)})" for right in rights]
            for role, rights in access.matrix(policies.load()).items()
        },
        "reviewed_at": reviewed,
        "started_at": started,
        "due": due,
    }  # fmt: skip


def _utc(at: object) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" if isinstance(at, datetime) else "never"


def _table(report: dict[str, object]) -> str:
    lines = [f"{'pseudonym':<36}  {'role':<11} {'since (UTC)':<16}  {'last sign-in':<16}  second factor"]
    for account in report["accounts"]:  # type: ignore[attr-defined]
        last = account["last_sign_in"]
        lines.append(
            f"{account['subject']!s:<36}  {account['role']:<11} {_utc(account['since'])}  {_utc(last):<16}  "
            f"{'set, ' + str(account['codes_left']) + ' recovery codes' if account['second_factor'] else 'not set'}"
        )
    for role, rights in report["rights"].items():  # type: ignore[attr-defined]
        lines += ["", role, *(f"  {right}" for right in rights)]
    reviewed = report["reviewed_at"]
    lines += [
        "",
        f"Last review: {_utc(reviewed) + ' UTC' if reviewed else 'none yet'}. It is recorded at the console, page `access/`, by the roles that may.",
    ]
    return "\n".join([*lines, *(f"DUE: {text}" for text in report["due"])])  # type: ignore[attr-defined]
