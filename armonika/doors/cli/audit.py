"""`armonika audit verify`: recomputes the whole log, from its folder and against the database."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg

from armonika import settings
from armonika.doors.cli import audit_online
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.trust.audit import certificate
from armonika.trust.audit.files import MOST_NOTE, MOST_VKEYS, read_file
from armonika.trust.audit.verify import Broken, Report, last_cosigned, own_vkey, verify
from armonika.trust.audit.verify_proof import NoWitness, ProofRefused, verify_proof, witness_keys
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.audit.verify_tiles import cosigned_in
from armonika.trust.crypto import ed25519_public
from armonika.trust.keys import Keyring, RootKeyError

MOST_CERTIFICATE = 1 << 26


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("audit", help="verify the audit log")
    parser.add_argument(
        "action",
        choices=("verify", "certificate"),
        help="recompute the log, or check one file of it; print the certificate of an erasure",
    )
    parser.add_argument("subject", nargs="?", type=UUID, help="certificate: the erased person's id")
    parser.add_argument(
        "--record", type=UUID, help="certificate: of the end of this record of the person, which says nothing of the rest"
    )
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
        "--witness", type=Path, help="the witness's verifier keys: every one of them must have cosigned the checkpoint"
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON")


def check(
    folder: Path,
    vkey: str,
    kept: Path | None,
    dsn: str | None,
    show: bool,
    from_kept: bool = False,
    witnessed: bytes | None = None,
) -> Report:
    """One verification. Raises OSError for files that are not there, psycopg.Error without a database or one that is no installation's."""

    def progress(done: int, size: int) -> None:
        print(f"\r{done} of {size} entries", end="", file=sys.stderr, flush=True)

    older = read_file(kept, MOST_NOTE) if kept else None
    told = progress if show else None
    if dsn is None:
        return verify(folder, vkey, None, older, told, from_kept=from_kept, witnessed=witnessed)
    with psycopg.connect(dsn) as connection:
        database = DatabaseRows(connection)
        report = verify(
            folder, vkey, database.rows, older, told, from_kept=from_kept, witnessed=witnessed, beyond=database.beyond
        )
        report.findings += database.gaps()
        return report


def _installation(args: argparse.Namespace) -> Report:
    """The log of this installation, or an exported folder. The key is the one that is named, or the keyring's; log.vkey is believed where there is none."""
    config = settings.load()
    folder, own = args.folder or config.audit_log, None
    dsn = None if args.no_database or args.folder else admin_dsn(config)
    witnessed, findings = None, []
    if args.folder is None:
        own = _own_key(config, folder) if args.vkey is None else None
        witnessed = last_cosigned(config.home / "witness")
    try:
        named = read_file(args.vkey or folder / "log.vkey", MOST_VKEYS).decode()
    except (OSError, UnicodeError):
        if own is None:
            raise
        named = ""
    if own is not None and own != named.strip():
        findings.append(f"{folder / 'log.vkey'} is not the key of this installation: what it verifies is no log of ours")
    witnesses = witness_keys(args.witness)
    report = check(folder, own or named, args.kept, dsn, sys.stderr.isatty() and not args.json, args.from_kept, witnessed)
    if not report.findings and witnesses:
        findings += cosigned_in(folder, own or named, witnesses)
    report.findings += findings
    return report


def _online(args: argparse.Namespace) -> Report:
    return audit_online.check(args.url, args.vkey, args.witness, args.kept, args.keep)


def _own_key(config: settings.Settings, folder: Path) -> str | None:
    try:
        return own_vkey(folder, ed25519_public(Keyring.open(config.keys).log_key()))
    except (KeyFileError, RootKeyError):
        print(
            "armonika: the keyring does not open here: the log's key is taken from the log itself. Name yours with --vkey.",
            file=sys.stderr,
        )
        return None


