"""Granian for the WSGI doors: one worker with a few blocking threads, on loopback."""

from __future__ import annotations

from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from armonika import settings
from armonika.entry.tls import tls_options


def serve(target: str, offset: int) -> None:
    """Serves `target` on port + `offset` until SIGTERM."""
    config = settings.load()
    Granian(
        target, address=config.listen, port=config.port + offset, interface=Interfaces.WSGI, workers=1, blocking_threads=8, backlog=256, log_level=LogLevels.warning,
        respawn_failed_workers=True, http1_settings=HTTP1Settings(header_read_timeout=15000), workers_kill_timeout=5, **tls_options(config),
    ).serve()  # fmt: skip
