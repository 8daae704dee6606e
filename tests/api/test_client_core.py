"""The client's core without a server: when a call is sent again, lines of a stream, addresses; and mutual TLS against a small server."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from armonika.client import Client, NewPerson, Retry, Use, errors, requests
from armonika.client.answers import Answer
from armonika.client.calls import Call
from armonika.client.exchange import course
from armonika.client.lines import Lines

CHECKOUT = Path(__file__).parents[2]
USE = Use("provide", "integration")
TOKEN = "arm_" + "x" * 43


def told(status: int, code: str, **headers: str) -> Answer:
    body = {"type": f"urn:armonika:problem:{code}", "title": "T", "status": status, "detail": "D"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/problem+json", **named}, json.dumps(body).encode())


def test_a_creation_keeps_its_key_and_waits_as_long_as_it_is_told() -> None:
    steps = course(requests.create(NewPerson("account", {"name": "N"}), USE, None), Retry())
    first = next(steps)
    assert isinstance(first, Call)
    assert first.headers["Idempotency-Key"].strip('"')
    pause = steps.send(told(503, "store-unavailable", retry_after="3"))
    assert isinstance(pause, float)
    assert 3.0 <= pause <= 3.1
    assert steps.send(None) is first, "the same call, with the same key"
    pause = steps.send(errors.ConnectionFailed("broken"))
    assert isinstance(pause, float)
    assert pause <= 0.2
    steps.send(None)
    made = {"id": str(uuid4()), "record": str(uuid4()), "entry": 7}
    with pytest.raises(StopIteration) as end:
        steps.send(Answer(201, {"content-type": "application/json"}, json.dumps(made).encode()))
    assert end.value.value.entry == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0), ({"retry-after": "Wed, 25 Nov 2026 10:02:00 GMT", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 120.0),
        ({"retry-after": "Wed, 25 Nov 2026 09:00:00 GMT", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 0.0), ({}, None), ({"retry-after": "-1"}, None),
        ({"retry-after": "Wed, 25 Nov 2026 10:02:00 GMT"}, None), ({"retry-after": "soon", "date": "Wed, 25 Nov 2026 10:00:00 GMT"}, None),
        ({"retry-after": "9" * 5000}, 999999999.0),
    ],
)  # fmt: skip
def test_a_wait_is_that_of_the_answer_whoever_gave_it(headers: dict[str, str], seconds: float | None) -> None:
    """A proxy that says 503 with no problem document asks for patience too; a date is the other form (RFC 9110 §10.2.3)."""
    for body, kind in (
        (b"<html>", "text/html"),
        (b'{"type":"urn:armonika:problem:store-unavailable"}', "application/problem+json"),
    ):
        steps = course(requests.policy(), Retry())
        next(steps)
        answer = Answer(503, {"content-type": kind, **headers}, body)
        if seconds and seconds > Retry().longest:
            with pytest.raises(errors.ArmonikaError) as caught:
                steps.send(answer)
            assert caught.value.retry_after == seconds
        else:
            assert isinstance(steps.send(answer), float)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\r\nb", "\u00e9", "a\x00", "a\x7f"])
def test_a_key_that_no_header_can_hold_is_no_broken_connection(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 printable"):
        requests.create(NewPerson("account", {"name": "N"}), USE, key)


def test_a_patient_program_may_try_for_hours() -> None:
    assert Retry(attempts=5000).pause(4000, None) is not None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (told(429, "quota-exceeded", retry_after="1"), errors.QuotaExceeded), (told(500, "http"), errors.Rejected), (told(409, "duplicate"), errors.Duplicate),
        (told(503, "store-unavailable", retry_after="11"), errors.Unavailable), (told(418, "something-new"), errors.Problem),
        (Answer(502, {"content-type": "text/html"}, b"<html>"), errors.UnexpectedAnswer), (Answer(200, {"content-type": "application/json"}, b"{"), errors.UnexpectedAnswer),
        (Answer(500, {"content-type": "application/problem+json"}, b"\xff"), errors.UnexpectedAnswer),
    ],
)  # fmt: skip
def test_what_does_not_pass_by_itself_is_told_at_once(reply: Answer, kind: type[errors.ArmonikaError]) -> None:
    steps = course(requests.policy(), Retry())
    next(steps)
    with pytest.raises(kind) as caught:
        steps.send(reply)
    assert caught.value.retry_after in (None, 1.0, 11.0)


@given(sent=st.integers(1, 6), asked=st.none() | st.floats(0, 20))
def test_pauses_are_bounded(sent: int, asked: float | None) -> None:
    retry = Retry(attempts=5, first=0.1, longest=10)
    pause = retry.pause(sent, asked)
    if sent >= 5 or (asked or 0) > 10:
        assert pause is None
    else:
        assert pause is not None
        assert (asked or 0) <= pause <= (asked or 0) + min(10, 0.1 * 2 ** (sent - 1))


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), st.integers(1, 9))
def test_only_a_line_feed_ends_a_line(texts: list[str], size: int) -> None:
    stream = "".join(text + "\n" for text in [*texts, "a\u2028b\x85c\x0bd\re"]).encode()
    lines = Lines()
    found = [line for start in range(0, len(stream), size) for line in lines.feed(stream[start : start + size])]
    assert [line.decode() for line in found] == [text for text in [*texts, "a\u2028b\x85c\x0bd\re"] if text]
    assert lines.rest == b""


def test_every_code_of_the_server_has_a_class() -> None:
    from armonika.doors.api import once, problems  # noqa: F401 (they define codes)
    from armonika.trust.vault.errors import VaultError

    def below(kind: type[VaultError]) -> set[str]:
        ours = kind.__module__.startswith(("armonika.doors.api", "armonika.trust.vault.errors"))
        return ({kind.code} if ours else set()).union(*(below(each) for each in kind.__subclasses__()))

    # The retention job's alone: the API calls nothing that looks at the clock so.
    assert below(VaultError) - {"clock-untrusted"} | {"http"} == set(errors.BY_CODE)


def test_addresses_hold_ids_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        requests.read("../policy", "account", ["name"], USE)  # type: ignore[arg-type]
    assert requests.read(uuid4(), "account", ["name", "email"], USE).path.endswith(
        "?dataset=account&fields=name,email&purpose=provide&reason=integration"
    )
    with pytest.raises(ValueError, match="surrogate") as caught:
        requests.create(NewPerson("account", {"name": "Zoubida\ud800"}), USE, None)
    assert caught.value.__cause__ is caught.value.__context__ is None
    for use in (requests.erase, requests.export):
        with pytest.raises(ValueError, match="reference"):
            use(uuid4(), Use("provide", "integration", "CASE-1"))


def test_a_service_can_take_the_folder_alone(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "armonika/client", tmp_path / "armonika/client")
    shutil.copy(CHECKOUT / "armonika/__init__.py", tmp_path / "armonika")
    told = "import sys, armonika.client as c; print(c.__file__, sorted(n for n in sys.modules if n.startswith('armonika.') and not n.startswith('armonika.client')))"
    said = subprocess.run(
        [sys.executable, "-c", told], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert said.stdout.split(maxsplit=1) == [str(tmp_path / "armonika/client/__init__.py"), "[]\n"], said.stderr


def certificate(folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, days: int = 1, name_of: str = "127.0.0.1") -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:  # fmt: skip
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(named).issuer_name(issuer[0].subject if issuer else named).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(2)).not_valid_after(now + datetime.timedelta(days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name_of))]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )  # fmt: skip
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made, key


def test_mutual_tls(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority", None)
    for name in ("server", "service"):
        certificate(tmp_path, name, authority)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"version":"1","sha256":"x","datasets":{},"purposes":[],"reasons":[]}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.load_verify_locations(tmp_path / "authority.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, ours = f"https://127.0.0.1:{server.server_port}", tmp_path / "authority.pem"
    own = (str(tmp_path / "service.pem"), str(tmp_path / "service.key"))
    try:
        with Client(address, TOKEN, verify=ours, cert=own) as client:
            assert client.policy().version == "1"
        for named in ({"verify": ours}, {"cert": own}):
            with Client(address, TOKEN, retry=Retry(attempts=1), **named) as client, pytest.raises(errors.ConnectionFailed):  # type: ignore[arg-type]
                client.policy()
    finally:
        server.shutdown()
        server.server_close()
