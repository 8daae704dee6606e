"""`armonika audit verify`: recomputes the whole log, from its folder and against the database."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from armonika import settings
from armonika.doors.cli import audit_online
from armonika.doors.cli.running import admin_dsn
from armonika.store.private_files import KeyFileError
from armonika.trust.audit import certificate
from armonika.trust.audit.verify import Broken, Report, verify
from armonika.trust.audit.verify_proof import ProofRefused, verify_proof
from armonika.trust.keys import Keyring


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("audit", help="verify the audit log")
    parser.add_argument("action", choices=("verify", "certificate"))
    parser.add_argument("subject", nargs="?", type=UUID, help="certificate: the erased person's id")
    parser.add_argument("--record", type=UUID, help="certificate: of the end of this record of the person")
    parser.add_argument("--certificate", type=Path, help="verify a certificate of an erasure, offline")
    parser.add_argument("--folder", type=Path, help="the log's folder (default: of this installation)")
    parser.add_argument("--vkey", type=Path, help="the log's verifier key (default: log.vkey in the folder)")
    parser.add_argument("--kept", type=Path, help="a checkpoint kept from before: the log must extend it")
    parser.add_argument(
        "--from-kept", action="store_true", help="read nothing before the kept checkpoint: its root must come of the tiles"
    )
    parser.add_argument("--url", help="the log over HTTP, such as https://api.example/log: tiles and checkpoint, without entries")
    parser.add_argument("--keep", type=Path, help="with --url: write the verified checkpoint here, to be --kept next time")
    parser.add_argument("--no-database", action="store_true", help="look at the folder alone")
    parser.add_argument("--proof", type=Path, help="verify one proof file, offline; needs nothing of ours but the keys")
    parser.add_argument(
        "--witness", type=Path, help="the witness's verifier keys: every one of them must have cosigned the proof"
    )
    parser.add_argument("--json", action="store_true")


_STRAYS = """SELECT a.audit_id FROM vault.audit a, vault.seal_state s
    WHERE NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = a.audit_id) AND (a.audit_id <= s.settled OR a.at < clock_timestamp() - interval '10 minutes')
    ORDER BY a.audit_id"""


def check(folder: Path, vkey: Path, kept: Path | None, dsn: str | None, show: bool, from_kept: bool = False) -> Report:
    """One verification. Raises OSError for files that are not there, psycopg.OperationalError without a database."""

    def progress(done: int, size: int) -> None:
        print(f"\r{done} of {size} entries", end="", file=sys.stderr, flush=True)

    def whole(rows: Any = None, strays: Any = None) -> Report:
        older = kept.read_bytes() if kept else None
        return verify(folder, vkey.read_text(), rows, older, progress if show else None, from_kept=from_kept, strays=strays)

    if dsn is None:
        return whole()
    with psycopg.connect(dsn, row_factory=dict_row) as connection:

        def rows(first: int, count: int) -> list[dict[str, Any]]:
            return connection.execute("SELECT * FROM vault.leaves(%s, %s)", (first, count)).fetchall()

        return whole(rows, lambda: [row["audit_id"] for row in connection.execute(_STRAYS).fetchall()])


def run(args: argparse.Namespace) -> int:
    """0 the log is whole, 1 something was found, 2 could not run."""
    if args.action == "certificate":
        return _certificate(args.subject, args.record)
    if args.proof or args.certificate:
        return _proof(args)
    try:
        if args.url:
            report = audit_online.check(args.url, args.vkey, args.witness, args.kept, args.keep)
        else:
            config = settings.load()
            folder = args.folder or config.audit_log
            dsn = None if args.no_database or args.folder else admin_dsn(config)
            show = sys.stderr.isatty() and not args.json
            report = check(folder, args.vkey or folder / "log.vkey", args.kept, dsn, show, args.from_kept)
    except audit_online.Unreachable as error:
        print(f"armonika: {error}.", file=sys.stderr)
        return 2
    except (OSError, UnicodeError, KeyFileError, psycopg.OperationalError) as error:
        print(
            f"armonika: cannot verify: {error}. Is the system running (`armonika serve`)? An exported folder is checked with --folder.",
            file=sys.stderr,
        )
        return 2
    if args.json:
        print(json.dumps(asdict(report), indent=1))
    else:
        print(
            f"{report.entries} of {report.size} entries recomputed, {report.database_rows} compared with the database; root {report.root}"
        )
        print("\n".join(f"FOUND: {finding}" for finding in report.findings) or "The log is whole.")
    return 1 if report.findings else 0


def _proof(args: argparse.Namespace) -> int:
    try:
        vkey = (args.vkey or settings.load().audit_log / "log.vkey").read_text()
        witnesses = [line for line in args.witness.read_text().splitlines() if line.strip()] if args.witness else []
        if args.certificate:
            certified = certificate.verify(args.certificate.read_text(), vkey, witnesses)
            proven = certified.proven
            keys = (
                ", ".join(f"{key['compartment']}/{key['epoch']} of record {key['record']}" for key in certified.keys)
                or "none was left"
            )
            print(f"Certified: {certified.subject} erased at {certified.at}; keys destroyed: {keys}.")
        else:
            proven = verify_proof(args.proof.read_text(), vkey, witnesses)
    except (OSError, UnicodeError) as error:
        print(f"armonika: cannot verify: {error}. Name the log's key with --vkey.", file=sys.stderr)
        return 2
    except ProofRefused as error:
        print(f"FOUND: {error}." if not args.json else json.dumps({"proven": False, "why": str(error)}))
        return 1
    if args.json:
        print(json.dumps({"proven": True, **asdict(proven)}, ensure_ascii=False, indent=1))
    else:
        seen = (
            ", ".join(f"{name} at {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC" for name, at in proven.cosigned)
            or "no witness asked for"
        )
        print(
            f"Proven: entry {proven.index} of {proven.size} in {proven.origin}. Cosigned: {seen}.\n{json.dumps(proven.entry, ensure_ascii=False, indent=1)}"
        )
    return 0


def _certificate(subject: UUID | None, record: UUID | None) -> int:
    """Prints the certificate of a person's newest erasure, or of the end of one record."""
    if subject is None:
        print("armonika: name the erased person's id.", file=sys.stderr)
        return 2
    try:
        config = settings.load()
        ring = Keyring.open(config.keys)
        states = {(line.compartment, line.epoch): str(line.state) for line in ring.epochs.inventory()}
        print(certificate.make(config.audit_log, subject, states, record), end="")
    except certificate.NoErasure as error:
        print(f"armonika: {error}.", file=sys.stderr)
        return 1
    except (KeyFileError, OSError, Broken) as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    return 0
