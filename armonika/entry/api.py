"""The process of the machine API."""

from __future__ import annotations

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from armonika import settings
from armonika.entry.connections import room
from armonika.entry.tls import tls_options

HEAD_SECONDS = 30
"""How long a request's head may take, and how long a connection may wait for one."""
BUFFER_BYTES = 128 * 1024
"""What is held of a connection at most before the application takes it; a head must fit in."""


def main() -> None:
    """Serves on port + 2 until SIGTERM: one worker, for requests are gathered inside one event loop."""
    config = settings.load()
    Granian(
        "armonika.entry.api_asgi:application", address=config.listen, port=config.port + 2, interface=Interfaces.ASGI, workers=1, loop=Loops.uvloop,
        http=HTTPModes.http1, websockets=False, backlog=1024,
        backpressure=room(config.api_connections), http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=BUFFER_BYTES), log_level=LogLevels.warning, respawn_failed_workers=True, workers_kill_timeout=5, **tls_options(config, clients=True),
    ).serve()  # fmt: skip


if __name__ == "__main__":
    main()
