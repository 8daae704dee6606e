"""`armonika verify`: proves the claims of the policy against the running system."""

from __future__ import annotations

import argparse
import json
import sys

import psycopg

from armonika import policy as policies
from armonika import settings
from armonika.doors.cli.running import not_reached, open_door
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.verify import report as reports
from armonika.verify.context import Context
from armonika.verify.http import send


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("verify", help="prove the policy's claims against the running system")
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="ids such as 7a.3; all when none is given")
    parser.add_argument("--sabotage", action="store_true", help="plant every bad state too: each must turn its check red")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--no-publish", action="store_true", help="do not put the result on /trust")


def run(args: argparse.Namespace) -> int:
    """0 nothing is false, 1 a claim is false, 2 could not run."""
    policy = policies.load()
    unknown = set(args.claims) - {claim.id for claim in policy.claims}
    if unknown:
        known = ", ".join(claim.id for claim in policy.claims)
        print(f"armonika: no claim {sorted(unknown)[0]}. There are: {known}.", file=sys.stderr)
        return 2
    try:
        config = settings.load()
        dsn = admin_dsn(config)
        vault = open_door(config, policy, "verifier")
        with psycopg.connect(dsn, autocommit=True) as database:
            context = Context(config, policy, database, vault, send)
            report = reports.run(context, args.claims, args.sabotage, reports.note)
            if not args.no_publish and not args.claims:
                vault.publish_trust_report(report)
        vault.close()
    except (KeyFileError, psycopg.OperationalError) as error:
        return not_reached(error)
    reports.note("")
    print(json.dumps(report, ensure_ascii=False, indent=1) if args.json else reports.table(report))
    return 1 if report["counts"].get("FALSE") else 0
