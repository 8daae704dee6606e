"""What is done with the keys' files alone has its entry, once, whatever is killed, put back or restored meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.doors.cli import keys as command_line
from armonika.policy.compile import catalogue
from armonika.trust.keys import Keyring, RootKeyError, journal
from armonika.trust.keys.ceremony import Ceremony, restore
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.providers import choose
from armonika.trust.keys.provision import provision
from armonika.trust.keys.tell import tell
from tests.folders import folder
from tests.keys.house import House, house
from tests.keys.test_killed_keys import FILES, killed

ENTRIES = (
    "SELECT o.name, e.reference, r.name FROM vault.administrator_entry e JOIN vault.operation o ON o.id = e.operation JOIN vault.role r ON r.id = e.role "
    "JOIN vault.audit a ON a.audit_id = e.audit_id AND a.door = 'administrator' AND a.granted AND a.reference = e.reference WHERE o.name LIKE 'keys-%' ORDER BY e.audit_id"
)
CALLS = (*FILES, (psycopg.Connection, "execute"), (psycopg.Connection, "commit"))


@pytest.fixture
def home() -> Iterator[House]:
    with house() as one:
        yield one


def entries(home: House, dsn: str | None = None) -> list[tuple[str, str, str]]:
    with psycopg.connect(dsn or home.embedded.admin_dsn, autocommit=True) as connection:
        return connection.execute(ENTRIES.encode()).fetchall()  # type: ignore[return-value]


def told(home: House) -> list[tuple[str, str]]:
    """Operation and role of each entry, which are the lines of the journal in their order."""
    lines = Keyring.open(home.config.keys).journal().lines
    found = entries(home)
    assert [(line.act, line.reference) for line in lines] == [(name, reference) for name, reference, _ in found]
    return [(name, role) for name, _, role in found]


def act(home: House, name: str = journal.CREDENTIALS, door: str | None = "site") -> Keyring:
    with alone(home.config.keys):
        ring = Keyring.open(home.config.keys)
        ring.act(name, door)
        ring.save()
    return ring


def now_told(home: House) -> int:
    return tell(Keyring.open(home.config.keys), home.embedded.admin_dsn)


def command(home: House, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", *words], env={**os.environ, "ARMONIKA_HOME": str(home.config.home)}, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip


def test_each_command_tells_a_running_database_at_once(home: House, tmp_path: Path) -> None:
    shares = tmp_path / "shares"
    assert command(home, "keys", "credentials", "console", str(tmp_path / "given")).returncode == 0
    assert command(home, "keys", "credentials", "witness", str(tmp_path / "given")).returncode == 0
    assert command(home, "keys", "ceremony", "--to", str(shares)).returncode == 0
    (home.config.keys / "root.key").unlink()
    done = command(home, "keys", "recover", *(str(shares / f"share-{number}.txt") for number in (1, 2, 4)))
    assert (done.returncode, done.stderr) == (0, "")
    assert command(home, "keys", "authority", "--renew").returncode == 0
    assert told(home) == [
        (journal.CREDENTIALS, "console"), (journal.CREDENTIALS, "keeper"), (journal.CEREMONY, "keeper"), (journal.RECOVERED, "keeper"), (journal.AUTHORITY, "keeper"),
    ]  # fmt: skip
    for words in (
        ("keys", "recover", str(shares / "share-1.txt")), ("keys", "move-root", "file"), ("keys", "list"), ("keys", "authority"), ("keys", "tend"),
    ):  # fmt: skip
        command(home, *words)
    assert len(told(home)) == 5, "what was refused or only shown is no act"


def test_what_is_done_while_the_database_is_down_is_told_by_the_next_start_and_by_the_rounds(home: House, tmp_path: Path) -> None:
    home.embedded.stop()
    done = command(home, "keys", "credentials", "api", str(tmp_path / "given"))
    assert done.returncode == 0
    assert "made by the next start" in done.stderr
    home.embedded.start(home.config.logs / "postgres.log")
    assert entries(home) == []
    provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
    provision(home.config.keys, home.embedded.admin_dsn, catalogue(policy.load()))
    assert told(home) == [(journal.CREDENTIALS, "api")]
    act(home)
    home.desk.tend()
    home.desk.tend()
    assert told(home) == [(journal.CREDENTIALS, "api"), (journal.CREDENTIALS, "site")]


def test_kill_9_at_every_step_leaves_one_entry_a_line(home: House, tmp_path: Path) -> None:
    """Before and after each call that touches a file or the database, the commit among them."""
    keys, dsn = home.config.keys, home.embedded.admin_dsn
    held = Ceremony()
    held.finish(keys, held.shares[:3])
    last = Ceremony()

    def give() -> None:
        command_line._credentials(home.config, "site", tmp_path / "given")

    def ceremony() -> None:
        tell(last.finish(keys, last.shares[:3]), dsn)

    def recover() -> None:
        tell(restore(keys, shares(), choose(keys)), dsn)

    def renew() -> None:
        home.desk.renew_authority()
        now_told(home)

    def shares() -> tuple[str, ...]:
        return (last if ceremonies() > 1 else held).shares[:3]

    def ceremonies() -> int:
        return sum(line.act == journal.CEREMONY for line in Keyring.open(kept).journal().lines)

    kept = tmp_path / "kept"
    happened: dict[str, Callable[[], object]] = {
        "give": lambda: sorted(path.name for path in (tmp_path / "given").glob("[!.]*")),
        "ceremony": lambda: Keyring.open(keys)._content["recovery"],
        "recover": lambda: _opens(keys),
        "renew": lambda: Keyring.open(keys).secret("authority"),
    }
    for name, do in (("give", give), ("renew", renew), ("ceremony", ceremony), ("recover", recover)):
        step, going = 0, True
        while going:
            step += 1
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(keys, kept)
            shutil.rmtree(tmp_path / "given", ignore_errors=True)
            if name == "recover":
                (keys / "root.key").unlink()
            before, had = happened[name](), len(Keyring.open(kept).journal().lines)
            going = killed(step, do, CALLS)
            changed = happened[name]() != before
            if name == "recover" and not _opens(keys):
                shutil.copy(kept / "root.key", keys)
            now_told(home)
            assert now_told(home) == 0
            written = len(told(home)) - had
            assert written in (0, 1), (name, step)
            assert written or not changed, f"{name}: done and not written down, step {step}"
            if not going:
                assert (written, changed) == (1, True)
        assert step > 15, name


def _opens(keys: Path) -> bool:
    try:
        Keyring.open(keys)
    except RootKeyError:
        return False
    return True


def test_two_that_tell_at_once_make_one_entry(home: House) -> None:
    """Also one whose process is gone and whose commit is still on its way."""
    act(home)
    line = Keyring.open(home.config.keys).journal().lines[0]
    made: list[int] = []
    with psycopg.connect(home.embedded.admin_dsn) as first:
        first.execute("LOCK TABLE vault.administrator_entry IN SHARE ROW EXCLUSIVE MODE")
        first.execute("SELECT vault.note_keys(%s, %s, %s)", (line.act, line.door, line.reference))
        second = threading.Thread(target=lambda: made.append(now_told(home)))
        second.start()
        end = time.monotonic() + 20
        while not home.value("SELECT count(*) FROM pg_locks WHERE NOT granted") and time.monotonic() < end:
            time.sleep(0.02)
        assert made == []
        first.commit()
        second.join(20)
    assert made == [0]
    assert told(home) == [(journal.CREDENTIALS, "site")]


def test_nothing_is_lost_or_repeated_by_old_files_and_what_is_missing_is_told_once(home: House, tmp_path: Path) -> None:
    act(home, door="api")
    now_told(home)
    shutil.copytree(home.config.keys, tmp_path / "old")
    act(home, door="site")
    shutil.copy(tmp_path / "old" / "keyring.json", home.config.keys)
    assert now_told(home) == 1, "an old keyring alone loses nothing"
    assert told(home) == [(journal.CREDENTIALS, "api"), (journal.CREDENTIALS, "site")]
    whole = (home.config.keys / journal.FILE).read_bytes()
    shutil.copy(tmp_path / "old" / journal.FILE, home.config.keys)
    assert (now_told(home), now_told(home)) == (1, 0), "a line that has its entry is gone"
    act(home, door="worker")
    assert now_told(home) == 1
    assert now_told(home) == 0
    names = [name for name, _, _ in entries(home)]
    assert names == [journal.CREDENTIALS, journal.CREDENTIALS, journal.BROKEN, journal.CREDENTIALS]
    (home.config.keys / journal.FILE).write_bytes(whole)
    assert now_told(home) == 1, "the line for the worker is missing"
    act(home, door="sealer")
    (home.config.keys / journal.FILE).write_bytes(whole)
    assert now_told(home) == 1, "and one that was not told: the keyring knows it"
    assert [name for name, _, _ in entries(home)][4:] == [journal.BROKEN] * 2


def test_a_copy_that_lost_entries_has_each_once(home: House) -> None:
    """An older database: what came back with the sealed log is not told again, what was not sealed is told anew."""
    for door in ("api", "site"):
        act(home, door=door)
    now_told(home)
    other = make_conninfo(home.embedded.admin_dsn, dbname="armonika_older")
    with home.admin() as connection:
        connection.execute("CREATE DATABASE armonika_older")
    provision(home.config.keys, other, catalogue(policy.load()))
    both = entries(home, other)
    assert [name for name, *_ in both] == [journal.CREDENTIALS] * 2
    with psycopg.connect(other) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in ("administrator_entry", "audit"):
            connection.execute(f"DELETE FROM vault.{table} WHERE reference = %s".encode(), (both[1][1],))
    provision(home.config.keys, other, catalogue(policy.load()))
    assert [reference for _, reference, _ in entries(home, other)] == [reference for _, reference, _ in both]


def test_a_restored_copy_is_an_act_with_the_keys_and_a_drill_is_none(home: House) -> None:
    assert command(home, "backup", "create").returncode == 0
    drilled = command(home, "backup", "drill")
    assert "The audit log of the copy is not whole" in drilled.stderr, "nothing was sealed here; the copy was made"
    assert told(home) == []
    with folder("copy") as place:
        done = command(home, "restore", "latest", "--to", str(place / "home"))
        assert done.returncode == 0, done.stderr
        assert Keyring.open(place / "home" / "keys").journal() == Keyring.open(home.config.keys).journal()
    assert told(home) == [(journal.COPIED, "keeper")]


def test_what_is_no_line_is_refused(home: House) -> None:
    with home.admin() as connection:
        for what, reference in (("token", "ABCDEFGH-261126041028"), ("nothing", "A-1"), (None, "A-1"), (journal.CEREMONY, None)):
            with pytest.raises(psycopg.DatabaseError) as refused:
                connection.execute("SELECT vault.note_keys(%s, NULL, %s)", (what, reference))
            assert refused.value.sqlstate == "AR422"
        for reference in ("", "abc-1", "A-1234567890123", "a name"):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute("SELECT vault.note_keys(%s, NULL, %s)", (journal.CEREMONY, reference))
    assert entries(home) == []
