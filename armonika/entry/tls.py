"""How a listener speaks TLS: certificate and key lie with its other credentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from granian.constants import SSLProtocols

from armonika.settings import Settings


def tls_options(config: Settings, clients: bool = False) -> dict[str, Any]:
    """Granian's options: TLS 1.2 and 1.3 with the suites of rustls (AEAD and forward secrecy alone; RFC 9325). `clients`: ask for their certificate."""
    if config.tls is None:
        return {}
    folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
    made: dict[str, Any] = {
        "ssl_cert": folder / "cert.pem",
        "ssl_key": folder / "key.pem",
        "ssl_protocol_min": SSLProtocols.tls12,
    }
    if clients and config.api_clients:
        made |= {"ssl_ca": folder / "clients.pem", "ssl_client_verify": True}
    return made
