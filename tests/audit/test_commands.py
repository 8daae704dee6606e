"""Commands that cannot run say why and end with 2: 1 says that something was found, and a traceback says it too."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from armonika import policy
from armonika.doors.cli import audit, audit_online, retention, staff
from armonika.doors.cli.main import main
from armonika.trust import crypto
from armonika.trust.audit import cosign, note
from armonika.trust.audit.sealer import Sealer
from armonika.trust.keys import Keyring
from armonika.trust.vault.errors import Duplicate, Refused, Unavailable, Undeclared, VaultError
from armonika.trust.vault.retention import Clock, Progress
from tests.audit.rows import Rows


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMONIKA_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def answering() -> Iterator[list[bytes]]:
    """A server that says the second element to whoever comes; the first is its address."""
    said: list[bytes] = [b"", b""]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        said[0] = b"http://127.0.0.1:%d/log" % listening.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    wire, _ = listening.accept()
                except OSError:
                    return
                with wire:
                    wire.recv(4096)
                    wire.sendall(said[1])

        threading.Thread(target=serve, daemon=True).start()
        yield said
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "words",
    ["token issue", "keys list", "backup list", "restore --to /nowhere", "retention status", "staff end x", "access review", "audit verify", "audit verify --proof x"],
)  # fmt: skip
def test_an_unusable_setting_is_no_finding(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARMONIKA_PORT", "abc")
    assert main(words.split()) == 2
    told = capsys.readouterr().err
    assert "ARMONIKA_PORT must be" in told
    assert "Traceback" not in told


def test_a_database_that_does_not_answer_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARMONIKA_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    assert main(["token", "issue"]) == 2
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert "Traceback" not in told


@pytest.fixture
def keyed(home: Path) -> Path:
    """An installation whose keys are there and whose database does not answer."""
    Keyring.open_or_create(home / "home" / "keys").ensure(policy.load().compartments)
    return home


@pytest.mark.parametrize(
    "words",
    ["staff end x", "staff appoint --name x --email x@y.dz --role support", "retention status", "retention run", "retention confirm-clock", "audit verify", "verify 7a.5"],
)  # fmt: skip
def test_a_command_of_a_system_that_is_stopped_says_so_at_once_in_a_line(
    words: str, keyed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMONIKA_DATABASE_URL", f"host={keyed} user=x")
    (keyed / "home" / "log").mkdir()
    (keyed / "home" / "log" / "log.vkey").write_bytes(b"armonika.test+0+0")
    done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", *words.split()], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "armonika serve" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("words", ["keys ceremony", "keys recover"])
def test_shares_that_nobody_types_are_told_in_a_line(words: str, keyed: Path) -> None:
    before = (keyed / "home" / "keys" / "keyring.json").read_bytes()
    done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", *words.split()], stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "armonika: " in done.stderr
    assert (keyed / "home" / "keys" / "keyring.json").read_bytes() == before


def test_tables_tell_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever zone the server's sessions have: the same moment stands in every table."""
    at = datetime(2026, 11, 26, 1, 30, tzinfo=ZoneInfo("Africa/Algiers"))
    retention._show([Progress("demo", "demo_year", 365, "recording", False, 2, 1, at)], Clock(at, None))
    late, ran = capsys.readouterr().out.splitlines()
    assert "since 2026-11-26 00:30 UTC" in late
    assert "2026-11-26 00:30:00 UTC" in ran


