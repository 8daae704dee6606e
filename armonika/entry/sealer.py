"""The sealer: every second, what is committed goes into the tree."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from armonika import settings
from armonika.gates import log
from armonika.gates.channel import Channel, Connection
from armonika.trust.audit.cosigning import SECONDS, post
from armonika.trust.audit.register import Register, RegisterBroken
from armonika.trust.audit.sealer import Sealer, SealerError
from armonika.trust.audit.verify_proof import NoWitness, witness_keys
from armonika.trust.keys import credentials

ORIGIN = "armonika.dz/audit"
_log = logging.getLogger("armonika.sealer")


def known_witness(path: Path) -> list[str]:
    """The witness's verifier keys, none where it is on another machine and nobody put them here."""
    try:
        return witness_keys(path)
    except (OSError, UnicodeError, NoWitness):
        return []


def work(register: Register, sealer: Sealer, clock: Callable[[], float] = time.monotonic) -> bool:
    """Writes and seals what there is, for a second at most, and publishes it once: who never stops asking must not keep the witness from the log. Returns whether
    something may be left."""
    until, left = clock() + 1.0, False
    while not left and (register.write() or sealer.seal(publish=False)):
        left = clock() >= until
    sealer.publish()
    return left


def main() -> None:
    """Runs until SIGTERM. Ends with status 1 when the log was altered: the supervisor's log then says so again and again."""
    log.configure()
    # Hashes and checkpoints are for everybody; entries name pseudonyms, and their folder stays closed.
    os.umask(0o022)
    held = credentials.load("sealer")
    config = settings.load()
    channel = Channel()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    assert held.log_key is not None
    dsn = make_conninfo(
        os.environ["ARMONIKA_DSN"], user=held.database_user, password=held.database_password, application_name="armonika sealer"
    )
    (config.audit_log / "tile" / "entries").mkdir(parents=True, exist_ok=True)
    (config.audit_log / "tile" / "entries").chmod(0o700)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            sealer = Sealer(
                connection,
                config.audit_log,
                ORIGIN,
                held.log_key,
                post(lambda: Connection(channel, "witness", config.witness_port, SECONDS)),
                lambda: known_witness(config.home / "witness" / "witness.vkey"),
            )
            _log.info("sealing from entry %d on", sealer.load())
            register = Register(connection, config.audit_log, held.log_key)
            register.load()
            said = ""
            while True:
                left = work(register, sealer)
                sealer.cosign()
                if sealer.refusal != said:
                    said = sealer.refusal
                    _log.error("%s", said or "the witness cosigns again")
                if stop.wait(0 if left else 1.0):
                    return
    except (SealerError, RegisterBroken) as error:
        _log.error("%s", error)
        raise SystemExit(1) from None
    except psycopg.OperationalError:
        _log.warning("the database does not answer; starting again")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
