"""`armonika policy check | render | diff`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from armonika import policy
from armonika.policy.check import check
from armonika.policy.diff import diff, succession
from armonika.policy.render import render_text

_FILE = "the policy (default: policy/armonika.toml)"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command and its sub-commands."""
    parser = subparsers.add_parser("policy", help="check, render or compare policies")
    inner = parser.add_subparsers(dest="action", required=True)
    one = inner.add_parser("check", help="find every contradiction, and say how to mend it")
    one.add_argument("file", nargs="?", type=Path, help=_FILE)
    two = inner.add_parser("render", help="print the policy as text")
    two.add_argument("file", nargs="?", type=Path, help=_FILE)
    two.add_argument("--language", choices=("en", "fr", "ar"), default="en", help="default: en")
    three = inner.add_parser("diff", help="compare two policies; says which changes are material")
    three.add_argument("before", type=Path, help="the older policy")
    three.add_argument("after", type=Path, help="the newer one")
    for each in (one, three):
        each.add_argument("--json", action="store_true", help="the report as JSON")


def run(args: argparse.Namespace) -> int:
    """0 nothing found, 1 contradictions or differences found, 2 could not run."""
    try:
        if args.action == "check":
            return _check(policy.load(args.file), args.json)
        if args.action == "render":
            print(render_text(policy.load(args.file), args.language), end="")
            return 0
        before, after = policy.load(args.before), policy.load(args.after)
    except policy.PolicyError as error:
        print(error, file=sys.stderr)
        return 2
    changes, faults = diff(before, after), succession(before, after)
    if args.json:
        print(
            json.dumps(
                {"changes": [asdict(change) for change in changes], "faults": faults}, ensure_ascii=False, indent=1, default=str
            )
        )
    else:
        for change in changes:
            print(change)
        for fault in faults:
            print(f"[refused] {fault}")
        print(f"{len(changes)} differences, {sum(change.material for change in changes)} of them material.")
    return 1 if changes else 0


def _check(loaded: policy.Policy, as_json: bool) -> int:
    import armonika.verify.checks as checks

    findings = check(loaded, checks.names())
    if as_json:
        print(
            json.dumps(
                {"sha256": loaded.sha256, "findings": [asdict(finding) for finding in findings]}, ensure_ascii=False, indent=1
            )
        )
    else:
        for finding in findings:
            print(finding)
        print(
            f"{len(loaded.datasets)} datasets, {len(loaded.rules)} rules, {len(loaded.claims)} claims: {len(findings)} contradictions."
        )
    return 1 if findings else 0
