"""Listeners of the verifier's own that do what ours must not, for sabotages of claim 7a.2. They hear nobody but the verifier, and end with it."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import IO

from armonika.settings import Settings
from armonika.trust.certificates import Authority
from armonika.verify.intruder import FOREIGN, load

CLEAR, NOBODY, FOREIGNERS, ENDED, ANY, OLD, STRANGE, EARLY = (
    "speaks in clear", "asks for no certificate", "believes another authority", "takes a certificate that has ended", "hears any process of ours",
    "speaks TLS 1.2", "another authority vouches for", "takes a sender before STARTTLS",
)  # fmt: skip
WITNESSES = (CLEAR, NOBODY, FOREIGNERS, ENDED, ANY, OLD, STRANGE)
SINKS = (NOBODY, FOREIGNERS, ENDED, ANY, OLD, STRANGE, EARLY)
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL."""
_Serve = Callable[[socket.socket], None]


def _context(kind: str, authority: Authority, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer = FOREIGN if kind == STRANGE else authority
    load(made, issuer.issue(name, f"armonika_{name}", 1, server=True))
    made.minimum_version = ssl.TLSVersion.TLSv1_2 if kind == OLD else ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_NONE if kind == NOBODY else ssl.CERT_REQUIRED
    believed = [authority, FOREIGN] if kind == FOREIGNERS else [authority]
    made.load_verify_locations(cadata="".join(one.certificate().decode() for one in believed))
    if kind == ENDED:
        made.verify_flags |= _NO_CHECK_TIME
    return made


def _is(connection: socket.socket, process: str) -> bool:
    shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    return bool(shown) and ("DNS", process) in (shown or {}).get("subjectAltName", ())


@contextmanager
def _listening(serve: _Serve) -> Iterator[int]:
    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.settimeout(5)
            with suppress(OSError), connection:
                serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            # Closing alone does not wake a thread that waits in accept.
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


@contextmanager
def witness(kind: str, authority: Authority) -> Iterator[int]:
    """A witness with one fault; its port."""
    context = None if kind == CLEAR else _context(kind, authority, "witness")

    def serve(raw: socket.socket) -> None:
        with context.wrap_socket(raw, server_side=True) if context else raw as connection:
            connection.recv(4096)
            taken = kind in (CLEAR, NOBODY, ANY) or _is(connection, "sealer")
            connection.sendall(f"HTTP/1.1 {400 if taken else 403} Bad\r\nContent-Length: 0\r\n\r\n".encode())

    with _listening(serve) as port:
        yield port


@contextmanager
def sink(kind: str, authority: Authority) -> Iterator[int]:
    """A mail listener with one fault; its port."""
    context = None if kind == CLEAR else _context(kind, authority, "mailsink")
    with _listening(lambda raw: _smtp(raw, context, kind)) as port:
        yield port


def _smtp(raw: socket.socket, context: ssl.SSLContext | None, kind: str) -> None:
    """As much of RFC 5321 and 3207 as a client needs to hand a letter over."""
    connection, allowed = raw, kind in (CLEAR, EARLY)
    file: IO[bytes] = raw.makefile("rb")
    raw.sendall(b"220 twin\r\n")
    while line := file.readline():
        word = line[:4].upper().strip()
        if word == b"EHLO":
            connection.sendall(b"250-twin\r\n250 STARTTLS\r\n" if context and connection is raw else b"250 twin\r\n")
        elif word == b"STAR" and context:
            connection.sendall(b"220 go on\r\n")
            connection = context.wrap_socket(raw, server_side=True)
            file, allowed = connection.makefile("rb"), kind in (NOBODY, ANY) or _is(connection, "worker")
        elif word in (b"MAIL", b"RCPT"):
            connection.sendall(b"250 ok\r\n" if allowed else b"530 not so\r\n")
        elif word == b"DATA":
            connection.sendall(b"354 go on\r\n")
            while file.readline() not in (b".\r\n", b""):
                continue
            connection.sendall(b"250 ok\r\n")
        else:
            connection.sendall(b"221 bye\r\n")
            break
    connection.close()


def letter_in_clear(address: str, name: str) -> None:
    """Hands a letter to a mail listener as it must not be: without TLS."""
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "verifier@verifier.invalid", address, "Sabotage"
    letter.set_content(f"Hello {name}", charset="utf-8", cte="base64")
    with _listening(lambda raw: _smtp(raw, None, CLEAR)) as port, smtplib.SMTP("127.0.0.1", port, "verifier", timeout=5) as smtp:
        smtp.send_message(letter)


def in_clear(content: bytes) -> None:
    """Sends bytes over a TCP connection of this machine as they are."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), 5) as sender:
            sender.sendall(content)
        receiver, _ = server.accept()
        with receiver:
            receiver.recv(len(content))


@contextmanager
def process(config: Settings) -> Iterator[None]:
    """A process of the installation that listens on a port which nobody wrote down."""
    program = "import socket, sys; held = socket.create_server(('127.0.0.1', 0)); print('ready', flush=True); sys.stdin.read()"
    environment = {"ARMONIKA_HOME": str(config.home), "CREDENTIALS_DIRECTORY": "/nonexistent"}
    started = subprocess.Popen([sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdin is not None
    assert started.stdout is not None
    try:
        started.stdout.readline()
        yield
    finally:
        started.stdin.close()
        started.stdout.close()
        started.wait(10)
