"""`armonika token issue|list|end`: tokens of the machine API. A token is shown once; later it is named by the beginning of its hash."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from datetime import UTC

from armonika import policy, settings
from armonika.policy.model import OPERATIONS
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.trust.keys.provision import Token, end_token, issue_token, name_of, tokens

MOST_DAYS = 3650


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    actions = subparsers.add_parser("token", help="issue, list and end tokens of the machine API").add_subparsers(
        dest="action", required=True
    )
    parser = actions.add_parser("issue", help="a new token, shown once")
    parser.add_argument("--label", type=_label, help="at most 40 small letters, digits and hyphens")
    parser.add_argument("--days", type=_days, default=90.0, help=f"how long it lives, at most {MOST_DAYS} (default: 90)")
    for bound in ("compartment", "purpose", "operation"):
        parser.add_argument(f"--{bound}", action="append", help=f"only this {bound}; may be given again")
    listed = actions.add_parser("list", help="those that live: name, label, role, from when to when")
    end = actions.add_parser("end", help="ends one at once")
    end.add_argument("name", help="the name that `list` shows")
    for action in (parser, listed, end):
        action.add_argument("--json", action="store_true", help="as JSON, for programs")


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


def _check_bounds(loaded: policy.Policy, args: argparse.Namespace) -> None:
    """Raises ValueError with the names that there are: the database says only that one of them is none."""
    known = {"compartment": loaded.compartments, "purpose": [one.name for one in loaded.purposes], "operation": OPERATIONS}
    for bound, names in known.items():
        for name in getattr(args, bound) or ():
            if name not in names:
                raise ValueError(f"no {bound} {name!r}; there are: {', '.join(names)}. Nothing was issued.")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 there is no such token, 2 could not run."""
    try:
        config = settings.load()
        if args.action == "issue":
            _check_bounds(policy.load(), args)
        dsn = admin_dsn(config)
        if args.action == "issue":
            _issue(dsn, args)
        elif args.action == "end":
            entry = end_token(dsn, args.name)
            print(json.dumps({"entry": entry}) if args.json else f"ended; entry {entry} of the log says so")
        else:
            _list(dsn, args.json)
    except LookupError as error:
        print(f"armonika: {error}.", file=sys.stderr)
        return 1
    except (KeyFileError, ValueError) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    return 0


def _issue(dsn: str, args: argparse.Namespace) -> None:
    token = issue_token(
        dsn,
        days=args.days,
        label=args.label,
        compartments=args.compartment,
        purposes=args.purpose,
        operations=args.operation,
    )
    if not args.json:
        print(token)
        return
    name = name_of(token)
    # Empty for one that lives too short to be found.
    about = next((_told(one) for one in tokens(dsn) if one.name == name), {"name": name})
    print(json.dumps({"token": token} | about))


def _list(dsn: str, as_json: bool) -> None:
    found = tokens(dsn)
    if as_json:
        print(json.dumps([_told(one) for one in found], indent=1))
        return
    for one in found:
        print(
            f"{one.name}  {one.label or '-':<40}  {one.role:<12}  {one.issued.astimezone(UTC):%Y-%m-%d %H:%M} to {one.expires.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        )
    if not found:
        print("No token lives. `armonika token issue` makes one.")


def _told(one: Token) -> dict[str, object]:
    return asdict(one) | {"issued": one.issued.isoformat(), "expires": one.expires.isoformat()}
