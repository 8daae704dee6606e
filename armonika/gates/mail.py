"""Outgoing mail over SMTP, by TLS alone: the server must offer STARTTLS (or speak TLS from the start) and prove its name, or nothing is sent.

The local twin is the mail sink (`armonika.entry.mailsink`), which speaks the same protocol and asks for the worker's certificate.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from armonika.gates import clock
from armonika.gates.channel import Channel

SECONDS = 10.0
IMPLICIT_PORT = 465
"""submissions (RFC 8314): TLS from the first byte. On every other port STARTTLS is demanded."""


class MailError(Exception):
    """The letter could not be handed over; the job is tried again."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where letters are handed over: `name` is what the certificate must be for, `context` gives the TLS settings of the next connection."""

    name: str
    address: str
    port: int
    context: Callable[[], ssl.SSLContext]


def sink(channel: Channel, port: int) -> Server:
    """The mail sink on this machine, with certificates of the installation on both sides."""
    return Server("mailsink", "127.0.0.1", port, channel.client)


def operator(host: str, port: int) -> Server:
    """The operator's own mail server: TLS 1.2 or newer, its certificate from an authority that this machine trusts."""
    return Server(host, host, port, ssl.create_default_context)


class _Named(smtplib.SMTP):
    """Connects to an address, and is told by which name the certificate there must go."""

    def __init__(self, server: Server) -> None:
        self._server = server
        super().__init__(server.name, server.port, timeout=SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        raw = socket.create_connection((self._server.address, port), timeout)
        if self._server.port != IMPLICIT_PORT:
            return raw
        try:
            return self._server.context().wrap_socket(raw, server_hostname=self._server.name)
        except BaseException:
            raw.close()
            raise


def send(server: Server, sender: str, recipient: str, subject: str, body: str, language: str) -> None:
    """Hands one plain-text letter to the mail server. Nothing personal stands in the subject or the message id. Raises MailError: a server without
    TLS, or with a certificate that is not its own, gets neither address nor letter."""
    message = EmailMessage()
    message["From"] = f"Armonika <{sender}>"
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Content-Language"] = language
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body, charset="utf-8", cte="base64")
    international = not recipient.isascii()
    try:
        with _Named(server) as smtp:
            if server.port != IMPLICIT_PORT:
                smtp.starttls(context=server.context())
            smtp.send_message(message, sender, [recipient], mail_options=["SMTPUTF8"] if international else [])
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(type(error).__name__) from None
