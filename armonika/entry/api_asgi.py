"""The machine API's ASGI application."""

from __future__ import annotations

import gc
import os

from armonika import settings
from armonika.doors.api.app import build
from armonika.doors.api.conditional import Conditional
from armonika.doors.api.fast import FastRead
from armonika.doors.api.headers import Headers
from armonika.doors.api.lingering import Lingering
from armonika.doors.api.meter import Meter, Metered
from armonika.doors.api.methods import Methods
from armonika.entry.connections import Connections
from armonika.gates import log
from armonika.rules.rate import Rate
from armonika.supervisor.launch import tie
from armonika.trust.keys import credentials
from armonika.trust.vault import AsyncVault

tie()
log.configure()


async def open_vault() -> AsyncVault:
    """The vault as the door `api`."""
    return await AsyncVault.open(credentials.load("api"), os.environ["ARMONIKA_DSN"], size=8)


_config = settings.load()
answering = Metered(Methods(Conditional(FastRead(build(open_vault)))), Meter(Rate.of(_config.api_rate)))
application = Headers(Lingering(answering), encrypted=_config.tls is not None)
Connections(_config.port + 2, _config.api_peer_connections).start()

# What the start made lives as long as the process: looking through it again and again paused every request for some 20 ms.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 20)
