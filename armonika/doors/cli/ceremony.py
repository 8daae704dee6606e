"""`armonika keys ceremony` and `armonika keys recover`: custodians come to one terminal, each sees one share, three prove theirs."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from armonika.doors.cli.running import aside
from armonika.settings import Settings
from armonika.store.private_files import read_private, write_private
from armonika.supervisor.keys_told import tell_now
from armonika.trust.keys.ceremony import NEEDED, OF, Ceremony, CeremonyError, restore
from armonika.trust.keys.providers import choose

ACTIONS = ("ceremony", "recover")


def add_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both commands."""
    held = actions.add_parser(
        "ceremony", help=f"split a new recovery key into {OF} shares, of which {NEEDED} restore the root key"
    )
    held.add_argument(
        "--to", type=Path, help="write the shares as files into this folder (one for each custodian) instead of showing them"
    )
    recover = actions.add_parser("recover", help=f"restore the root key with {NEEDED} shares")
    recover.add_argument("shares", nargs="*", type=Path, help="files with shares; asked for when none is named")


def run(args: argparse.Namespace, config: Settings) -> int:
    """0 done. Raises CeremonyError, RootKeyError."""
    try:
        return _run(args, config)
    except EOFError:
        raise CeremonyError("The input ended before everything was said. Nothing was changed.") from None


def _run(args: argparse.Namespace, config: Settings) -> int:
    if args.action == "recover":
        shares = [read_private(path).decode() for path in args.shares] or [
            _ask(f"Share {number} of {NEEDED}: ") for number in range(1, NEEDED + 1)
        ]
        ring = restore(config.keys, shares, choose(config.keys))
        tell_now(config, ring, aside)
        print(f"The keyring {ring.keyring_id[:8]} has a new root key. Start the system: `armonika serve`.")
        return 0
    ceremony = Ceremony()
    if args.to:
        for number, share in enumerate(ceremony.shares, start=1):
            write_private(args.to / f"share-{number}.txt", f"{share}\n".encode())
        ring = ceremony.finish(config.keys, [read_private(args.to / f"share-{number}.txt").decode() for number in (1, 3, 5)])
        tell_now(config, ring, aside)
        print(
            f"{OF} shares are in {args.to}. Give each to one custodian, then remove the folder: three of them together restore the root key."
        )
        return 0
    if not sys.stdin.isatty():
        raise CeremonyError("A ceremony needs a terminal, or --to FOLDER for the shares.")
    for number, share in enumerate(ceremony.shares, start=1):
        input(f"Custodian {number} of {OF}, alone at the screen: press Enter to see your share.")
        print(f"\n{share}\n")
        input("Write it down, then press Enter: the screen is cleared.")
        print("\033[2J\033[3J\033[H", end="", flush=True)
    print(f"Now {NEEDED} of you type your share, to prove that it works.")
    ring = ceremony.finish(config.keys, [_ask(f"Share {number} of {NEEDED}: ") for number in range(1, NEEDED + 1)])
    tell_now(config, ring, aside)
    print(
        f"The recovery key is in force: {NEEDED} of the {OF} shares restore the root key. Shares of earlier ceremonies are void: destroy them."
    )
    return 0


def _ask(prompt: str) -> str:
    return getpass.getpass(prompt)
