"""The keeper: moves data to the active epoch of keys when a rotation was begun, and waits otherwise."""

from __future__ import annotations

import logging
import os
import signal
import threading

from armonika.gates import log
from armonika.trust.keys import credentials
from armonika.trust.vault.errors import KeyUnavailable, Unavailable, VaultError
from armonika.trust.vault.keeper import Keeper

_log = logging.getLogger("armonika.keeper")
IDLE_SECONDS = 1.0
REST_SECONDS = 0.005
"""Between pages, so that readers and writers come first."""


def run(door: str) -> None:
    """Keeps the compartments that `door` holds, until SIGTERM."""
    log.configure()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keeper = Keeper(credentials.load(door), os.environ["ARMONIKA_DSN"], size=2)
    said = None
    try:
        while True:
            try:
                more = keeper.step()
                said = None
            except (Unavailable, KeyUnavailable) as error:
                more = False
                if str(error) != said:
                    said = str(error)
                    _log.warning("the rotation waits: %s", error)
            except VaultError as error:
                more = False
                if str(error) != said:
                    said = str(error)
                    _log.error("the rotation stands still: %s", error)
            if stop.wait(REST_SECONDS if more else IDLE_SECONDS):
                return
    finally:
        keeper.close()


if __name__ == "__main__":
    run("keeper")
