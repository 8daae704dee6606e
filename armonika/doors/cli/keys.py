"""`armonika keys list`: the inventory, without any key. `armonika keys credentials DOOR FOLDER`: a door's credentials for its systemd unit."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from armonika import policy, settings
from armonika.policy.compile import catalogue
from armonika.trust.keys import Keyring, RootKeyError, credentials
from armonika.trust.keys.keyring import DOORS


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("keys", help="look at the keys of this installation")
    parser.add_argument("action", choices=("list", "credentials"))
    parser.add_argument("door", nargs="?")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Opens the keyring with the root key, so that it also tells whether they belong together."""
    try:
        ring = Keyring.open(settings.load().keys)
        if args.action == "credentials":
            return _credentials(ring, args.door, args.folder)
        rows = ring.inventory()
    except RootKeyError as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([{"compartment": a, "epoch": b, "created": c, "current": d} for a, b, c, d in rows], indent=1))
    else:
        for name, epoch, created, current in rows:
            print(f"{name:<12} epoch {epoch}  made {created}{'  in use' if current else ''}")
    return 0


def _credentials(ring: Keyring, door: str | None, folder: Path | None) -> int:
    if door not in DOORS or folder is None:
        print(f"armonika: name a door ({', '.join(DOORS)}) and a folder.", file=sys.stderr)
        return 2
    held = {entry["compartment"]: entry["mode"] for entry in catalogue(policy.load())["doors"] if entry["door"] == door}
    print(credentials.write(ring.credentials(door, held), folder))
    return 0