def run(args: argparse.Namespace) -> int:
    """0 the log is whole, 1 something was found, 2 could not run."""
    fault = _fault(args)
    if fault:
        print(f"armonika: {fault}", file=sys.stderr)
        return 2
    if args.action == "certificate":
        return _certificate(args.subject, args.record)
    if args.proof or args.certificate:
        return _proof(args)
    try:
        report = _online(args) if args.url else _installation(args)
    except (audit_online.Unreachable, NoWitness) as error:
        print(f"armonika: {error}.", file=sys.stderr)
        return 2
    except psycopg.errors.ProgrammingError as error:
        print(
            f"armonika: this database holds no log of ours, or tables of it are gone: {error.diag.message_primary}.",
            file=sys.stderr,
        )
        return 2
    except (OSError, UnicodeError, KeyFileError, psycopg.OperationalError) as error:
        print(
            f"armonika: cannot verify: {_words(error)}. Is the system running (`armonika serve`)? An exported folder is checked with --folder.",
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


def _fault(args: argparse.Namespace) -> str | None:
    """What was asked for and would not be done: who believes that a checkpoint was kept must not be wrong."""
    if args.action == "certificate":
        return None if args.subject else "name the erased person's id."
    if args.subject or args.record:
        return "a person or record is named for `armonika audit certificate` alone; --certificate FILE verifies one."
    if args.proof and args.certificate:
        return "--proof and --certificate are two questions: ask one."
    if args.keep and not args.url:
        return "--keep goes with --url. Of a folder copy the file `checkpoint` itself."
    if args.from_kept and not args.kept:
        return "--from-kept needs --kept FILE, the checkpoint to go on from."
    return None


def _certified(certified: certificate.Certified) -> str:
    keys = (
        ", ".join(f"{key['compartment']}/{key['epoch']} of record {key['record']}" for key in certified.keys) or "none was left"
    )
    what = f"{certified.subject} erased" if certified.record is None else f"one record of {certified.subject} ended"
    kept = f" The law keeps {certified.kept} records." if certified.kept else ""
    return f"Certified: {what} at {certified.at}; keys destroyed: {keys}.{kept}"


def _proof(args: argparse.Namespace) -> int:
    certified = None
    try:
        vkey = read_file(args.vkey or settings.load().audit_log / "log.vkey", MOST_VKEYS).decode()
        witnesses = witness_keys(args.witness)
        if args.certificate:
            certified = certificate.verify(read_file(args.certificate, MOST_CERTIFICATE).decode(), vkey, witnesses)
            proven = certified.proven
            if not args.json:
                print(_certified(certified))
        else:
            proven = verify_proof(read_file(args.proof, MOST_NOTE).decode(), vkey, witnesses)
    except NoWitness as error:
        print(f"armonika: {error}.", file=sys.stderr)
        return 2
    except (OSError, UnicodeError) as error:
        print(f"armonika: cannot verify: {_words(error)}. The log's key is named with --vkey.", file=sys.stderr)
        return 2
    except ProofRefused as error:
        print(f"FOUND: {error}." if not args.json else json.dumps({"proven": False, "why": str(error)}))
        return 1
    if args.json:
        said = asdict(proven) if certified is None else asdict(certified) | asdict(proven)
        said.pop("proven", None)
        print(json.dumps({"proven": True, **said}, ensure_ascii=False, indent=1))
    else:
        seen = ", ".join(f"{name} at {_moment(at)}" for name, at in proven.cosigned) or "no witness asked for"
        print(
            f"Proven: entry {proven.index} of {proven.size} in {proven.origin}. Cosigned: {seen}.\n{json.dumps(proven.entry, ensure_ascii=False, indent=1)}"
        )
    return 0


def _words(error: Exception) -> str:
    """An error without the machine's number for it, and without a second full stop."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, psycopg.OperationalError):
        # A server's advice stands on further lines.
        return str(error).strip().partition("\n")[0].rstrip(".")
    return str(error).strip().rstrip(".")


def _moment(at: int) -> str:
    """POSIX seconds as a date, or as they are when no calendar has them."""
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"second {at}"


def _certificate(subject: UUID, record: UUID | None) -> int:
    """Prints the certificate of a person's newest erasure, or of the end of one record."""
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
