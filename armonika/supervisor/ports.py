"""The address that doors listen on and the ports of an installation, tried before anything starts."""

from __future__ import annotations

import ipaddress
import socket

from armonika.settings import Settings, SettingsError
from armonika.supervisor.supervisor import StartError

LOOPBACK = "127.0.0.1"


def check_address(config: Settings) -> None:
    """Raises SettingsError unless this machine has the address of `ARMONIKA_LISTEN`."""
    try:
        with _socket(config.listen) as probe:
            probe.bind((config.listen, 0))
    except OSError as error:
        raise SettingsError(
            f"ARMONIKA_LISTEN is {config.listen}, and this machine cannot listen there ({error.strerror}). Name an address of it, such as 127.0.0.1 or 0.0.0.0."
        ) from None


def check_free(config: Settings) -> None:
    """Raises StartError for the first port that somebody else holds: the doors' where they listen, the others on loopback."""
    for port in (config.port, config.port + 1, config.port + 2, config.port + 3, config.witness_port, config.smtp_port):
        address = config.listen if port < config.port + 3 else LOOPBACK
        with _socket(address) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                raise StartError(
                    f"Port {port} is in use. Stop what uses it, or set ARMONIKA_PORT to the first of 26 free ports."
                ) from None


def own_address(config: Settings) -> str:
    """Where this machine itself reaches the doors, as it stands in a URL."""
    address = ipaddress.ip_address(config.listen)
    if address.version == 6:
        return f"[{'::1' if address.is_unspecified else address}]"
    return LOOPBACK if address.is_unspecified else str(address)


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
