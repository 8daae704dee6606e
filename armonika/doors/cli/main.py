"""The command `armonika`. Sub-commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from armonika.doors.cli import signals
from armonika.settings import SettingsError

COMMANDS = {
    "serve": "start everything on this machine; Ctrl-C stops it",
    "policy": "check, render or compare policies",
    "verify": "prove the policy's claims against the running system",
    "audit": "verify the audit log, proofs and certificates of erasures",
    "token": "issue, list and end tokens of the machine API",
    "keys": "list, rotate, destroy and recover keys",
    "retention": "what has expired: how much is left, end it now",
    "backup": "make, list, verify, try and expire backups",
    "restore": "restore a backup into a new place",
    "staff": "appoint staff, reset a lost second factor, end an appointment",
    "access": "who of staff may do what, and when it was reviewed",
    "sample": "the code of a sample account's second factor",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Exit status 0 all well, 1 something was found, 2 it could not run."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Whatever the caller's umask: nobody else may write in what is made here, and processes that run as other users reach what is theirs. What is secret
    # has a mode of its own. Whatever its locale, a sign that it lacks is no error.
    os.umask(0o022)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not words or words[0] in ("-h", "--help"):
        lines = "\n".join(f"  {name:<10} {text}" for name, text in COMMANDS.items())
        print(
            f"usage: armonika COMMAND …\n\n{lines}\n\n`armonika COMMAND --help` tells more. Documentation: docs/ in the checkout."
        )
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"armonika: no command {words[0]!r}. `armonika --help` lists them.", file=sys.stderr)
        return 2
    if argv is None:
        # Whatever ends a command lets it take down what it began: a copy of a database, with keys beside it, must not stay.
        signals.handle(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP)
    try:
        module = importlib.import_module(f"armonika.doors.cli.{words[0]}")
        parser = argparse.ArgumentParser(prog="armonika")
        module.add_parser(parser.add_subparsers(dest="command", required=True))
        return int(module.run(parser.parse_args(words)))
    except KeyboardInterrupt:
        print("\narmonika: interrupted.", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(f"armonika: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our words has gone; the end of the process must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 2
    except Exception as error:
        # Python's own status is 1, and that would say that something was found.
        return _failed(error)


def _failed(error: Exception) -> int:
    """What no command foresaw: told in a line where it is the machine's, with its place where it may be ours."""
    import psycopg

    from armonika.policy import PolicyError

    if isinstance(error, PolicyError):
        print(f"armonika: {error}", file=sys.stderr)
    elif isinstance(error, psycopg.OperationalError):
        from armonika.doors.cli.running import not_reached

        return not_reached(error)
    elif isinstance(error, psycopg.errors.CheckViolation) and error.diag.table_name == "audit":
        print(
            "armonika: no entry can be written, and so nothing done: a partition of the audit log is not attached. `armonika keys tend` says which, and the way out.",
            file=sys.stderr,
        )
    elif isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        owner = " Start as the user that owns it." if isinstance(error, PermissionError) else ""
        print(f"armonika: {error.filename or 'the output'}: {error.strerror}.{owner}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    return 2


if __name__ == "__main__":
    sys.exit(main())
