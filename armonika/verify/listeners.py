"""Listeners of the verifier's own with one fault each, for sabotages of claim 7a.1. They hear nobody but the verifier, and end with it."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from armonika.trust import certificates


@dataclass(frozen=True)
class Twin:
    """A listener with one fault."""

    vouched: bool = True
    days: int = 90
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    suites: str = "ECDHE+AESGCM"
    plain: bool = False


TWINS = {
    "a listener that answers plain HTTP too": Twin(plain=True),
    "a certificate that has ended": Twin(days=-1),
    "a certificate that ends in ten days": Twin(days=10),
    "a certificate that nobody vouches for": Twin(vouched=False),
    "a listener with TLS 1.0": Twin(oldest=ssl.TLSVersion.TLSv1, suites="ECDHE+AESGCM:ECDHE+AES"),
    "a listener with old suites": Twin(suites="ECDHE+AESGCM:ECDHE+AES"),
}
"""Each has the fault of its name alone: one that is caught for another reason proves nothing."""


@contextmanager
def listener(host: str, twin: Twin) -> Iterator[tuple[int, bytes]]:
    """A listener on loopback: its port and its certificate (PEM)."""
    pem = certificates.self_signed_certificate(host, twin.days)
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(file.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = twin.oldest
        made.set_ciphers(f"{twin.suites}:@SECLEVEL=0")
        threading.Thread(target=_answer, args=(server, made, twin.plain), daemon=True).start()
        yield int(server.getsockname()[1]), pem[pem.index(b"-----BEGIN CERTIFICATE") :]


def _answer(server: socket.socket, made: ssl.SSLContext, plain: bool) -> None:
    while True:
        try:
            raw, _ = server.accept()
        except OSError:
            return
        with suppress(OSError), raw:
            raw.settimeout(5)
            shakes_hands = raw.recv(1, socket.MSG_PEEK) == b"\x16"
            if shakes_hands or plain:
                with made.wrap_socket(raw, server_side=True) if shakes_hands else raw as connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