@pytest.mark.parametrize(("said", "status"), [(Duplicate("a"), 1), (Refused("b"), 1), (Unavailable("c"), 2)])
def test_a_member_of_staff_who_cannot_be_appointed_is_no_riddle(
    said: VaultError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise said

    monkeypatch.setenv("ARMONIKA_DATABASE_URL", "host=/nowhere")
    monkeypatch.setattr(staff, "open_door", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(staff.appointments, "appoint", refuse)
    assert main(["staff", "appoint", "--name", "x", "--email", "x@y.dz", "--role", "support"]) == status
    told = capsys.readouterr().err
    assert "Nothing was changed" in told
    assert ("armonika staff reset" in told) == isinstance(said, Duplicate)


def test_a_role_that_is_none_is_told_what_there_is() -> None:
    with pytest.raises(Undeclared, match="there are: support"):
        staff.appointments.appoint(SimpleNamespace(), "", policy.load(), "x", "x@y.dz", "king", "")  # type: ignore[arg-type]


def test_an_output_that_is_full_is_told_in_a_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", "policy", "render"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("verify --keep mine", "--keep goes with --url"),
        ("verify --from-kept", "--from-kept needs --kept"),
        ("verify --proof a --certificate b", "ask one"),
        (f"verify {UUID(int=1)}", "armonika audit certificate"),
        ("certificate", "name the erased person"),
    ],
)
def test_what_would_do_nothing_is_refused(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who believes that a checkpoint was kept compares nothing next time."""
    assert main(["audit", *words.split()]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ("--purpose fun", "there are: provide"),
        ("--compartment attic", "there are: account"),
        ("--operation fly", "there are: read"),
    ],
)
def test_a_bound_of_a_token_that_is_none_is_told_what_there_is(bound: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "issue", *bound.split()]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["--days nan", "--days inf", "--days -1", "--days 0", "--days 1e300", "--days x", "--label É", "--label a_b"]
)
def test_a_token_that_cannot_be_is_refused_before_anything_is_done(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["token", "issue", *words.split()])
    assert ended.value.code == 2
    assert "at most" in capsys.readouterr().err


def test_files_that_are_no_text_are_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answering: list[bytes]
) -> None:
    bad, url = tmp_path / "bad", answering[0].decode()
    bad.write_bytes(b"\xff\xfe")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "checkpoint").write_bytes(b"")
    for words in (
        ["--folder", str(tmp_path / "log"), "--vkey", str(bad)], ["--url", url, "--vkey", str(bad)], ["--proof", str(bad), "--vkey", str(bad)],
        ["--certificate", str(bad), "--vkey", str(bad)],
    ):  # fmt: skip
        assert main(["audit", "verify", *words]) == 2, words
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["http://a b/log", "http://[::1/log", "http://localhost:x/log", "ftp://a/log", "file:///etc/passwd", "nonsense", "http://"],
)
def test_an_address_that_is_none_is_no_finding(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--url", url]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nab", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n"],
)  # fmt: skip
def test_a_server_that_breaks_off_is_no_finding(
    answer: bytes, answering: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    answering[1] = answer
    assert main(["audit", "verify", "--url", answering[0].decode()]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_kept_checkpoint_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name would have compared nothing, for good, and said that the log is whole."""
    mine = tmp_path / "mine"
    with pytest.raises(OSError, match="mine"):
        audit_online._older(mine, None)
    with pytest.raises(OSError, match="mine"):
        audit_online._older(mine, tmp_path / "other")
    assert audit_online._older(mine, mine) is None
    assert "first look" in capsys.readouterr().err
    mine.write_bytes(b"kept")
    assert audit_online._older(mine, mine) == b"kept"


@pytest.fixture
def installed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of 300 entries in an installation whose keyring opens, and whose witness has cosigned all of it."""
    folder, key = home / "home" / "log", bytes(range(32))
    rows = Rows(200)
    sealer = Sealer(rows, folder, "armonika.test/audit", key)  # type: ignore[arg-type]
    sealer.load()
    sealer.seal()
    (home / "older").write_bytes((folder / "checkpoint").read_bytes())
    rows.count = 300
    sealer.seal()
    (home / "home" / "witness").mkdir()
    (home / "home" / "witness" / f"{'0' * 64}.checkpoint").write_bytes((folder / "checkpoint").read_bytes())
    monkeypatch.setattr(audit.Keyring, "open", lambda _: SimpleNamespace(log_key=lambda: key))
    return home


def verified(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    return main(["audit", "verify", "--no-database", *words]), capsys.readouterr().out


def test_a_log_that_was_put_back_behind_its_witness_is_found(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(capsys)[0] == 0
    (installed / "home/log/checkpoint").write_bytes((installed / "older").read_bytes())
    status, said = verified(capsys)
    assert status == 1
    assert "the witness cosigned has 300 entries, this log 200; entry 200 is the first that is gone" in said


def test_a_log_that_another_key_signed_is_found_whatever_its_folder_says(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, (forger, public) = installed / "home/log", crypto.ed25519_generate()
    text = (log / "checkpoint").read_text().partition("\n\n")[0] + "\n"
    (log / "log.vkey").write_text(note.vkey("armonika.test/audit", public))
    assert verified(capsys)[0] == 1, "the key alone"
    (log / "checkpoint").write_bytes(note.sign(text, "armonika.test/audit", forger))
    shutil.rmtree(installed / "home/witness")
    status, said = verified(capsys)
    assert status == 1
    assert "no signature of the log" in said
    assert "not the key of this installation" in said
    (log / "log.vkey").unlink()
    assert verified(capsys)[0] == 1


def test_a_folder_that_no_witness_signed_and_a_file_without_keys(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither is passed over: who names a witness wants its signature."""
    keys = installed / "witness.vkey"
    keys.write_text("")
    assert verified(capsys, "--witness", str(keys))[0] == 2
    keys.write_text(cosign.vkey("w.example", cosign.ED25519, crypto.ed25519_generate()[1]))
    status, said = verified(capsys, "--witness", str(keys))
    assert (status, "has not cosigned" in said) == (1, True)


def test_a_hang_up_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`nohup`: whoever closes the terminal does not end it. Otherwise a hang-up takes down what was begun."""
    monkeypatch.setattr(sys, "argv", ["armonika", "policy", "check"])
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        for given, kept in ((signal.SIG_IGN, signal.SIG_IGN), (signal.SIG_DFL, signal.default_int_handler)):
            signal.signal(signal.SIGHUP, given)
            assert main() == 0
            assert signal.getsignal(signal.SIGHUP) is kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
