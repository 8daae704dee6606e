"""`armonika keys …`: the inventory, rotation, destruction, the ceremony and the root key. No command shows or exports a key."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import psycopg

from armonika import policy, settings
from armonika.doors.cli import ceremony
from armonika.doors.cli.running import aside, not_reached
from armonika.gates.channel import AUTHORITY
from armonika.rules.key_states import IllegalTransition, KeyState
from armonika.settings import Settings
from armonika.store import partitions, watch
from armonika.store.private_files import KeyFileError
from armonika.store.turn import MigrationError
from armonika.supervisor import certificates
from armonika.supervisor.backup.catalogue import BackupError
from armonika.supervisor.database import admin_dsn
from armonika.supervisor.key_desk import KeyDesk, KeyDeskError
from armonika.supervisor.keys_told import tell_now
from armonika.trust.keys import Keyring, credentials, journal, keyring
from armonika.trust.keys.ceremony import CeremonyError
from armonika.trust.keys.keyring import DOORS, alone
from armonika.trust.keys.providers import NAMES, choose

_COMPARTMENT, _EPOCH = "such as account; `keys list` shows them", "its number, as `keys list` shows it"
_REASON = "kept with the epoch, in words; name nobody"
_MARKED = {
    "suspended": "Nothing is written under it: writes to {0} are refused until `armonika keys mark {0} EPOCH active` or `armonika keys rotate {0}`.",
    "active": "It is written again.",
    "compromised": "Nothing is written under it any more. Now: `armonika keys rotate {0}`.",
}
_MARKS = {"suspended": KeyState.SUSPENDED, "active": KeyState.ACTIVE, "compromised": KeyState.COMPROMISED}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("keys", help="look at the keys of this installation and change them")
    actions = parser.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("list", help="every epoch with its state, since when and why; how far a rotation is")
    shown.add_argument("--json", action="store_true", help="the report as JSON, with the history of each epoch")
    rotate = actions.add_parser("rotate", help="begin a new epoch; all data keys are re-wrapped in the background")
    rotate.add_argument("compartments", nargs="*", metavar="COMPARTMENT", help="all when none is named")
    rotate.add_argument("--reason", default="by the administrator", help=_REASON)
    rotate.add_argument(
        "--prepare", action="store_true", help="only make the epoch and its credentials; restart the units, then rotate again"
    )
    rotate.add_argument("--wait", action="store_true", help="show the progress until it is done")
    actions.add_parser("pause", help="hold the re-wrapping")
    actions.add_parser("resume", help="let the re-wrapping go on")
    mark = actions.add_parser("mark", help="suspend an epoch, make it active again, or mark it as compromised")
    mark.add_argument("compartment", help=_COMPARTMENT)
    mark.add_argument("epoch", type=int, help=_EPOCH)
    mark.add_argument("state", choices=sorted(_MARKS), help="suspended and back to active; compromised is for good: then rotate")
    mark.add_argument("--reason", required=True, help=_REASON)
    destroy = actions.add_parser("destroy", help="destroy an epoch for good")
    destroy.add_argument("compartment", help=_COMPARTMENT)
    destroy.add_argument("epoch", type=int, help=_EPOCH)
    destroy.add_argument("--reason", required=True, help=_REASON)
    destroy.add_argument("--early", action="store_true", help="although backups still need it")
    actions.add_parser(
        "tend", help="what is due by the policy: rotate, destroy; room for the audit log. For a timer, every five minutes"
    )
    ceremony.add_parsers(actions)
    move = actions.add_parser("move-root", help="move the root key to another provider; then set ARMONIKA_ROOT to it")
    move.add_argument("provider", choices=NAMES, help="its settings must be in the environment (docs/operate.md)")
    given = actions.add_parser(
        "credentials", help="write a door's credentials and its certificate of 90 days for its systemd unit"
    )
    given.add_argument("door", choices=(*DOORS, "witness"), help="whose unit it is")
    given.add_argument(
        "folder", type=Path, help="such as /etc/armonika/credentials: DOOR.json, DOOR.pem and authority.pem are written there"
    )
    authority = actions.add_parser("authority", help="the certificate of the authority of our own processes (PEM)")
    authority.add_argument("--renew", action="store_true", help="make a new one; running processes get certificates of it")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, 2 could not run."""
    config = settings.load()
    try:
        return _run(args, config)
    except (KeyDeskError, IllegalTransition, CeremonyError, BackupError) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 1
    except MigrationError as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    except (KeyFileError, psycopg.OperationalError) as error:
        return not_reached(error)


