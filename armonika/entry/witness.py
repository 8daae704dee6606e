"""The witness's process: an HTTPS server of its own with a key of its own, which trusts the log's key, and hears nobody but our own processes."""

from __future__ import annotations

import logging
import signal
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler

from armonika import settings
from armonika.gates import log
from armonika.gates.channel import Channel, Listener, peer
from armonika.store.private_files import KeyFileError
from armonika.trust.audit import tiles
from armonika.trust.audit.witness import MOST_BYTES, TEXT, Witness, trusted_key

_log = logging.getLogger("armonika.witness")
NAME = "armonika.dz/witness"
SUBMITTER = "sealer"


def handler(witness: Witness) -> type[BaseHTTPRequestHandler]:
    """The endpoints of tlog-witness, with the verifier keys and a sign of life. Only the sealer's certificate may add a checkpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "witness", ""
        timeout = 10
        connection: ssl.SSLSocket

        def do_POST(self) -> None:  # (the name is http.server's)
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self.close_connection = True
                return self._answer(404, TEXT, b"not found\n")
            if peer(self.connection) != SUBMITTER:
                self.close_connection = True
                return self._answer(403, TEXT, b"not the sealer's certificate\n")
            if not length.isascii() or not length.isdigit() or len(length) > 5 or int(length) > MOST_BYTES:
                self.close_connection = True
                return self._answer(400, TEXT, b"a body of at most 65536 bytes is needed\n")
            return self._answer(*witness.add_checkpoint(self.rfile.read(int(length)), int(time.time())))

        def do_GET(self) -> None:  # (the name is http.server's)
            if self.path == "/healthz":
                return self._answer(200, TEXT, b"ok\n")
            if self.path == "/witness.vkey":
                return self._answer(200, TEXT, witness.vkeys().encode())
            name, _, rest = self.path.removeprefix("/").partition("/")
            try:
                found = witness.checkpoint(name) if rest == "checkpoint" else None
            except OSError:
                return self._answer(500, TEXT, b"it cannot be read here\n")
            return self._answer(*((200, TEXT, found) if found is not None else (404, TEXT, b"not found\n")))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


def main() -> None:
    """Serves on port + 4 until SIGTERM."""
    log.configure()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    config, channel = settings.load(), Channel()
    known = config.audit_log / "log.vkey"
    while not known.exists():
        if stop.wait(0.2):
            return
    try:
        vkey = trusted_key(config.home / "witness", known)
        witness = Witness(config.home / "witness", NAME, {vkey.split("+", 1)[0]: vkey})
    except (OSError, KeyFileError) as error:
        _log.error("%s", error)
        raise SystemExit(1) from None
    tiles.write(config.home / "witness" / "witness.vkey", witness.vkeys().encode())
    server = Listener(channel, config.witness_port, handler(witness))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
