"""A TCP proxy that cuts connections after the request has reached the server and the server has answered."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Breaking:
    """Before `port`: what goes to it goes to the server. The next `cuts` answers are cut after `pass_on` bytes."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts, self.pass_on, self.connections = 0, 0, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._upstream))
                for source, target, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, target, answers), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cuts:
                    self.cuts -= 1
                    target.sendall(data[: self.pass_on])
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def breaking(port: int) -> Iterator[Breaking]:
    proxy = Breaking(port)
    try:
        yield proxy
    finally:
        proxy.close()
