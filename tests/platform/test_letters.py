"""Letters hold an address: they leave by TLS, to a server that has proven its name, or not at all."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from armonika.entry.mailsink import Sink, Smtp
from armonika.gates import mail
from armonika.gates.channel import Channel
from armonika.store.embedded import Embedded
from armonika.trust.certificates import Authority
from armonika.verify.intruder import guises, sink_lets_in
from tests.live import Live, free_port, start, stop

pytestmark = pytest.mark.timeout(240)
AUTHORITY, OTHER = Authority(b"\3" * 32), Authority(b"\4" * 32)


@contextlib.contextmanager
def running_sink(channel: Channel) -> Iterator[tuple[Sink, int]]:
    sink = Sink()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    controller = Smtp(sink, channel, port)
    controller.start()
    try:
        yield sink, port
    finally:
        controller.stop()


def hand_over(server: mail.Server) -> None:
    mail.send(server, "privacy@operator.example", "reader@example.org", "Subject", "Body", "en")


def test_a_letter_goes_from_the_worker_to_the_sink_and_from_nobody_else(give: Callable[..., Channel]) -> None:
    with running_sink(give("mailsink")) as (sink, port):
        hand_over(mail.sink(give("worker"), port))
        assert [(letter["to"], letter["body"].strip()) for letter in sink.letters] == [("reader@example.org", "Body")]
        for channel in (give("sealer"), give("site")):
            with pytest.raises(mail.MailError):
                hand_over(mail.sink(channel, port))
        right, wrong = guises(AUTHORITY, "worker")
        assert sink_lets_in(port, right)
        assert not [name for name, guise in wrong.items() if sink_lets_in(port, guise)]
        assert not sink_lets_in(port, None)
        assert len(sink.letters) == 1


def test_a_sink_that_is_not_ours_gets_no_letter(give: Callable[..., Channel]) -> None:
    worker = give("worker")
    for channel in (give("witness"), give("mailsink", OTHER), give("mailsink", AUTHORITY, days=-1)):
        with running_sink(channel) as (sink, port), pytest.raises(mail.MailError):
            hand_over(mail.sink(worker, port))
        assert not sink.letters


@contextlib.contextmanager
def between(target: int, change: Callable[[bytes], bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Somebody on the wire: alters what the server says, and keeps what the client says."""
    said: list[bytes] = []

    def pump(source: socket.socket, to: socket.socket, alter: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                to.sendall(alter(content))
            to.shutdown(socket.SHUT_WR)

    def keep(content: bytes) -> bytes:
        said.append(content)
        return content

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                behind = socket.create_connection(("127.0.0.1", target))
                threading.Thread(target=pump, args=(client, behind, keep), daemon=True).start()
                threading.Thread(target=pump, args=(behind, client, change), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1]), said


@pytest.mark.parametrize(
    ("offered", "instead"), [(b"250-STARTTLS\r\n", b""), (b"STARTTLS", b"XXXXXXXX"), (b"220 Ready", b"454 Not n")]
)
def test_a_letter_is_kept_when_starttls_is_taken_away_on_the_wire(
    give: Callable[..., Channel], offered: bytes, instead: bytes
) -> None:
    with running_sink(give("mailsink")) as (sink, port):
        with between(port, lambda content: content.replace(offered, instead)) as (proxy, said):
            with pytest.raises(mail.MailError):
                hand_over(mail.sink(give("worker"), proxy))
        assert not sink.letters
        assert said, "the client did come"
        assert b"reader" not in b"".join(said)
        assert b"MAIL" not in b"".join(said)


def test_commands_sent_along_with_starttls_are_thrown_away(give: Callable[..., Channel]) -> None:
    """CVE-2011-0411 and its kin: what was injected in clear must not be taken as said inside TLS."""
    worker = give("worker")
    with running_sink(give("mailsink")) as (sink, port), socket.create_connection(("127.0.0.1", port), 5) as raw:
        told = raw.makefile("rb")
        assert told.readline().startswith(b"220 ")
        raw.sendall(b"EHLO x\r\n")
        while told.readline()[3:4] == b"-":
            continue
        raw.sendall(b"STARTTLS\r\nMAIL FROM:<intruder@example.org>\r\nRCPT TO:<victim@example.org>\r\n")
        assert told.readline() == b"220 Ready to start TLS\r\n"
        try:
            with worker.client().wrap_socket(raw, server_hostname="mailsink") as secured:
                secured.sendall(b"EHLO worker\r\n")
                secured.recv(1000)
                secured.sendall(b"DATA\r\n")
                assert not secured.recv(1000).startswith(b"354")
        except (OSError, ssl.SSLError):
            pass
        assert not sink.letters


@pytest.mark.parametrize("implicit", [False, True])
def test_the_operators_mail_server_must_prove_its_name(
    give: Callable[..., Channel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, implicit: bool
) -> None:
    made = AUTHORITY.issue("localhost", "mail", 1, server=True)
    (tmp_path / "mail.pem").write_bytes(made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "mail.pem")
    got: list[str] = []

    class Receiver(Sink):
        def handle_STARTTLS(self, server: object, session: object, envelope: object) -> bool:  # type: ignore[override]
            return True

        async def handle_RCPT(self, server: object, session: object, envelope: object, address: str, options: object) -> str:
            got.append(address)
            envelope.rcpt_tos.append(address)  # type: ignore[attr-defined]
            return "250 ok"

    from aiosmtpd.controller import Controller

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    how = {"ssl_context": context} if implicit else {"tls_context": context, "require_starttls": True}
    controller = Controller(Receiver(), hostname="127.0.0.1", port=port, **how)
    controller.start()
    if implicit:
        monkeypatch.setattr(mail, "IMPLICIT_PORT", port)
    try:
        with pytest.raises(mail.MailError):
            hand_over(mail.operator("localhost", port))
        assert got == []
        (tmp_path / "authority.pem").write_bytes(AUTHORITY.certificate())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        with pytest.raises(mail.MailError):
            hand_over(mail.operator("127.0.0.1", port))
        assert got == []
        hand_over(mail.operator("localhost", port))
        assert got == ["reader@example.org"]
    finally:
        controller.stop()


def letters_waiting(live: Live) -> int:
    """Letters to people: what the administrator did is told by another (tests/flows/test_administrator_pages.py)."""
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM jobs.procrastinate_jobs WHERE queue_name = 'letters' AND task_name <> 'send-administrator'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_letters_go_to_a_server_of_ones_own_and_no_sink_is_started(folder: Path) -> None:
    """`ARMONIKA_MAIL_SERVER` names a server that does not answer: the letter waits in the queue, and nothing listens for letters."""
    live = start(folder, free_port(), extra={"ARMONIKA_MAIL_SERVER": "localhost:9"})
    try:
        assert "handed to localhost" in live.output.read_text()
        for port in (live.port + 3, live.port + 25):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 2)
        assert letters_waiting(live) == 2, "what cannot be handed over by TLS waits"
        assert b"@" not in (folder / "logs" / "worker.log").read_bytes()
    finally:
        assert stop(live) == 0
