"""`armonika staff`: appoint members of staff, reset a lost second factor, end an appointment. Each leaves its entry in the log."""

from __future__ import annotations

import argparse
import json
import sys

import psycopg

from armonika import policy as policies
from armonika import settings
from armonika.doors.cli.running import not_reached, open_door
from armonika.flows import appointments
from armonika.rules import one_time_code
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.trust import crypto
from armonika.trust.vault.errors import Duplicate, Refused, Unavailable, VaultError

NOBODY = "there is no such member of staff, or the appointment has ended; `armonika access review` shows those that are"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("staff", help="appoint staff, reset a lost second factor, end an appointment")
    actions = parser.add_subparsers(dest="action", required=True)
    appoint = actions.add_parser("appoint", help="a new member of staff; prints the first password once")
    appoint.add_argument("--name", required=True, help="as colleagues see it at the console")
    appoint.add_argument("--email", required=True, help="what they sign in with")
    appoint.add_argument("--role", required=True, help="a role of staff in the policy, such as support")
    appoint.add_argument("--json", action="store_true", help="the report as JSON")
    for name, text in (
        ("reset", "the second factor is lost: ends it and every session, prints a new password once"),
        ("end", "ends the account and every session at once"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("who", help="address or pseudonym")
        action.add_argument("--json", action="store_true", help="the report as JSON")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused, 2 could not run."""
    try:
        config = settings.load()
        dsn = admin_dsn(config)
        policy = policies.load()
        console = open_door(config, policy, "console")
        try:
            said: dict[str, object] = {}
            password = one_time_code.grouped(one_time_code.recovery_from(crypto.random_bytes(16)).lower()).replace(" ", "-")
            if args.action == "appoint":
                subject = appointments.appoint(console, dsn, policy, args.name, args.email, args.role, password)
                said = {"subject": str(subject), "role": args.role, "password": password}
            else:
                subject = appointments.subject_of(console, args.who)
                entry = (
                    appointments.reset(console, dsn, subject, password)
                    if args.action == "reset"
                    else appointments.end(dsn, subject)
                )
                said = {"subject": str(subject), "entry": entry} | ({"password": password} if args.action == "reset" else {})
        finally:
            console.close()
    except VaultError as error:
        print(f"armonika: {_words(args, error)}. Nothing was changed.", file=sys.stderr)
        return 2 if isinstance(error, Unavailable) else 1
    except (KeyFileError, psycopg.OperationalError) as error:
        return not_reached(error)
    if args.json:
        print(json.dumps(said))
        return 0
    print("\n".join(f"{name:<9} {value}" for name, value in said.items()))
    if args.action != "end":
        print("The password is shown once. At the first sign-in, within 14 days, the second factor is set up.")
    return 0


def _words(args: argparse.Namespace, error: VaultError) -> str:
    if args.action == "appoint" and isinstance(error, Duplicate):
        return "somebody of staff has this address, or had it until the appointment ended; `armonika staff reset` gives a new password to who is appointed"
    return NOBODY if isinstance(error, Refused) and args.action != "appoint" else str(error)
