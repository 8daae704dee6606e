"""7a.1: what reaches us from outside is encrypted on its way."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from armonika.settings import Settings
from armonika.verify import sockets
from armonika.verify.context import Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.http import Answer
from armonika.verify.sabotage import Plant, self_signed

LEAST_DAYS = 15
_PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Claim:
    """Every listener that is reached from outside: TLS 1.2 or newer with a certificate that the machine trusts for its name and that lasts; older
    versions and plain HTTP get no answer; HSTS. What is for our own processes is bound to loopback, and the database to no address at all."""

    claim, hours = "7a.1", 24
    listeners: tuple[int, ...] | None = None

    def examine(self, context: Context) -> Evidence:
        config = context.settings
        if config.tls is None:
            raise CannotProbe(
                "the listeners speak HTTP, on loopback only; ARMONIKA_TLS gives them a certificate (docs/operate.md)"
            )
        evidence = Evidence()
        for port in self.listeners or (config.port, config.port + 1, config.port + 2):
            self._listener(evidence, config, port)
        for url in (config.site_url, config.console_url):
            answer = context.visitor().get(f"{url}/healthz")
            age = answer.headers.get("strict-transport-security", "").partition("max-age=")[2].partition(";")[0]
            evidence.expect(age.isdigit() and int(age) >= 31536000, f"{url} sends no Strict-Transport-Security of a year")
        bound = listening()
        evidence.control = config.port in {port for _, port in bound}
        internal = {config.port + 3, config.witness_port, config.smtp_port}
        for address, port in bound:
            evidence.expect(
                port not in internal or address in ("127.0.0.1", "::1"), f"port {port} is internal and bound to {address}"
            )
        (addresses,) = context.rows("SELECT current_setting('listen_addresses'), current_setting('ssl')")
        evidence.expect(addresses[0] == "" or addresses[1] == "on", "the database listens on the network without TLS")
        evidence.summary = "site, console and API by TLS alone; mail sink, witness and database not reachable from outside"
        return evidence

    def _listener(self, evidence: Evidence, config: Settings, port: int) -> None:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 5) as raw,
                ssl.create_default_context().wrap_socket(raw, server_hostname=config.host) as secured,
            ):
                version, certificate = secured.version() or "", secured.getpeercert() or {}
        except (OSError, ssl.SSLError) as error:
            evidence.expect(
                False, f"port {port}: no trusted TLS ({getattr(error, 'verify_message', '') or type(error).__name__})"
            )
        else:
            evidence.expect(version in ("TLSv1.2", "TLSv1.3"), f"port {port} speaks {version}")
            left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
            evidence.expect(left > LEAST_DAYS * 86400, f"the certificate of port {port} ends in {left / 86400:.0f} days")
        evidence.expect(not old_version(port), f"port {port} speaks TLS 1.1 or older")
        evidence.expect(not answers_plain(port), f"port {port} answers plain HTTP")

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage("a listener that answers plain HTTP", self._beside(None))
        for name, days, oldest in (("a certificate that has ended", -1, ssl.TLSVersion.TLSv1_2), ("a certificate that nobody vouches for", 90, ssl.TLSVersion.TLSv1_2),
                                   ("a listener with TLS 1.0", 90, ssl.TLSVersion.TLSv1)):  # fmt: skip
            yield Sabotage(name, self._beside((days, oldest)))

        @contextmanager
        def without_hsts(context: Context) -> Iterator[Context]:
            def strip(_: str, answer: Answer) -> Answer:
                return replace(
                    answer, headers={name: value for name, value in answer.headers.items() if name != "strict-transport-security"}
                )

            with context.altered(strip) as altered:
                yield altered

        yield Sabotage("answers without HSTS", without_hsts)

    def _beside(self, tls: tuple[int, ssl.TLSVersion] | None) -> Plant:
        """A listener of our own is looked at beside the real ones."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            with socket.create_server(("127.0.0.1", 0)) as server:
                wrapped: socket.socket = server
                if tls:
                    made = self_signed(context.settings.host, tls[0])
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", DeprecationWarning)
                        made.minimum_version = tls[1]
                    made.set_ciphers("DEFAULT:@SECLEVEL=0")
                    wrapped = made.wrap_socket(server, server_side=True)
                threading.Thread(target=_answer, args=(wrapped,), daemon=True).start()
                config = context.settings
                self.listeners = (config.port, config.port + 1, config.port + 2, int(wrapped.getsockname()[1]))
                try:
                    yield context
                finally:
                    self.listeners = None
                    wrapped.close()

        return planted


def _answer(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except ssl.SSLError:
            continue
        except OSError:
            return
        with suppress(OSError), connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def old_version(port: int) -> bool:
    """Whether a handshake with TLS 1.0 or 1.1 succeeds."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw, old.wrap_socket(raw):
            return True
    except (OSError, ssl.SSLError):
        return False


def answers_plain(port: int) -> bool:
    """Whether a plain HTTP request gets an answer that is HTTP."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw:
            raw.sendall(_PLAIN)
            return raw.recv(100).startswith(b"HTTP/")
    except OSError:
        return False


def listening() -> list[tuple[str, int]]:
    """Addresses and ports on which this machine listens, IPv4 and IPv6."""
    return [(address, port) for address, port, _ in sockets.table()]
