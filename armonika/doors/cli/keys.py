"""`armonika keys list`: the inventory of compartments and epochs, without any key."""

from __future__ import annotations

import argparse
import json
import sys

from armonika import settings
from armonika.trust.keys import Keyring, RootKeyError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("keys", help="look at the keys of this installation")
    parser.add_argument("action", choices=("list",))
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Opens the keyring with the root key, so that it also tells whether they belong together."""
    try:
        rows = Keyring.open(settings.load().keys).inventory()
    except RootKeyError as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([{"compartment": a, "epoch": b, "created": c, "current": d} for a, b, c, d in rows], indent=1))
    else:
        for name, epoch, created, current in rows:
            print(f"{name:<12} epoch {epoch}  made {created}{'  in use' if current else ''}")
    return 0