def _run(args: argparse.Namespace, config: Settings) -> int:
    if args.action in ceremony.ACTIONS:
        return ceremony.run(args, config)
    if args.action == "credentials":
        return _credentials(config, args.door, args.folder)
    if args.action == "move-root":
        return _move_root(config, args.provider)
    if args.action == "list":
        return _list(config, args.json)
    loaded = policy.load()
    if args.action == "authority":
        return _authority(config, loaded, args.renew)
    desk = KeyDesk(config, loaded, admin_dsn(config))
    if args.action == "rotate":
        names = args.compartments or list(loaded.compartments)
        if args.prepare:
            made = desk.prepare(names, args.reason)
            print(
                "Prepared: "
                + ", ".join(f"{name} {number}" for name, number in made.items())
                + ". Restart the units, then `armonika keys rotate`."
            )
            return 0
        made = desk.rotate(names, args.reason)
        print("Written now: " + ", ".join(f"{name} epoch {number}" for name, number in made.items()) + ".")
        return _watch(config) if args.wait else 0
    if args.action in ("pause", "resume"):
        desk.pause(args.action == "pause")
        print("Held: `armonika keys resume` goes on." if args.action == "pause" else "It goes on.")
    elif args.action == "mark":
        desk.mark(args.compartment, args.epoch, _MARKS[args.state], args.reason)
        print(_MARKED[args.state].format(args.compartment))
    elif args.action == "destroy":
        desk.destroy(args.compartment, args.epoch, args.reason, early=args.early)
        print(f"Epoch {args.epoch} of {args.compartment} is destroyed; keyring key and root key are new.")
    else:
        with psycopg.connect(admin_dsn(config), autocommit=True) as connection:
            watch.end_held(connection)
            partitions.extend(connection)
            for gap in partitions.gaps(connection):
                print(f"armonika: {gap.words()}.", file=sys.stderr)
        done = desk.tend()
        print(
            f"Rotated: {', '.join(done.rotated) or 'none was due'}. Destroyed: {', '.join(f'{a} {b}' for a, b in done.destroyed) or 'none was due'}."
        )
        if done.authority == "due":
            print("The authority of certificates is a year old: `armonika keys authority --renew` (docs/operate.md, systemd).")
    return 0


def _credentials(config: Settings, door: str, folder: Path) -> int:
    held, own = dict(policy.load().doors.get(door, {})), f"{door}.pem"
    with alone(config.keys):
        ring = Keyring.open(config.keys)
        authority, given = ring.authority(), ring.credentials(door, held) if door in DOORS else None
        ring.act(journal.CREDENTIALS, door)
        ring.save()
    tell_now(config, ring, aside)
    if given:
        print(credentials.write(given, folder))
    certificates.hand_out(authority, door, folder, None, certificates.UNIT_DAYS, own)
    print(f"{folder / own}\n{folder / AUTHORITY}")
    return 0


def _authority(config: Settings, loaded: policy.Policy, renew: bool) -> int:
    if renew:
        names = KeyDesk(config, loaded, "").renew_authority()
        tell_now(config, Keyring.open(config.keys), aside)
        print(f"New certificates for: {', '.join(names) or 'no running process'}.", file=sys.stderr)
    else:
        made = not (config.keys / keyring.FILE).exists()
        Keyring.open_or_create(config.keys).ensure(loaded.compartments)
        if made:
            print(
                f"New keys were made in {config.keys}. If this machine has an installation, ARMONIKA_HOME names another place: remove them.",
                file=sys.stderr,
            )
    print(Keyring.open(config.keys).authority().certificate().decode(), end="")
    return 0


