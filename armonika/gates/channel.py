"""The channel between two of our own processes: TLS 1.3 with certificates on both sides, of the installation's authority (claim 7a.2).

Each process has two files in its credentials: `internal.pem` (its certificate and key) and `authority.pem`. They are read again when they have
changed, for the connections that begin then: a renewal needs no restart.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OWN, AUTHORITY = "internal.pem", "authority.pem"
HANDSHAKE_SECONDS = 10.0


class ChannelError(ConnectionError):
    """The certificate of this process cannot be used; the message says what to do."""


class Channel:
    """One process's end. `folder` holds its two files (default: `CREDENTIALS_DIRECTORY`)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(os.environ.get("CREDENTIALS_DIRECTORY") or "/nonexistent")
        self._lock = threading.Lock()
        self._made: dict[tuple[ssl._SSLMethod, bool], tuple[object, ssl.SSLContext]] = {}
        self.client()

    def server(self, clients: bool = True) -> ssl.SSLContext:
        """For a listener: a client without a certificate of the authority is refused, unless not `clients`. Raises ChannelError."""
        return self._context(ssl.PROTOCOL_TLS_SERVER, clients)

    def client(self) -> ssl.SSLContext:
        """For a connection: the server must have a certificate of the authority for the name that it is called by. Raises ChannelError."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT, True)

    def _context(self, kind: ssl._SSLMethod, verify: bool) -> ssl.SSLContext:
        paths = (self._folder / OWN, self._folder / AUTHORITY)
        try:
            with self._lock:
                mark = [(found.st_mtime_ns, found.st_ino) for found in map(os.stat, paths)]
                kept = self._made.get((kind, verify))
                if kept is None or kept[0] != mark:
                    context = ssl.SSLContext(kind)
                    context.minimum_version = ssl.TLSVersion.TLSv1_3
                    context.load_cert_chain(paths[0], password=lambda: "")
                    context.load_verify_locations(paths[1])
                    if kind == ssl.PROTOCOL_TLS_SERVER:
                        # A resumed session would not show its certificate again, although it may have ended meanwhile.
                        context.num_tickets = 0
                        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
                    kept = self._made[kind, verify] = (mark, context)
                return kept[1]
        except (OSError, ssl.SSLError) as error:
            raise ChannelError(
                f"{paths[0]} and {paths[1]} cannot be used ({type(error).__name__}). Start by `armonika serve`, or write them: `armonika keys credentials`."
            ) from None


def peer(connection: ssl.SSLSocket | ssl.SSLObject) -> str:
    """The process at the other end, by the first name of its certificate; empty when it showed none."""
    names = (connection.getpeercert() or {}).get("subjectAltName", ())
    return str(names[0][1]) if names else ""


class Connection(HTTPSConnection):
    """An HTTPS connection to the process `name` at a loopback port: its certificate must be for that name, whatever the address is."""

    def __init__(self, channel: Channel, name: str, port: int, seconds: float) -> None:
        self._mutual, self._process = channel.client(), name
        super().__init__("127.0.0.1", port, timeout=seconds, context=self._mutual)

    def connect(self) -> None:
        """Connects and shakes hands."""
        raw = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._mutual.wrap_socket(raw, server_hostname=self._process)
        except BaseException:
            raw.close()
            raise


class Listener(ThreadingHTTPServer):
    """An HTTP server on a loopback port behind the channel. `clients`: only those with a certificate of the authority get as far as a request."""

    def __init__(self, channel: Channel, port: int, handler: type[BaseHTTPRequestHandler], *, clients: bool = True) -> None:
        self._channel, self._clients = channel, clients
        super().__init__(("127.0.0.1", port), handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shakes hands in the connection's own thread, so that nobody who is slow holds up the next."""
        request.settimeout(HANDSHAKE_SECONDS)
        with self._channel.server(self._clients).wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever is refused, or hangs up, leaves no trace in the log of errors."""
