"""The listeners with a certificate: TLS alone, mutual for the API when asked, claim 7a.1, and errors that say what to do."""

from __future__ import annotations

import datetime
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from armonika.client import Client
from armonika.client.errors import ArmonikaError
from armonika.settings import Settings
from armonika.supervisor import ports
from armonika.supervisor.supervisor import answers
from armonika.verify.claims.c_7a_1 import NEW, OLD, WEAK, answers_plain, shakes
from armonika.verify.listeners import TWINS
from tests.folders import folder
from tests.live import CHECKOUT, Live, free_port, need_open_checkout, start, stop

pytestmark = pytest.mark.timeout(240)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._sign(self.name, self.key, True, 100).public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, authority: bool, days: float) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
        )
        made = made.not_valid_before(now - datetime.timedelta(days=500)).not_valid_after(now + datetime.timedelta(days=days))
        made = made.add_extension(x509.BasicConstraints(authority, None), True)
        if authority:
            usage = dict.fromkeys(
                (
                    "digital_signature",
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            made = made.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
            made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        else:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        return made.sign(self.key, hashes.SHA256())

    def issue(self, name: str, days: float = 90) -> Path:
        """A folder with cert.pem and key.pem."""
        folder = self.folder / name
        folder.mkdir()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        (folder / "cert.pem").write_bytes(self._sign(subject, key, False, days).public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").touch(0o600)
        (folder / "key.pem").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return folder


@dataclass
class Secured:
    live: Live
    folder: Path
    authority: Authority
    clients: Authority


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with folder("tls") as made:
        authority, clients = Authority(made, "authority"), Authority(made, "clients")
        served = authority.issue("localhost")
        extra = {"ARMONIKA_TLS": str(served), "ARMONIKA_API_CLIENTS": str(clients.file), "SSL_CERT_FILE": str(authority.file)}
        live = start(made / "home", free_port(), extra=extra)
        yield Secured(live, made, authority, clients)
        assert stop(live) == 0


def trusting(made: Secured, client: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made.authority.file))
    if client:
        context.load_cert_chain(client / "cert.pem", client / "key.pem")
    return context


def test_pages_come_by_tls_alone_and_letters_name_them_so(secured: Secured) -> None:
    port = secured.live.port
    with httpx.Client(verify=trusting(secured)) as client:
        for at in (port, port + 1):
            answer = client.get(f"https://localhost:{at}/healthz")
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"].startswith("max-age=63072000")
        assert "https://" in secured.live.output.read_text()
        page = client.get(f"https://localhost:{port}/en/register/")
        assert page.status_code == 200
        assert "Secure" in page.headers.get("set-cookie", "Secure")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"https://localhost:{port}/healthz")
    for at in (port, port + 1, port + 2):
        assert not answers_plain("127.0.0.1", at)
        assert not shakes("127.0.0.1", at, OLD, "ALL")
        assert not shakes("127.0.0.1", at, NEW, WEAK)


def test_the_api_admits_only_clients_of_its_authority_and_still_asks_for_a_token(secured: Secured) -> None:
    base, token = f"https://localhost:{secured.live.port + 2}", secured.live.token()
    mine, foreign = secured.clients.issue("service"), secured.authority.issue("stranger")
    for context in (trusting(secured), trusting(secured, foreign)):
        with pytest.raises(httpx.HTTPError), httpx.Client(verify=context) as client:
            client.get(f"{base}/v1/policy")
    with httpx.Client(verify=trusting(secured, mine)) as client:
        assert client.get(f"{base}/v1/policy").status_code == 200
        assert client.get(f"{base}/v1/people/00000000-0000-4000-8000-000000000000", params={"dataset": "account", "fields": "name", "purpose": "provide", "reason": "integration"}).status_code == 401  # fmt: skip
    with Client(base, token=token, verify=trusting(secured, mine)) as service:
        assert service.policy().version
    with pytest.raises(ArmonikaError), Client(base, token=token, verify=trusting(secured)) as service:
        service.policy()


def test_claim_7a_1_is_proven_and_its_sabotages_are_caught(secured: Secured) -> None:
    environment = {
        **secured.live.environment,
        "ARMONIKA_TLS": str(secured.folder / "localhost"),
        "SSL_CERT_FILE": str(secured.authority.file),
    }
    done = subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "verify", "7a.1", "--sabotage", "--json", "--no-publish"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    (row,) = [row for row in json.loads(done.stdout)["claims"] if row["claim"] == "7a.1"]
    assert row["verdict"] == "TRUE", row
    assert row["caught"] == row["planted"] == len(TWINS) + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to capture")
def test_claim_7a_2_looks_at_the_visitors_hop_too_where_it_is_encrypted(secured: Secured) -> None:
    environment = {
        **secured.live.environment,
        "ARMONIKA_TLS": str(secured.folder / "localhost"),
        "SSL_CERT_FILE": str(secured.authority.file),
    }
    done = subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "verify", "7a.2", "--json", "--no-publish"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    (row,) = [row for row in json.loads(done.stdout)["claims"] if row["claim"] == "7a.2"]
    assert row["verdict"] == "TRUE", row
    assert "visitor" not in row["summary"]


def test_keys_lie_with_each_door_alone(secured: Secured) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the doors have users of their own")
    from armonika.settings import Settings

    folder = Settings(secured.live.home, secured.live.port, None).credentials
    for door in ("site", "console", "api"):
        mode = (folder / door / "key.pem").stat()
        assert mode.st_mode & 0o077 == 0
        assert mode.st_uid == (folder / door).stat().st_uid != 0
    assert not (folder / "worker" / "key.pem").exists()


def test_a_new_certificate_is_served_without_a_restart_and_a_wrong_one_is_not(secured: Secured) -> None:
    """The pair is replaced one file after the other, under load on new connections; which requests were cut off is counted."""
    port, folder = secured.live.port, secured.folder / "localhost"
    ending, answers = threading.Event(), {"ok": 0, "cut": 0}

    def load() -> None:
        while not ending.is_set():
            try:
                with httpx.Client(verify=trusting(secured)) as client:
                    answers["ok"] += client.get(f"https://localhost:{port}/healthz").status_code == 200
            except httpx.HTTPError:
                answers["cut"] += 1

    def served(at: int) -> str:
        # The API asks for a certificate, after it has shown its own.
        with (
            socket.create_connection(("127.0.0.1", at), 5) as raw,
            trusting(secured).wrap_socket(raw, server_hostname="localhost") as shown,
        ):
            return str((shown.getpeercert() or {})["serialNumber"])

    def replace(name: str, source: Path) -> None:
        made = folder / f".{name}.new"
        made.touch(0o600)
        made.write_bytes((source / name).read_bytes())
        made.replace(folder / name)

    def wait_for(word: str, count: int = 1) -> None:
        end = time.monotonic() + 60
        while secured.live.output.read_text().count(word) < count:
            assert time.monotonic() < end, secured.live.output.read_text()[-500:]
            time.sleep(0.2)

    before, renewed = served(port), secured.authority.issue("renewed")
    loading = threading.Thread(target=load)
    loading.start()
    try:
        replace("key.pem", renewed)
        wait_for("is not served")
        assert served(port) == before
        replace("cert.pem", renewed)
        wait_for("A new certificate is served")
        end = time.monotonic() + 60
        while before in {served(at) for at in (port, port + 1, port + 2)}:
            assert time.monotonic() < end, "all three doors take it"
            time.sleep(0.3)
        time.sleep(5)
    finally:
        ending.set()
        loading.join()
    assert answers["ok"] > 300
    assert answers["cut"] <= 3, answers
    mine = secured.clients.issue("after")
    with httpx.Client(verify=trusting(secured, mine)) as client:
        assert client.get(f"https://localhost:{port + 2}/v1/policy").status_code == 200


def served_not(environment: dict[str, str], user: int | None = None) -> str:
    """What a start says that is refused before anything is made."""
    done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", "serve"], cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False, user=user, group=user)  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not Path(environment["ARMONIKA_HOME"]).exists(), "nothing was made"
    return done.stderr


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("missing", "missing"), ("open", "chmod 600"), ("foreign", "cannot be used together"), ("ended", "has ended"), ("listen", "Without TLS"),
        ("nonsense", "ARMONIKA_LISTEN"), ("elsewhere", "this machine cannot listen there"), ("no clients", "nowhere is missing. ARMONIKA_API_CLIENTS"), ("empty clients", "holds no certificate. ARMONIKA_API_CLIENTS"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_told_before_anything_starts(tmp_path: Path, change: str, word: str) -> None:
    authority = Authority(tmp_path, "authority")
    folder = authority.issue("localhost", days=-1 if change == "ended" else 90)
    if change == "missing":
        (folder / "key.pem").unlink()
    if change == "open":
        (folder / "key.pem").chmod(0o644)
    if change == "foreign":
        (folder / "key.pem").write_bytes((authority.issue("other") / "key.pem").read_bytes())
    (tmp_path / "empty").touch()
    environment = {"ARMONIKA_HOME": str(tmp_path / "home"), "ARMONIKA_PORT": str(free_port())}
    if change != "listen":
        environment |= {"ARMONIKA_TLS": str(folder)}
    environment |= {
        "listen": {"ARMONIKA_LISTEN": "0.0.0.0"}, "nonsense": {"ARMONIKA_LISTEN": "everywhere"}, "elsewhere": {"ARMONIKA_LISTEN": "192.0.2.1"},
        "no clients": {"ARMONIKA_API_CLIENTS": "/nowhere"}, "empty clients": {"ARMONIKA_API_CLIENTS": str(tmp_path / "empty")},
    }.get(change, {})  # fmt: skip
    assert word in served_not(environment)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else")
@pytest.mark.parametrize("file", ["cert.pem", "key.pem", "clients"])
def test_a_file_of_another_user_is_named(file: str) -> None:
    """OpenSSL's own words name none."""
    nobody = 65534
    need_open_checkout(["setpriv", f"--reuid={nobody}", "--clear-groups"])
    with folder("unread") as made:
        authority = Authority(made, "authority")
        pair, clients = authority.issue("localhost"), made / "clients"
        clients.write_bytes(authority.file.read_bytes())
        other = clients if file == "clients" else pair / file
        for path in (pair / "cert.pem", pair / "key.pem", clients):
            os.chown(path, 0 if path == other else nobody, -1)
            path.chmod(0o600)
        told = served_not(
            {"ARMONIKA_HOME": str(made / "home"), "ARMONIKA_PORT": str(free_port()), "ARMONIKA_TLS": str(pair), "ARMONIKA_API_CLIENTS": str(clients)},
            nobody,
        )  # fmt: skip
        assert f"{other} cannot be read by this user" in told


def test_doors_listen_on_an_address_of_version_6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with folder("six") as made:
        live = start(made / "home", free_port(), sample=False, extra={"ARMONIKA_LISTEN": "::1"})
        try:
            for offset in (0, 1, 2):
                assert httpx.get(f"http://[::1]:{live.port + offset}/healthz").status_code == 200
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", live.port + offset), 2)
        finally:
            assert stop(live) == 0


@pytest.mark.parametrize(
    ("listen", "own"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("2001:db8::5", "[2001:db8::5]")],
)
def test_this_machine_reaches_its_doors_where_they_listen(listen: str, own: str, tmp_path: Path) -> None:
    assert ports.own_address(Settings(tmp_path, 8000, None, listen=listen)) == own


@pytest.mark.parametrize(("address", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_listener_that_wants_a_certificate_is_only_connected_to(address: str, family: int) -> None:
    try:
        held = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    written = f"[{address}]" if family == socket.AF_INET6 else address
    with held:
        port = held.getsockname()[1]
        assert answers(f"tcp://{written}:{port}")
    assert not answers(f"tcp://{written}:{port}")


def test_the_sockets_of_a_plain_start_are_on_loopback_alone(live: Live) -> None:
    from armonika.verify.claims.c_7a_1 import listening

    ours = {live.port + offset for offset in (0, 1, 2, 3, 4, 25)}
    found = [(address, port) for address, port in listening() if port in ours]
    assert len(found) >= len(ours)
    assert {address for address, _ in found} <= {"127.0.0.1", "::1"}
