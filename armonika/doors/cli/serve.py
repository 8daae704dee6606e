"""`armonika serve`: everything on one machine, under one supervisor."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TextIO

import psycopg

from armonika import settings as settings_module
from armonika.doors.cli import signals
from armonika.policy import PolicyError
from armonika.settings import Settings
from armonika.store.embedded import DatabaseError
from armonika.store.private_files import KeyFileError
from armonika.store.turn import MigrationError
from armonika.store.users import UserError
from armonika.supervisor import ports
from armonika.supervisor.backup.catalogue import BackupError
from armonika.supervisor.ballast import Ballast
from armonika.supervisor.installation import AlreadyRunning, Installation
from armonika.supervisor.renewal import Renewal
from armonika.supervisor.rounds import Rounds
from armonika.supervisor.supervisor import Process, StartError, Supervisor
from armonika.supervisor.tls import TlsError
from armonika.supervisor.tls import check as check_tls
from armonika.trust.keys.providers import choose

KNOWN = (
    AlreadyRunning,
    BackupError,
    DatabaseError,
    MigrationError,
    PolicyError,
    UserError,
    KeyFileError,
    StartError,
    TlsError,
    settings_module.SettingsError,
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("serve", help="start everything on this machine; Ctrl-C stops it")
    parser.add_argument("--sample", action="store_true", help="at the first start, load sample data and print its sign-ins")


def run(args: argparse.Namespace) -> int:
    """0 after a clean stop, 2 when it could not start; the message says what to do."""
    stop = threading.Event()
    signals.handle(lambda *_: stop.set(), signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    try:
        config = settings_module.load()
        installation = Installation(config, _say)
        ports.check_address(config)
        check_tls(config)
        # A root that cannot be is told before anything is made.
        choose(config.keys)
        if config.home.exists() and not config.home.is_dir():
            raise settings_module.SettingsError(f"ARMONIKA_HOME names {config.home}, which is no folder.")
        config.home.mkdir(parents=True, exist_ok=True)
        installation.lock()
    except KNOWN as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    try:
        return _serve(config, installation, args.sample, stop)
    except KNOWN as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    finally:
        installation.close()


def _serve(config: Settings, installation: Installation, sample: bool, stop: threading.Event) -> int:
    ports.check_free(config)
    ballast = Ballast(config.home / "ballast")
    ballast.check()
    _say("Starting the database …")
    installation.start()
    supervisor = Supervisor(config.logs, _say)
    own = f"{config.scheme}://{ports.own_address(config)}"
    try:
        for name, probe_at in (
            ("mailsink", f"{config.mail_url}/healthz"), ("sealer", None), ("witness", None), ("worker", None), ("keeper", None), ("timpani", None), ("site", f"{own}:{config.port}/healthz"),
            ("console", f"{own}:{config.port + 1}/healthz"), ("api", f"tcp{own[len(config.scheme):]}:{config.port + 2}" if config.api_clients else f"{own}:{config.port + 2}/healthz"),
        ):  # fmt: skip
            if name == "mailsink" and config.mail_server:
                continue
            environment, user = installation.hand_out(name)
            if name == "sealer":
                config.audit_log.mkdir(parents=True, exist_ok=True)
                # Public, and read by witness and API.
                config.audit_log.chmod(0o755)
                if user and config.audit_log.stat().st_uid != user.uid:
                    # New, or put there by a restore: all of it becomes the sealer's.
                    for path in (config.audit_log, *config.audit_log.rglob("*")):
                        os.chown(path, user.uid, user.gid)
            if name == "witness":
                (config.home / "witness").mkdir(mode=0o755, exist_ok=True)
                if user:
                    os.chown(config.home / "witness", user.uid, user.gid)
            supervisor.start(Process(name, f"armonika.entry.{name}", probe_at, user, environment))
        _say("Starting the services …")
        supervisor.wait_ready()
        _welcome(config, installation, sample)
        rounds = Rounds(installation, _say)
        renewal = Renewal(installation, supervisor, _say)
        last = looked = 0.0
        while not stop.wait(0.25):
            supervisor.tick()
            _keep_database(config, installation, ballast)
            if time.monotonic() - looked > 5:
                looked = time.monotonic()
                renewal.tick()
            if time.monotonic() - last > 15:
                last = time.monotonic()
                rounds.tick()
                if word := ballast.news():
                    _say(f"armonika: {word}", sys.stderr)
        _say("Stopping …")
        rounds.stop()
    finally:
        supervisor.stop()
    return 0


def _say(text: str, to: TextIO | None = None) -> None:
    """A line for the operator. An output that is full or gone must not end what serves."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=to or sys.stdout, flush=True)


def _keep_database(config: Settings, installation: Installation, ballast: Ballast) -> None:
    """A database that fell is started again; on a full disk the ballast is given up first, for recovery needs room."""
    embedded = installation.embedded
    if embedded is None or embedded.process is None or embedded.process.poll() is None:
        return
    _say(f"armonika: the database ended (status {embedded.process.returncode}); starting it again.", sys.stderr)
    try:
        ballast.check()
        embedded.start(config.logs / "postgres.log")
    except (DatabaseError, KeyFileError, OSError, psycopg.Error) as error:
        ballast.release()
        _say(f"armonika: {error}", sys.stderr)
        time.sleep(1)


def _welcome(config: Settings, installation: Installation, sample: bool) -> None:
    marker = config.home / "sample-sign-ins.txt"
    if sample and not marker.exists():
        from armonika.doors.cli.sample import load

        _say("Loading sample data through the real flows …")
        assert installation.provisioned is not None
        load(config, installation.provisioned, installation.dsn, installation.admin_dsn, marker)
    mail = f"handed to {config.mail_server[0]}" if config.mail_server else f"{config.mail_url}/{installation.page_key}/"
    _say(
        f"""
Armonika is running.
  Site and portal   {config.site_url}
  Staff console     {config.console_url}
  Machine API       {config.api_url}
  Mail              {mail}
  Data              {config.home}
"""
    )
    if marker.exists():
        _say(marker.read_text())
    _say("Ctrl-C stops everything; the data stay.")
