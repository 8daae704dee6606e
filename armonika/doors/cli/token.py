"""`armonika token issue`: a token of the machine API, shown once."""

from __future__ import annotations

import argparse
import re
import sys

from armonika import settings
from armonika.doors.cli.running import admin_dsn
from armonika.store.private_files import KeyFileError
from armonika.trust.keys.provision import issue_token

MOST_DAYS = 3650


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("token", help="issue a token of the machine API")
    parser.add_argument("action", choices=("issue",))
    parser.add_argument("--label", type=_label, help="at most 40 small letters, digits and hyphens")
    parser.add_argument("--days", type=_days, default=90.0, help=f"how long it lives, at most {MOST_DAYS} (default: 90)")
    for bound in ("compartment", "purpose", "operation"):
        parser.add_argument(f"--{bound}", action="append", help=f"only this {bound}; may be given again")


def _label(text: str) -> str:
    if not re.fullmatch("[a-z0-9-]{1,40}", text):
        raise argparse.ArgumentTypeError("at most 40 small letters, digits and hyphens")
    return text


def _days(text: str) -> float:
    """More than nothing: a token that has ended when it is shown is a mistake. (`nan` is in no range.)"""
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"a number of days, more than 0 and at most {MOST_DAYS}")
    return days


def run(args: argparse.Namespace) -> int:
    """Prints the token, once."""
    try:
        print(
            issue_token(
                admin_dsn(settings.load()),
                days=args.days,
                label=args.label,
                compartments=args.compartment,
                purposes=args.purpose,
                operations=args.operation,
            )
        )
    except (KeyFileError, OSError, ValueError) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    return 0
