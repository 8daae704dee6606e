"""`armonika token issue`: a token of the machine API, shown once."""

from __future__ import annotations

import argparse
import sys

from armonika import settings
from armonika.doors.cli.running import admin_dsn
from armonika.store.private_files import KeyFileError
from armonika.trust.keys.provision import issue_token


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("token", help="issue a token of the machine API")
    parser.add_argument("action", choices=("issue",))
    parser.add_argument("--label", help="small letters, digits and hyphens")
    parser.add_argument("--days", type=float, default=90)
    for bound in ("compartment", "purpose", "operation"):
        parser.add_argument(f"--{bound}", action="append", help=f"only this {bound}; may be given again")


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
