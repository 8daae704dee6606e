"""Comes to an internal listener as somebody: with a certificate, with none, with a wrong one, in clear. Says only whether it was let in."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from armonika.trust.certificates import Authority

_SECONDS = 5.0
_MOST_DAYS = 90
FOREIGN = Authority(b"of another installation")


@dataclass(frozen=True)
class Guise:
    """As who one comes: `pem` is certificate and key (empty: none); `newest` is the newest TLS that it speaks."""

    pem: bytes = b""
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def context(self) -> ssl.SSLContext:
        """A client that believes any server: here it is the server that has to refuse."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname, made.verify_mode, made.maximum_version = False, ssl.CERT_NONE, self.newest
        if self.pem:
            load(made, self.pem)
        return made


def load(context: ssl.SSLContext, pem: bytes) -> None:
    """Takes a certificate and its key, which only a file in memory ever holds."""
    memory = Path("/dev/shm")
    with tempfile.NamedTemporaryFile(dir=memory if memory.is_dir() else None) as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


def guises(authority: Authority, process: str) -> tuple[Guise, dict[str, Guise]]:
    """The rightful client of a listener, and everybody who must be refused."""

    def of(issuer: Authority, name: str, days: float) -> bytes:
        return issuer.issue(name, f"armonika_{name}", days, client=True)

    right = of(authority, process, 1)
    return Guise(right), {
        "no certificate": Guise(),
        "a certificate of another authority": Guise(of(FOREIGN, process, 1)),
        "a certificate that has ended": Guise(of(authority, process, -1)),
        "the certificate of another process": Guise(of(authority, "site", 1)),
        "TLS 1.2": Guise(right, ssl.TLSVersion.TLSv1_2),
    }


def witness_lets_in(port: int, guise: Guise | None) -> bool:
    """Whether the witness looks at what this client posts (an empty request, which it then finds wrong). None: in clear."""
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as raw:
            connection = guise.context().wrap_socket(raw) if guise else raw
            with connection:
                connection.sendall(
                    b"POST /add-checkpoint HTTP/1.1\r\nHost: witness\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                answer = HTTPResponse(connection, method="POST")
                answer.begin()
                return answer.status not in (401, 403)
    except (OSError, HTTPException):
        return False


def sink_lets_in(port: int, guise: Guise | None) -> bool:
    """Whether the mail listener takes a sender from this client; nothing is sent. None: in clear."""
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as raw:
            _said(raw, None)
            _said(raw, b"EHLO verifier")
            if guise is None:
                return _said(raw, b"MAIL FROM:<probe@verifier.invalid>") == b"250"
            if _said(raw, b"STARTTLS") != b"220":
                return False
            with guise.context().wrap_socket(raw) as secured:
                _said(secured, b"EHLO verifier")
                taken = _said(secured, b"MAIL FROM:<probe@verifier.invalid>") == b"250"
                _said(secured, b"QUIT")
                return taken
    except OSError:
        return False


def page_shows(port: int, path: str) -> bool:
    """Whether a page is shown to who asks for it by TLS without any certificate."""
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as raw, Guise().context().wrap_socket(raw) as secured:
            secured.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = HTTPResponse(secured)
            answer.begin()
            return 200 <= answer.status < 400
    except (OSError, HTTPException):
        return False


def _said(connection: socket.socket, line: bytes | None) -> bytes:
    """Sends a line and returns the code of the whole answer (RFC 5321 §4.2)."""
    if line is not None:
        connection.sendall(line + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n") or answer.rstrip(b"\r\n").rpartition(b"\r\n")[2][3:4] == b"-":
        more = connection.recv(4096)
        if not more:
            raise ConnectionError
        answer += more
    return answer[:3]


def server_faults(port: int, authority: bytes, name: str, guise: Guise, starttls: bool = False) -> str:
    """What is wrong with the certificate that a server shows; empty: nothing. `authority` is its certificate (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.decode())
    if guise.pem:
        load(context, guise.pem)
    try:
        with socket.create_connection(("127.0.0.1", port), _SECONDS) as raw:
            if starttls:
                _said(raw, None)
                _said(raw, b"EHLO verifier")
                _said(raw, b"STARTTLS")
            with context.wrap_socket(raw, server_hostname=name) as secured:
                shown = secured.getpeercert() or {}
                left = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86400
                if secured.version() != "TLSv1.3":
                    return f"speaks {secured.version()}"
                return "" if left <= _MOST_DAYS else f"has a certificate that lasts {left:.0f} days"
    except ssl.SSLError as error:
        return f"is not trusted ({getattr(error, 'verify_message', '') or error.reason})"
    except OSError as error:
        return f"does not speak TLS ({type(error).__name__})"
