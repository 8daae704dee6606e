"""7a.2: what our own processes say to each other is encrypted, and heard by nobody else."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

from psycopg.conninfo import conninfo_to_dict

from armonika.settings import Settings
from armonika.trust.certificates import Authority
from armonika.trust.keys import Keyring
from armonika.verify import intruder, sockets, twins
from armonika.verify.capture import Capture
from armonika.verify.context import Canary, Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.sabotage import Plant
from armonika.verify.scan import Scanner

WIRE, LISTENERS, DATABASE = "wire", "listeners", "database"
_WAIT_SECONDS = 30.0


class Claim:
    """The network of this machine is captured while a canary registers, gets a letter, signs in, reads, and all of it is sealed and cosigned: no token
    may be in it, in any encoding, and one sent in clear on purpose must. Every port of the installation is known, and an internal one refuses who
    has no certificate, a wrong one, an ended one, an old TLS or none. Every database connection is local or TLS."""

    claim, hours = "7a.2", 24
    parts: frozenset[str] = frozenset((WIRE, LISTENERS, DATABASE))
    leak: Callable[[Canary], None] | None = None
    witnesses: tuple[int, ...] = ()
    sinks: tuple[int, ...] = ()

    def examine(self, context: Context) -> Evidence:
        evidence, said = Evidence(), []
        if WIRE in self.parts:
            said.append(self._wire(evidence, context))
        if LISTENERS in self.parts:
            said.append(self._listeners(evidence, context))
        if DATABASE in self.parts:
            said.append(self._database(evidence, context))
        evidence.summary = "; ".join(said)
        return evidence

    def _wire(self, evidence: Evidence, context: Context) -> str:
        config, control = context.settings, context.token()
        # The visitor's own hop is claim 7a.1; without ARMONIKA_TLS it is HTTP on loopback, and exactly its ports are left out here.
        visitors = () if config.tls else (config.port, config.port + 1, config.port + 2)
        mail_port = config.mail_server[1] if config.mail_server else config.smtp_port
        with Capture(visitors) as capture:
            canary = context.member(fresh=True)
            context.signed_in(canary).get(context.site("/ar/me/"))
            if self.leak:
                self.leak(canary)
            if not _until(lambda: not _letters(context, canary)):
                raise CannotProbe(
                    "the canary's letter waits in the queue: the mail server does not take it, and nothing can be seen of it"
                )
            evidence.expect(_until(lambda: capture.sent_to(mail_port) > 0), "no letter crossed the network: nothing was seen")
            evidence.expect(_until(lambda: capture.sent_to(config.witness_port) > 0), "no checkpoint reached the witness: nothing was seen")  # fmt: skip
            twins.in_clear(control.encode() + b"\r\n" + base64.b64encode(control.encode()))
            time.sleep(0.3)
        tokens = [part for value in canary.values.values() for part in value.replace("@canary.example", "").split()]
        scanner, found = Scanner([*tokens, canary.password, control]), set()
        for (_, source, _, target), content in capture.flows.items():
            evidence.examined += 1
            for token, form in scanner.data(bytes(content)) | scanner.data(bytes(content).translate(None, b"\r\n")):
                found.add((token == control, f"from port {source} to port {target} ({form})" if token != control else form))
        evidence.failures += [f"a token of the canary crossed in clear {place}" for is_control, place in sorted(found) if not is_control]  # fmt: skip
        if capture.lost and not evidence.failures:
            raise CannotProbe(f"{capture.lost} packets came too fast to be seen: try again on a quieter machine")
        evidence.control = evidence.control and len([form for is_control, form in found if is_control]) >= 2
        left_out = f" (ports {visitors[0]}-{visitors[-1]} are the visitor's: 7a.1)" if visitors else ""
        return f"{len(tokens) + 1} tokens in {len(capture.flows)} flows, {capture.bytes // 1024} KiB{left_out}"

    def _listeners(self, evidence: Evidence, context: Context) -> str:
        config = context.settings
        page = config.port + 3
        documented = {config.port, config.port + 1, config.port + 2, config.witness_port}
        documented |= set() if config.mail_server else {page, config.smtp_port}
        found = sockets.listening(config.home)
        evidence.control = evidence.control and documented <= {port for _, port in found}
        for address, port in found:
            evidence.expect(port in documented, f"port {port} is open and not in docs/security/transport.md")
            internal = port in documented and port > config.port + 2
            evidence.expect(not internal or address in ("127.0.0.1", "::1"), f"port {port} is internal and bound to {address}")
        authority = Keyring.open(config.keys).authority()
        known = authority.certificate()
        right, wrong = intruder.guises(authority, "sealer")
        evidence.control = evidence.control and intruder.witness_lets_in(config.witness_port, right)
        for port in (config.witness_port, *self.witnesses):
            _refused(evidence, f"the witness (port {port})", partial(intruder.witness_lets_in, port), wrong)
            fault = intruder.server_faults(port, known, "witness", right)
            evidence.expect(not fault, f"the witness (port {port}) {fault}")
        if config.mail_server:
            return f"{len(found)} ports, internal ones by mutual TLS 1.3; letters to {config.mail_server[0]}"
        right, wrong = intruder.guises(authority, "worker")
        evidence.control = evidence.control and intruder.sink_lets_in(config.smtp_port, right)
        for port in (config.smtp_port, *self.sinks):
            _refused(evidence, f"the mail sink (port {port})", partial(intruder.sink_lets_in, port), wrong)
            fault = intruder.server_faults(port, known, "mailsink", right, starttls=True)
            evidence.expect(not fault, f"the mail sink (port {port}) {fault}")
        fault = intruder.server_faults(page, known, "localhost", intruder.Guise())
        evidence.expect(not fault, f"the page of letters {fault}")
        for path in ("/", "/letters.json", "/wrong-key/letters.json"):
            evidence.expect(not intruder.page_shows(page, path), f"the page of letters shows {path} without its key")
        return f"{len(found)} ports, internal ones by mutual TLS 1.3"

    def _database(self, evidence: Evidence, context: Context) -> str:
        found = context.rows(
            "SELECT a.usename, a.backend_type, host(a.client_addr), coalesce(s.ssl, false), coalesce(s.version, '') FROM pg_stat_activity a "
            "LEFT JOIN pg_stat_ssl s USING (pid) WHERE a.usename IS NOT NULL AND a.backend_type IN ('client backend', 'walsender') AND "
            "(a.datname IS NULL OR a.datname = current_database() OR a.backend_type = 'walsender')"
        )
        beyond = 0
        for role, kind, address, encrypted, version in found:
            beyond += address is not None
            evidence.expect(
                address is None or (encrypted and version in ("TLSv1.2", "TLSv1.3")),
                f"{role} ({kind}) is connected from {address} without TLS",
            )
        roles = {str(role) for role, *_ in found}
        evidence.control = evidence.control and len(roles) > 1 and any(role.startswith("armonika_") for role in roles)
        by_name = _by_name(context.settings)
        evidence.expect(by_name, "ARMONIKA_DATABASE_URL reaches a server by TCP without sslmode=verify-full")
        return f"{len(found)} database connections of {len(roles)} roles, {beyond} by TLS, {len(found) - beyond} by a Unix socket"

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "a canary in clear on the wire", self._leaking(lambda canary: twins.in_clear(canary.values["email"].encode()))
        )
        yield Sabotage(
            "a letter handed over in clear",
            self._leaking(lambda canary: twins.letter_in_clear(canary.values["email"], canary.values["name"])),
        )
        for kind in twins.WITNESSES:
            yield Sabotage(f"a witness that {kind}", self._beside("witnesses", twins.witness, kind))
        for kind in twins.SINKS:
            yield Sabotage(f"a mail sink that {kind}", self._beside("sinks", twins.sink, kind))

        @contextmanager
        def unknown_port(context: Context) -> Iterator[Context]:
            with self._only(LISTENERS), twins.process(context.settings):
                yield context

        @contextmanager
        def loose_address(context: Context) -> Iterator[Context]:
            url = "postgresql://db.example/armonika?sslmode=require"
            with self._only(DATABASE):
                yield replace(context, settings=replace(context.settings, database_url=url))

        @contextmanager
        def plain_connection(context: Context) -> Iterator[Context]:
            # Temporary names come before those of the catalogue: one connection more is seen, and nothing is touched.
            view = (
                "CREATE TEMP VIEW pg_stat_activity AS SELECT pid, usename, datname, backend_type, client_addr FROM pg_catalog.pg_stat_activity "
                "UNION ALL SELECT 0, 'armonika_worker', current_database(), 'client backend', '127.0.0.1'::inet"
            )
            with self._only(DATABASE), context.planted(view):
                yield context

        yield Sabotage("a port that nobody wrote down", unknown_port)
        yield Sabotage("a database address that believes any certificate", loose_address)
        yield Sabotage("a plain TCP database connection", plain_connection)

    @contextmanager
    def _only(self, part: str) -> Iterator[None]:
        self.parts = frozenset((part,))
        try:
            yield
        finally:
            self.parts = type(self).parts

    def _leaking(self, leak: Callable[[Canary], None]) -> Plant:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            with self._only(WIRE):
                self.leak = leak
                try:
                    yield context
                finally:
                    self.leak = None

        return planted

    def _beside(self, which: str, twin: Callable[[str, Authority], AbstractContextManager[int]], kind: str) -> Plant:
        """A listener of the verifier's own, with one fault, is looked at beside the real ones."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            authority = Keyring.open(context.settings.keys).authority()
            with self._only(LISTENERS), twin(kind, authority) as port:
                setattr(self, which, (port,))
                try:
                    yield context
                finally:
                    setattr(self, which, ())

        return planted


def _refused(
    evidence: Evidence, what: str, lets_in: Callable[[intruder.Guise | None], bool], wrong: dict[str, intruder.Guise]
) -> None:
    for name, guise in wrong.items():
        evidence.expect(not lets_in(guise), f"{what} lets in who comes with {name}")
    evidence.expect(not lets_in(None), f"{what} lets in who comes in clear")


def _until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + _WAIT_SECONDS
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _letters(context: Context, canary: Canary) -> int:
    """How many of the canary's letters wait in the queue."""
    (found,) = context.rows("SELECT count(*) FROM jobs.procrastinate_jobs WHERE args->>'subject' = %s", (str(canary.subject),))
    return int(found[0])


def _by_name(config: Settings) -> bool:
    parts = {name: str(value) for name, value in conninfo_to_dict(config.database_url or "").items()}
    local = all(host.startswith(("/", "@")) for host in (parts.get("hostaddr") or parts.get("host") or "/").split(","))
    return local or parts.get("sslmode") == "verify-full"
