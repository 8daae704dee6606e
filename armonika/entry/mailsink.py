"""The mail sink of a developer's machine: a real SMTP listener, and a page that shows what arrived. Letters stay in memory only.

The listener takes nothing before STARTTLS, and only from the worker's certificate. The page speaks TLS and opens with the key that `armonika serve`
prints with its address: other users of the machine can neither read along nor look at it.
"""

from __future__ import annotations

import email
import hmac
import html
import json
import logging
import os
import re
import signal
import threading
from collections import deque
from email import policy as email_policy
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from armonika import settings
from armonika.gates import log
from armonika.gates.channel import Channel, Listener, peer
from armonika.store.private_files import read_private

SENDER = "worker"
PAGE_KEY = "page.key"
KEPT = 500
MAX_BYTES = 1024 * 1024
_STYLE = "body{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}pre{white-space:pre-wrap;unicode-bidi:plaintext}li{margin:.5rem 0}"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
}  # fmt: skip


class Sink:
    """Keeps the last letters in memory and nowhere else: nothing personal of them reaches a disk."""

    def __init__(self) -> None:
        self.letters: deque[dict[str, str]] = deque(maxlen=KEPT)
        self._number = 0
        self._lock = threading.Lock()

    def handle_STARTTLS(self, server: SMTP, session: Session, envelope: Envelope) -> bool:  # noqa: N802 (aiosmtpd's name)
        """Whether what follows is taken: only from the worker."""
        return peer((session.ssl or {})["ssl_object"]) == SENDER

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        raw = envelope.content or b""
        message = email.message_from_bytes(raw if isinstance(raw, bytes) else str(raw).encode(), policy=email_policy.default)
        part = message.get_body(("plain",))
        with self._lock:
            self._number += 1
            self.letters.appendleft(
                {"id": str(self._number), "to": ", ".join(envelope.rcpt_tos), "subject": str(message["Subject"] or ""), "date": str(message["Date"] or ""),
                 "body": str(part.get_content()) if part else ""}
            )  # fmt: skip
        return "250 kept in memory"


def linked(text: str) -> str:
    """Escaped text with its http addresses as links."""
    return re.sub(r"(https?://[^\s&<>\"]+)", r'<a href="\1">\1</a>', html.escape(text))


class Smtp(Controller):
    """The listener. Each connection gets the certificate of its moment."""

    def __init__(self, sink: Sink, channel: Channel, port: int) -> None:
        self._channel = channel
        super().__init__(sink, hostname="127.0.0.1", port=port)

    def factory(self) -> SMTP:
        """One connection's protocol."""
        return SMTP(
            self.handler, data_size_limit=MAX_BYTES, enable_SMTPUTF8=True, ident="Armonika sink", tls_context=self._channel.server(), require_starttls=True
        )  # fmt: skip


class Page(BaseHTTPRequestHandler):
    """Below /KEY: / lists letters, /letters/N shows one, /letters.json is for tests. Without the key nothing is here."""

    sink: Sink
    key: str
    server_version, sys_version = "sink", ""
    timeout = 10

    def do_GET(self) -> None:
        if self.path == "/healthz":
            return self._answer(200, "text/plain", "ok")
        offered, _, asked = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(offered.encode(), self.key.encode()):
            return self._answer(
                404, "text/plain", "Open the address that `armonika serve` printed: it holds the key of this page."
            )
        letters = list(self.sink.letters)
        if asked == "letters.json":
            return self._answer(200, "application/json", json.dumps(letters))
        if asked == "style.css":
            return self._answer(200, "text/css", _STYLE)
        if asked == "":
            rows = "".join(
                f'<li><a href="letters/{x["id"]}">{html.escape(x["subject"])}</a><br><bdi>{html.escape(x["to"])}</bdi> · {html.escape(x["date"])}</li>'
                for x in letters
            )
            return self._page(
                "Mail sink", f"<ol>{rows}</ol>" if rows else "<p>No letter yet. What the system sends will stand here.</p>"
            )
        for x in letters:
            if asked == f"letters/{x['id']}":
                return self._page(
                    html.escape(x["subject"]),
                    f'<p>To <bdi>{html.escape(x["to"])}</bdi></p><pre>{linked(x["body"])}</pre><p><a href="../">All letters</a></p>',
                )
        return self._answer(404, "text/plain", "no such letter")

    def _page(self, title: str, body: str) -> None:
        self._answer(
            200,
            "text/html",
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="/{self.key}/style.css"><main><h1>{title}</h1>{body}</main></html>',
        )

    def _answer(self, status: int, kind: str, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        return


def main() -> None:
    """Runs until SIGTERM."""
    log.configure()
    # It warns that some clients have no certificate: that is what is wanted.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    config, channel, sink = settings.load(), Channel(), Sink()
    controller = Smtp(sink, channel, config.smtp_port)
    controller.start()
    Page.sink, Page.key = sink, read_private(Path(os.environ["CREDENTIALS_DIRECTORY"]) / PAGE_KEY).decode()
    server = Listener(channel, config.port + 3, Page, clients=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    controller.stop()


if __name__ == "__main__":
    main()