def _move_root(config: Settings, name: str) -> int:
    recorded = os.environ.get("ARMONIKA_ROOT") or "file"
    if name == recorded:
        raise KeyDeskError(f"The root key is in `{name}` already.")
    with alone(config.keys):
        ring = Keyring.open(config.keys)
        ring.renew(choose(config.keys, name))
    tell_now(config, ring, aside)
    print(f"The root key is in `{name}` now: set ARMONIKA_ROOT={name} for every start from here on.")
    return 0


def _progress(config: Settings) -> tuple[bool, int, int, int, int] | None:
    try:
        with psycopg.connect(admin_dsn(config), autocommit=True, connect_timeout=3) as connection:
            row = connection.execute("SELECT paused, moved, total, redigested, retiring FROM vault.rotation_state()").fetchone()
    except (psycopg.Error, KeyFileError):
        return None
    return row


def _list(config: Settings, as_json: bool) -> int:
    ring = Keyring.open(config.keys)
    lines, state, since = ring.epochs.inventory(), _progress(config), ring.authority_since()
    if as_json:
        epochs = [
            {"compartment": line.compartment, "epoch": line.epoch, "state": line.state, "since": line.since.isoformat(), "reason": line.reason,
             "retired_at": line.retired_at.isoformat() if line.retired_at else None, "history": ring.epochs.history(line.compartment, line.epoch)}
            for line in lines
        ]  # fmt: skip
        names = ("paused", "moved", "total", "redigested", "retiring")
        print(json.dumps({"root": ring.root(), "recovery": ring.recovery(), "authority": {"since": since.isoformat() if since else None}, "epochs": epochs, "rotation": dict(zip(names, state, strict=True)) if state else None}, indent=1))  # fmt: skip
        return 0
    root, recovery = ring.root(), ring.recovery()
    print(f"root key      {root['provider']}, version {root['version']}, {root['protection']}: {root['place']}")
    held = (
        f"{recovery['needed']} of {recovery['of']} shares, ceremony of {recovery['at']}"
        if recovery
        else "no ceremony yet: `armonika keys ceremony`"
    )
    print(f"recovery      {held}")
    print(
        f"authority     of certificates, ECDSA P-256, since {since:%Y-%m-%d %H:%M} UTC"
        if since
        else "authority     none yet: the next start makes it"
    )
    for line in lines:
        note = f"; empty since {line.retired_at:%Y-%m-%d}" if line.retired_at else ""
        print(
            f"{line.compartment:<12}  epoch {line.epoch:<4} {line.state:<15} since {line.since:%Y-%m-%d %H:%M} UTC  {line.reason}{note}"
        )
    if state and state[4]:
        print(_words(state))
    return 0


def _words(state: tuple[bool, int, int, int, int]) -> str:
    paused, moved, total, redigested, retiring = state
    return f"rotation: {moved} of {total} data keys re-wrapped, {redigested} look-ups renewed, {retiring} epochs to go{' (paused)' if paused else ''}"


def _watch(config: Settings) -> int:
    while True:
        state = _progress(config)
        if state is None:
            print("armonika: the database does not answer; the rotation goes on when it is back.", file=sys.stderr)
            return 2
        print(
            f"\r{_words(state)}   " if sys.stdout.isatty() else _words(state), end="" if sys.stdout.isatty() else "\n", flush=True
        )
        if not state[4]:
            print("\nEverything is under the new epoch." if sys.stdout.isatty() else "Everything is under the new epoch.")
            return 0
        if state[0]:
            print("\nPaused: `armonika keys resume` goes on.")
            return 0
        time.sleep(1)
