"""Between our own processes: who has no certificate, or a wrong one, is not heard; letters never leave in clear; certificates change while everything runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from armonika.gates.channel import Channel, ChannelError, Connection, Listener, peer
from armonika.settings import Settings
from armonika.store.embedded import DatabaseError
from armonika.supervisor import certificates
from armonika.supervisor.database import check_transport, door_dsn, dsn_of
from armonika.supervisor.installation import Installation
from armonika.supervisor.key_desk import AUTHORITY_LIFE
from armonika.supervisor.renewal import Renewal
from armonika.supervisor.supervisor import Supervisor
from armonika.trust.certificates import Authority
from armonika.trust.keys import Keyring
from armonika.trust.keys.epochs import now
from armonika.verify.intruder import Guise, guises, sink_lets_in, witness_lets_in
from tests.keys.house import house
from tests.live import CHECKOUT, Live, free_port, need_open_checkout, stop

pytestmark = pytest.mark.timeout(240)
REFUSED = (ssl.SSLError, ConnectionError, HTTPException)
AUTHORITY, OTHER = Authority(b"\3" * 32), Authority(b"\4" * 32)


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = peer(self.connection).encode()  # type: ignore[arg-type]
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def log_message(self, format: str, *args: object) -> None:
        return


@contextlib.contextmanager
def hello(channel: Channel) -> Iterator[int]:
    server = Listener(channel, 0, Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def ask(connection: Connection) -> bytes:
    connection.request("GET", "/")
    return connection.getresponse().read()


def serial(channel: Channel, port: int) -> str:
    with contextlib.closing(Connection(channel, "witness", port, 3)) as connection:
        connection.connect()
        return str(connection.sock.getpeercert()["serialNumber"])  # type: ignore[union-attr]


def test_certificates_change_while_connections_live(give: Callable[..., Channel]) -> None:
    witness, sealer = give("witness"), give("sealer")
    with hello(witness) as port, contextlib.closing(Connection(sealer, "witness", port, 3)) as kept:
        assert ask(kept) == b"sealer"
        before = serial(sealer, port)
        give("witness")
        assert ask(kept) == b"sealer", "what was begun goes on"
        assert serial(sealer, port) != before
        # A new authority: its own are heard, and those of the one before no more.
        old = shutil.copytree(sealer._folder, sealer._folder.with_name("old"))
        give("witness", OTHER), give("sealer", OTHER)
        assert ask(Connection(sealer, "witness", port, 3)) == b"sealer"
        with pytest.raises(REFUSED):
            ask(Connection(Channel(old), "witness", port, 3))
        shutil.copy(sealer._folder / "authority.pem", old / "authority.pem")
        with pytest.raises(REFUSED):
            ask(Connection(Channel(old), "witness", port, 3))


def test_a_client_cannot_stand_in_for_a_server_nor_one_process_for_another(give: Callable[..., Channel]) -> None:
    sealer = give("sealer")
    for impostor in ("worker", "mailsink"):
        with hello(give(impostor)) as port, pytest.raises(ssl.SSLError):
            ask(Connection(sealer, "witness", port, 3))
    with hello(give("witness")) as port:
        # A server's certificate is no client's.
        with pytest.raises(REFUSED):
            ask(Connection(give("mailsink"), "witness", port, 3))


def test_a_slow_handshake_holds_nobody_up(give: Callable[..., Channel]) -> None:
    with hello(give("witness")) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        began = time.monotonic()
        assert ask(Connection(give("sealer"), "witness", port, 3)) == b"sealer"
        assert time.monotonic() - began < 2
        for connection in slow:
            connection.close()


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match=r"armonika keys credentials"):
        Channel(tmp_path)
    for name in ("internal.pem", "authority.pem"):
        (tmp_path / name).write_text("nothing of the kind")
    with pytest.raises(ChannelError, match=r"internal\.pem"):
        Channel(tmp_path)


def test_a_certificate_is_due_at_half_its_life_and_when_the_clock_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "credentials", property(lambda _: tmp_path / "credentials"))
    config = Settings(tmp_path, 8000, None)
    assert not certificates.due(config)
    folder = tmp_path / "credentials" / "sealer"
    folder.mkdir(parents=True)
    certificates.hand_out(AUTHORITY, "sealer", folder, None)
    real = time.time()
    for days, due in ((0, False), (14, False), (16, True), (31, True), (-1, True)):
        monkeypatch.setattr(certificates.time, "time", lambda days=days: real + days * 86400)
        assert certificates.due(config) is due, days


def test_the_rounds_renew_what_is_due_and_say_once_what_hinders() -> None:
    said: list[str] = []
    with house() as home:
        renewal = Renewal(Installation(home.config), Supervisor(home.config.logs), said.append)
        authority = Keyring.open(home.config.keys).authority()
        folder = home.config.credentials / "sealer"
        folder.mkdir(parents=True, exist_ok=True)
        certificates.hand_out(authority, "sealer", folder, None)
        fresh = (folder / "internal.pem").read_bytes()
        renewal.tick()
        assert (folder / "internal.pem").read_bytes() == fresh, "nothing is due"
        certificates.hand_out(authority, "sealer", folder, None, days=1 / 1440)
        ending = (folder / "internal.pem").read_bytes()
        kept = (home.config.keys / "keyring.json").rename(home.config.keys / "away")
        for _ in range(3):
            renewal.tick()
        assert len(said) == 1
        assert "not renewed" in said[0]
        assert (folder / "internal.pem").read_bytes() == ending
        kept.rename(home.config.keys / "keyring.json")
        renewal.tick()
        assert (folder / "internal.pem").read_bytes() != ending
        assert not certificates.due(home.config)
        assert len(said) == 1


def test_the_desk_changes_the_authority_once_a_year() -> None:
    def subject() -> str:
        return Keyring.open(home.config.keys).authority()._name.rfc4514_string()

    with house() as home:
        first = subject()
        assert home.desk.tend().authority == "kept"
        ring = Keyring.open(home.config.keys)
        ring.renew()
        assert subject() == first, "a new keyring key and a new root leave the authority as it is"
        ring._content["authority_since"] = (now() - AUTHORITY_LIFE + timedelta(minutes=1)).isoformat()
        ring.save()
        assert home.desk.tend().authority == "kept"
        ring._content["authority_since"] = (now() - AUTHORITY_LIFE).isoformat()
        ring.save()
        assert home.desk.tend().authority == "due", "nobody runs who would get a certificate of the new one"
        assert subject() == first
        folder = home.config.credentials / "sealer"
        folder.mkdir(parents=True, exist_ok=True)
        certificates.hand_out(ring.authority(), "sealer", folder, None)
        before = (folder / "internal.pem").read_bytes()
        assert home.desk.tend().authority == "renewed"
        assert subject() != first
        assert (folder / "internal.pem").read_bytes() != before
        assert home.desk.tend().authority == "kept"


def test_a_keyring_of_before_gets_an_authority(tmp_path: Path) -> None:
    ring = Keyring.open_or_create(tmp_path / "keys")
    ring.ensure(["account"])
    del ring._content["secrets"]["authority"], ring._content["authority_since"]
    ring.save()
    older = Keyring.open(tmp_path / "keys")
    with pytest.raises(Exception, match=r"armonika serve"):
        older.authority()
    older.ensure(["account"])
    assert Keyring.open(tmp_path / "keys").authority().certificate()


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("host=/run/postgresql dbname=a", True), ("dbname=a", True), ("postgresql:///a?host=/tmp", True), ("host=127.0.0.1,::1 dbname=a", True), ("host=localhost", True),
        ("host=db.example dbname=a sslmode=verify-full sslrootcert=/x", True), ("postgresql://db1.example,db2.example/a?sslmode=verify-full", True),
        ("host=db.example dbname=a", False), ("host=db.example sslmode=require", False), ("host=db.example sslmode=verify-ca", False), ("postgresql://u@db.example/a?sslmode=prefer", False),
        ("host=/tmp,db.example", False), ("host=localhost hostaddr=192.0.2.1", False), ("host=192.0.2.1", False), ("host=localhost.example", False),
    ],
)  # fmt: skip
def test_a_database_beyond_this_machine_is_reached_by_name_and_tls_or_not_at_all(url: str, taken: bool) -> None:
    if taken:
        check_transport(url)
    else:
        with pytest.raises(DatabaseError, match="sslmode=verify-full"):
            check_transport(url)


def test_what_the_environment_adds_to_an_address_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    check_transport("dbname=a")
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "192.0.2.1")
            with pytest.raises(DatabaseError, match="sslmode=verify-full"):
                check_transport("dbname=a")
            check_transport("dbname=a sslmode=verify-full")
    with pytest.raises(DatabaseError, match="sslmode=verify-full"):
        check_transport("service=main dbname=a")


def test_a_start_with_such_an_address_ends_before_anything_is_reached(tmp_path: Path) -> None:
    for url, word in (("postgresql://user:secret-word@db.example/armonika", "verify-full"), ("nonsense =", "no address")):
        environment = {
            **os.environ,
            "ARMONIKA_HOME": str(tmp_path / "home"),
            "ARMONIKA_PORT": str(free_port()),
            "ARMONIKA_DATABASE_URL": url,
        }
        done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", "serve"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode == 2
        assert word in done.stderr
        assert "secret-word" not in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "home" / "keys").exists()


def test_each_door_shows_the_database_its_own_certificate_where_the_administrator_shows_one() -> None:
    admin = "host=db.example dbname=a user=postgres password=x sslmode=verify-full sslrootcert=/ca.pem sslcert=/root/admin.pem sslkey=/root/admin.key"
    made = door_dsn(dsn_of(admin), Path("/run/credentials/site"))
    assert "sslcert=/run/credentials/site/internal.pem sslkey=/run/credentials/site/internal.pem" in made
    assert "admin" not in made
    assert "postgres" not in made
    plain = dsn_of("host=/tmp dbname=a user=postgres password=x")
    assert door_dsn(plain, Path("/run/credentials/site")) == plain


def test_the_running_system_hears_its_own_alone(live: Live) -> None:
    authority = Keyring.open(live.home / "keys").authority()
    for lets_in, port, client in ((witness_lets_in, live.port + 4, "sealer"), (sink_lets_in, live.port + 25, "worker")):
        right, wrong = guises(authority, client)
        assert lets_in(port, right)
        assert not [name for name, guise in wrong.items() if lets_in(port, guise)]
        assert not lets_in(port, None)
        assert not lets_in(port, Guise(OTHER.issue(client, client, 1, client=True)))
    folder = Settings(live.home, live.port, None).credentials
    processes = {path.parent.name for path in folder.glob("*/internal.pem")}
    assert processes >= {"site", "console", "api", "worker", "sealer", "keeper", "timpani", "witness", "mailsink"}
    for path in folder.glob("*/internal.pem"):
        assert path.stat().st_mode & 0o377 == 0
        assert path.stat().st_uid == path.parent.stat().st_uid
        assert os.geteuid() != 0 or path.stat().st_uid != 0
    assert not list(live.home.rglob("internal.pem")), "keys of certificates lie in memory alone"


def test_letters_are_shown_by_tls_to_who_has_the_key(live: Live) -> None:
    address, _ = live.sign_in("admin")
    assert live.letters(address)
    trusting = ssl.create_default_context(cafile=str(live.home / "run" / "authority.pem"))
    with httpx.Client(verify=trusting, base_url=f"https://localhost:{live.port + 3}") as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/", "/letters.json", "/style.css", "/letters/1", "/" + "A" * 32 + "/letters.json", "//letters.json"):
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert address not in answer.text
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{live.port + 3}/healthz")


def test_a_new_authority_takes_over_while_everything_runs(live: Live) -> None:
    old = Keyring.open(live.home / "keys").authority()
    done = live.command("keys", "authority", "--renew")
    assert done.returncode == 0, done.stderr
    assert "sealer" in done.stderr
    shown = live.command("keys", "authority")
    assert "BEGIN CERTIFICATE" in shown.stdout
    assert "PRIVATE" not in shown.stdout + done.stdout
    new = Keyring.open(live.home / "keys").authority()
    for lets_in, port, client in ((witness_lets_in, live.port + 4, "sealer"), (sink_lets_in, live.port + 25, "worker")):
        assert lets_in(port, guises(new, client)[0])
        assert not lets_in(port, guises(old, client)[0])
    before = (live.home / "log" / "checkpoint").read_bytes()
    verified = live.command("verify", "7a.2", "--json", "--no-publish")
    (row,) = [row for row in json.loads(verified.stdout)["claims"] if row["claim"] == "7a.2"]
    assert row["verdict"] == ("TRUE" if os.geteuid() == 0 else "UNPROVEN"), row
    end = time.monotonic() + 15
    while (found := (live.home / "log" / "checkpoint").read_bytes()) == before or found.count(b"armonika.dz/witness") != 2:
        assert time.monotonic() < end, "the log goes on and is cosigned"
        time.sleep(0.2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start as somebody else")
def test_started_as_an_ordinary_user_it_speaks_tls_and_says_what_it_cannot_prove(
    folder: Path,
) -> None:
    home = folder
    shutil.chown(home, 65534, 65534)
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    environment = {
        "PATH": os.environ["PATH"],
        "ARMONIKA_HOME": str(home),
        "ARMONIKA_PORT": str(free_port()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
    }
    program = [sys.executable, "-m", "armonika.doors.cli.main"]
    need_open_checkout(prefix)
    with (home / "serve.out").open("w") as output:
        process = subprocess.Popen([*prefix, *program, "serve", "--sample"], cwd=CHECKOUT, env=environment, stdout=output, stderr=output, text=True, start_new_session=True)  # fmt: skip
    live = Live(home, int(environment["ARMONIKA_PORT"]), process, home / "serve.out")
    try:
        end = time.monotonic() + 90
        while "Ctrl-C stops everything" not in live.output.read_text():
            assert process.poll() is None, live.output.read_text()
            assert time.monotonic() < end, live.output.read_text()
            time.sleep(0.2)
        assert live.letters(live.sign_in("admin")[0])
        authority = Keyring.open(home / "keys").authority()
        right, wrong = guises(authority, "sealer")
        assert witness_lets_in(live.port + 4, right)
        assert not [name for name, guise in wrong.items() if witness_lets_in(live.port + 4, guise)]
        done = subprocess.run([*prefix, *program, "verify", "7a.2", "--json", "--no-publish"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
        (row,) = [row for row in json.loads(done.stdout)["claims"] if row["claim"] == "7a.2"]
        assert row["verdict"] == "UNPROVEN"
        assert "CAP_NET_RAW" in row["summary"]
    finally:
        stop(live)
