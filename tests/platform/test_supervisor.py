"""Starting, falling and stopping: nothing acknowledged is lost, nothing is left behind, and errors say what to do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from armonika.supervisor.ballast import Ballast
from tests.live import CHECKOUT, Live, free_port, start, stop

pytestmark = pytest.mark.timeout(240)
USE = {"purpose": "provide", "reason": "integration"}


@pytest.fixture
def home(folder: Path) -> Path:
    return folder


def processes(home: Path) -> list[int]:
    """Living processes of this installation, by environment or command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                text = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
                zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if str(home).encode() in text and not zombie:
                found.append(int(folder.name))
    return found


def wait_for(condition: object, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


def healthy(live: Live) -> bool:
    try:
        return all(httpx.get(f"{base}/healthz", timeout=3).status_code == 200 for base in (live.site, live.console, live.api))
    except httpx.HTTPError:
        return False


def create(live: Live, token: str, number: int) -> str | None:
    body = {
        "dataset": "account",
        **USE,
        "values": {"name": "N", "email": f"n{number}-{time.time_ns()}@org.example", "company": "C", "role": "R"},
    }
    try:
        answer = httpx.post(f"{live.api}/v1/people", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    except httpx.HTTPError:
        return None
    return str(answer.json()["id"]) if answer.status_code == 201 else None


def test_kill_minus_nine_of_everything_under_load_loses_nothing_and_leaves_no_orphan(home: Path) -> None:
    live = start(home, free_port())
    token, acknowledged, ending = live.token(), [], threading.Event()

    def load(which: int) -> None:
        number = 0
        while not ending.is_set():
            number += 1
            made = create(live, token, which * 1_000_000 + number)
            if made:
                acknowledged.append(made)

    threads = [threading.Thread(target=load, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    embedded = int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(embedded, signal.SIGKILL)
    assert wait_for(lambda: healthy(live)), "the database is started again"
    time.sleep(1)
    live.process.kill()
    live.process.wait()
    ending.set()
    for thread in threads:
        thread.join()
    assert len(acknowledged) > 50
    assert wait_for(lambda: not [p for p in processes(home) if p != live.process.pid], 20), processes(home)
    again = start(home, live.port)
    try:
        with httpx.Client(base_url=again.api, headers={"Authorization": f"Bearer {token}"}) as client:
            for person in acknowledged:
                answer = client.get(f"/v1/people/{person}", params={"dataset": "account", "fields": "name", **USE})
                assert answer.status_code == 200
        time.sleep(1.5)
        verified = again.command("audit", "verify")
        assert verified.returncode == 0, verified.stdout
        second = subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", "serve"],
            cwd=CHECKOUT,
            env=again.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 2
        assert str(again.process.pid) in second.stderr
        for name in ("site_wsgi", "armonika.entry.api", "armonika.entry.sealer"):
            for pid in processes(home):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if name in command or name.replace("site_wsgi", "armonika.entry.site") in command:
                    os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: healthy(again)), "what fell is started again"
        if os.geteuid() == 0:
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes(home)} - {0}
            uids = set()
            for pid in processes(home):
                status = Path(f"/proc/{pid}/status").read_text()
                uids.add(int(status.partition("Uid:")[2].split()[0]))
            assert len(uids - {0}) >= 6, f"each service has a user of its own: {uids} {owners}"
        assert b"password" not in b"".join(
            Path(f"/proc/{pid}/environ").read_bytes().lower()
            for pid in processes(home)
            if os.access(f"/proc/{pid}/environ", os.R_OK)
        )
    finally:
        assert stop(again) == 0
    assert not processes(home)


def test_a_missing_root_key_stops_the_start_with_a_way_out_and_changes_nothing(home: Path) -> None:
    live = start(home, free_port(), sample=False)
    stop(live)
    key = home / "keys" / "root.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(AssertionError, match=r"restore it from your backup of the keys"):
        start(home, live.port, sample=False)
    key.write_bytes(kept)
    key.chmod(0o600)
    again = start(home, live.port, sample=False)
    assert healthy(again)
    stop(again)


def test_a_port_in_use_is_named(home: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        with pytest.raises(AssertionError, match=rf"Port {port + 1} is in use"):
            start(home, port, sample=False)


def test_a_disk_that_stays_nearly_full_is_told_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = [0.0], [90]
    monkeypatch.setattr("armonika.supervisor.ballast.shutil.disk_usage", lambda _: SimpleNamespace(total=100, used=used[0], free=100 - used[0]))  # fmt: skip
    ballast = Ballast(tmp_path / "ballast", size=40, clock=lambda: now[0])
    assert ballast.news() == "The disk is 90 % full."
    now[0] += 15
    assert ballast.news() is None
    used[0] = 91
    assert ballast.news() == "The disk is 91 % full."
    now[0] += 3600
    assert ballast.news() == "The disk is 91 % full."
    used[0] = 50
    assert ballast.news() is None
    used[0] = 91
    assert ballast.news(), "it was over in between"


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_the_ballast_is_given_up_on_a_full_disk_and_made_again(tmp_path: Path) -> None:
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)], check=False, capture_output=True
        ).returncode
        != 0
    ):
        pytest.skip("no file system can be mounted here")
    try:
        ballast = Ballast(tmp_path / "ballast", size=4 * 1024 * 1024)
        assert ballast.check() is None
        assert ballast.path.stat().st_size == ballast.size
        (tmp_path / "data").write_bytes(b"x" * 12 * 1024 * 1024)
        word = ballast.check()
        assert word
        assert "full" in word
        assert not ballast.path.exists()
        (tmp_path / "data").unlink()
        ballast.check()
        assert ballast.path.exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=False)


@pytest.mark.skipif(not Path("/usr/lib/postgresql/15/bin/postgres").exists(), reason="Debian's postgresql-15 is not installed")
@pytest.mark.timeout(480)
def test_the_vaults_attacks_hold_on_postgresql_15_too(tmp_path: Path, folder: Path) -> None:
    binaries, user = "/usr/lib/postgresql/15/bin", ["setpriv", "--reuid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")
    (folder / "pw").write_text("for-this-test-only")
    if user:
        shutil.chown(folder / "pw", "postgres")
    run = lambda *words: subprocess.run([*user, *words], check=True, capture_output=True, cwd="/")  # noqa: E731
    run(
        f"{binaries}/initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "postgres",
        "--auth=scram-sha-256",
        f"--pwfile={folder}/pw",
        "-E",
        "UTF8",
        "--locale=C",
    )
    options = "-c listen_addresses= -c log_error_verbosity=terse -c log_parameter_max_length=0 -c wal_writer_delay=10ms"
    run(
        f"{binaries}/pg_ctl",
        "-D",
        f"{folder}/data",
        "-w",
        "-l",
        f"{folder}/log",
        "-o",
        f"-k {folder} -p 5499 {options}",
        "start",
    )
    try:
        url = f"postgresql://postgres:for-this-test-only@/postgres?host={folder}&port=5499"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/vault", "tests/audit", "-p", "no:cacheprovider"], cwd=CHECKOUT, capture_output=True, text=True,
            env={**os.environ, "ARMONIKA_TEST_DATABASE_URL": url}, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        home = folder / "home"
        home.mkdir(mode=0o755)
        folder.chmod(0o755)
        live = start(home, free_port(), extra={"ARMONIKA_DATABASE_URL": url})
        try:
            assert healthy(live), "the whole system runs on a server of one's own"
        finally:
            assert stop(live) == 0
    finally:
        run(f"{binaries}/pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
