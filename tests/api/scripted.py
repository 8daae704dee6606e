"""A server that answers as a test says, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence

Reply = bytes | Callable[[socket.socket], None]


class Scripted:
    """One reply a request, the last again and again. Bytes are sent and, unless they say how long they are, the connection is closed."""

    def __init__(self, replies: Sequence[Reply], tls: ssl.SSLContext | None) -> None:
        self._replies, self._tls = list(replies), tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.asked: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            wire.settimeout(20)
            if self._tls is not None:
                wire = self._tls.wrap_socket(wire, server_side=True)
            with wire:
                while request := self._read(wire):
                    self.asked.append(request)
                    reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                    if callable(reply):
                        reply(wire)
                        return
                    wire.sendall(reply)
                    if b"content-length" not in reply.lower() or b"connection: close" in reply.lower():
                        return

    @staticmethod
    def _read(wire: socket.socket) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            piece = wire.recv(65536)
            if not piece:
                return b""
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while found and len(body) < int(found[1]):
            body += wire.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def scripted(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    server = Scripted(replies, tls)
    try:
        yield server
    finally:
        server.close()


def answer(
    status: int, body: bytes, media: str = "application/json", *more: str, version: str = "1.1", whole: bool = True
) -> bytes:
    """An HTTP answer; `whole`: with its length."""
    lines = [
        f"HTTP/{version} {status} Told",
        f"Content-Type: {media}",
        *more,
        *([f"Content-Length: {len(body)}"] if whole else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
