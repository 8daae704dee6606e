"""7a.1: what reaches us from outside is encrypted on its way."""

from __future__ import annotations

import ipaddress
import socket
import ssl
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
from armonika.verify.listeners import TWINS, Twin, listener
from armonika.verify.sabotage import Plant

LEAST_DAYS = 15
_PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
OLD = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
NEW = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
WEAK = (
    "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:DHE-RSA-AES128-SHA:"
    "AES128-SHA:AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384"
)


class Claim:
    """Every listener that is reached from outside: TLS 1.2 or newer with a certificate that the machine trusts for its name and that lasts; older
    versions, suites without AEAD or forward secrecy and plain HTTP get no answer; HSTS. It is looked at on each address that it is bound to. What is for our own processes is bound to loopback, and the database to no address at all."""

    claim, hours = "7a.1", 24
    beside: tuple[int, bytes] | None = None
    """Planted: a port that is looked at beside the listeners, and the certificate that vouches for it (empty: none)."""

    def examine(self, context: Context) -> Evidence:
        config = context.settings
        if config.tls is None:
            raise CannotProbe(
                "the listeners speak HTTP, on loopback only; ARMONIKA_TLS gives them a certificate (docs/operate.md)"
            )
        evidence, bound = Evidence(), listening()
        for port in (config.port, config.port + 1, config.port + 2):
            for address in sorted({_reached(at) for at, number in bound if number == port} or {"127.0.0.1"}):
                self._listener(evidence, config, address, port)
        if self.beside:
            self._listener(evidence, config, "127.0.0.1", *self.beside)
        for url in (config.site_url, config.console_url, config.api_url):
            try:
                answer = context.visitor().get(f"{url}/healthz")
            except ssl.SSLError:
                # Where the API asks for a client's certificate (`ARMONIKA_API_CLIENTS`), only who has one sees its answers.
                if url != config.api_url:
                    raise
                continue
            age = answer.headers.get("strict-transport-security", "").partition("max-age=")[2].partition(";")[0]
            evidence.expect(age.isdigit() and int(age) >= 31536000, f"{url} sends no Strict-Transport-Security of a year")
        evidence.control = config.port in {port for _, port in bound}
        internal = {config.port + 3, config.witness_port, config.smtp_port}
        for address, port in bound:
            evidence.expect(
                port not in internal or address in ("127.0.0.1", "::1"), f"port {port} is internal and bound to {address}"
            )
        for address, port in _ours(config):
            outside = address not in ("127.0.0.1", "::1")
            evidence.expect(
                not outside or config.port <= port <= config.port + 2,
                f"port {port} is bound to {address}, and nothing speaks of it",
            )
        (addresses,) = context.rows("SELECT current_setting('listen_addresses'), current_setting('ssl')")
        evidence.expect(addresses[0] == "" or addresses[1] == "on", "the database listens on the network without TLS")
        evidence.summary = "site, console and API by TLS alone; mail sink, witness and database not reachable from outside"
        return evidence

    def _listener(self, evidence: Evidence, config: Settings, address: str, port: int, authority: bytes = b"") -> None:
        trusting = ssl.create_default_context(cadata=authority.decode() or None)
        where = f"port {port} of {address}"
        try:
            with (
                socket.create_connection((address, port), 5) as raw,
                trusting.wrap_socket(raw, server_hostname=config.host) as secured,
            ):
                version, certificate = secured.version() or "", secured.getpeercert() or {}
        except (OSError, ssl.SSLError) as error:
            evidence.expect(False, f"{where}: no trusted TLS ({getattr(error, 'verify_message', '') or type(error).__name__})")
        else:
            evidence.expect(version in ("TLSv1.2", "TLSv1.3"), f"{where} speaks {version}")
            left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
            evidence.expect(left > LEAST_DAYS * 86400, f"the certificate of {where} ends in {left / 86400:.0f} days")
        evidence.expect(not shakes(address, port, OLD, "ALL"), f"{where} speaks TLS 1.1 or older")
        evidence.expect(not shakes(address, port, NEW, WEAK), f"{where} takes a suite without AEAD or forward secrecy")
        evidence.expect(not answers_plain(address, port), f"{where} answers plain HTTP")

    def sabotages(self) -> Iterator[Sabotage]:
        for name, twin in TWINS.items():
            yield Sabotage(name, self._twin(twin))

        @contextmanager
        def without_hsts(context: Context) -> Iterator[Context]:
            def strip(_: str, answer: Answer) -> Answer:
                return replace(
                    answer, headers={name: value for name, value in answer.headers.items() if name != "strict-transport-security"}
                )

            with context.altered(strip) as altered:
                yield altered

        yield Sabotage("answers without HSTS", without_hsts)

    def _twin(self, twin: Twin) -> Plant:
        """A listener of our own with one fault is looked at beside the real ones."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            with listener(context.settings.host, twin) as (port, certificate):
                self.beside = port, certificate if twin.vouched else b""
                try:
                    yield context
                finally:
                    self.beside = None

        return planted


def shakes(address: str, port: int, versions: tuple[ssl.TLSVersion, ssl.TLSVersion], suites: str) -> bool:
    """Whether a handshake succeeds with one of these versions and suites alone."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_ciphers(f"{suites}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version, made.maximum_version = versions
    try:
        with socket.create_connection((address, port), 5) as raw, made.wrap_socket(raw):
            return True
    except (OSError, ssl.SSLError):
        return False


def answers_plain(address: str, port: int) -> bool:
    """Whether a plain HTTP request gets an answer that is HTTP."""
    try:
        with socket.create_connection((address, port), 5) as raw:
            raw.sendall(_PLAIN)
            return raw.recv(100).startswith(b"HTTP/")
    except OSError:
        return False


def listening() -> list[tuple[str, int]]:
    """Addresses and ports on which this machine listens, IPv4 and IPv6."""
    return [(address, port) for address, port, _ in sockets.table()]


def _reached(address: str) -> str:
    """An address at which a listener that is bound to this one is reached from here."""
    every = ipaddress.ip_address(address)
    return ("::1" if every.version == 6 else "127.0.0.1") if every.is_unspecified else address


def _ours(config: Settings) -> list[tuple[str, int]]:
    """What the processes of this installation listen on; nothing where only root could see it (claim 7a.2 is then UNPROVEN)."""
    with suppress(CannotProbe):
        return sockets.listening(config.home)
    return []
