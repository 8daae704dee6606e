"""Homes as operators make them: moved, reached by a link, with long paths, damaged, under a mask that hides nothing; and outputs that are gone."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from armonika import settings
from armonika.store.embedded import DatabaseError, Embedded
from armonika.store.private_files import write_private
from armonika.store.users import user_for
from tests.live import CHECKOUT, free_port, start, stop

pytestmark = pytest.mark.timeout(240)


def embedded(home: Path) -> Embedded:
    return Embedded(home / "postgres", home / "keys", user_for("postgres") if os.geteuid() == 0 else None)


def test_a_database_that_lost_a_file_is_never_made_anew(folder: Path) -> None:
    made = embedded(folder)
    made.prepare()
    (made.data / "PG_VERSION").rename(folder / "aside")
    before = sorted(path.name for path in made.data.iterdir())
    with pytest.raises(DatabaseError, match="lacks PG_VERSION"):
        made.prepare()
    assert sorted(path.name for path in made.data.iterdir()) == before
    (folder / "aside").rename(made.data / "PG_VERSION")
    made.start(folder / "postgres.log")
    made.stop()


def test_what_a_killed_first_start_left_is_no_database(folder: Path) -> None:
    made = embedded(folder)
    (made.folder / "data.new" / "global").mkdir(parents=True)
    (made.folder / "data.new" / "PG_VERSION").write_text("18\n")
    made.prepare()
    assert not (made.folder / "data.new").exists()
    assert "# Armonika" in (made.data / "postgresql.conf").read_text()


def test_a_folder_of_somebody_else_is_no_place_for_a_socket(folder: Path) -> None:
    long = folder / ("a" * 80) / ("b" * 80)
    made = embedded(long)
    assert str(made.socket).startswith("/tmp/armonika-")
    made.prepare()
    shutil.rmtree(made.socket, ignore_errors=True)
    made.socket.mkdir(mode=0o777)
    try:
        if os.geteuid() == 0:
            os.chown(made.socket, 65534, 65534)
            with pytest.raises(DatabaseError, match="somebody else's"):
                made.start(folder / "postgres.log")
            os.chown(made.socket, 0, 0)
        made.socket.rmdir()
        made.socket.symlink_to(folder)
        with pytest.raises(DatabaseError, match="somebody else's"):
            made.start(folder / "postgres.log")
        made.socket.unlink()
        made.start(folder / "postgres.log")
        assert stat.S_IMODE(made.socket.stat().st_mode) == 0o755
        made.stop()
    finally:
        if made.socket.is_symlink():
            made.socket.unlink()
        shutil.rmtree(made.socket, ignore_errors=True)


def test_a_home_has_one_name_by_whatever_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `keys rotate` by a link would write the new epoch where no running door looks."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    found = []
    for name in ("real", "link"):
        monkeypatch.setenv("ARMONIKA_HOME", str(folder / name))
        found.append(settings.load())
    assert found[0].credentials == found[1].credentials
    assert found[0] == found[1]


def test_what_a_killed_writer_left_beside_a_key_goes_with_the_next_write(folder: Path) -> None:
    """An old root beside the new one would open what was destroyed; and in a container the number of the process comes again."""
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    path = folder / "root.key"
    left = [folder / f".root.key.{number}" for number in (dead.pid, os.getpid())]
    for one in left:
        one.write_bytes(b"an old key")
    living, other = folder / ".root.key.1", folder / f".root.key.bak.{dead.pid}x"
    living.write_bytes(b"of a living process")
    other.write_bytes(b"no file of ours")
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert [one.exists() for one in (*left, living, other)] == [False, False, True, True]


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_a_full_disk_is_named_and_leaves_the_old_file_whole(folder: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        write_private(folder / "keyring.json", b"whole")
        with pytest.raises(OSError, match="No space left") as raised:
            write_private(folder / "keyring.json", bytes(100_000))
        assert raised.value.filename == str(folder / "keyring.json")
        assert [path.name for path in folder.iterdir()] == ["keyring.json"]
        assert (folder / "keyring.json").read_bytes() == b"whole"
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def test_a_moved_home_started_by_a_careless_shell_whose_output_is_gone(folder: Path) -> None:
    """With umask 0, a locale without our signs, a pipe that nobody reads any more, and interrupts ignored, as what a script starts in the background has them."""
    extra = {"PYTHONIOENCODING": "ascii"}
    mask = os.umask(0)
    try:
        first = folder / "first"
        live = start(first, free_port(), sample=False, extra=extra)
    finally:
        os.umask(mask)
    assert live.command("backup", "create").returncode == 0
    assert stop(live) == 0
    loose = [
        path
        for path in (first, *first.rglob("*"))
        if not path.is_symlink() and "postgres" not in path.parts and path != live.output and path.lstat().st_mode & 0o022
    ]
    assert [path for path in loose if path != first] == [], "nobody else writes in a home"
    second = folder / "second"
    first.rename(second)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["env", "--ignore-signal=INT", sys.executable, "-m", "armonika.doors.cli.main", "serve"], cwd=CHECKOUT, stdout=writer, stderr=writer, start_new_session=True,
        env={**os.environ, **extra, "ARMONIKA_HOME": str(second), "ARMONIKA_PORT": str(live.port)},
    )  # fmt: skip
    os.close(writer)
    try:
        said = b""
        while b"Ctrl-C stops everything" not in said:
            piece = os.read(reader, 4096)
            assert piece, said
            said += piece
        os.close(reader)
        moved = live.__class__(second, live.port, process, live.output)  # type: ignore[arg-type]
        assert moved.command("keys", "rotate", "account", timeout=60).returncode == 0
        made = moved.command("backup", "create")
        assert made.returncode == 0, made.stderr
        assert len(list((second / "backups").glob("*/manifest.json"))) == 2
        assert process.poll() is None, "it serves on"
    finally:
        process.send_signal(2)
        process.wait(60)


@pytest.mark.skipif(os.geteuid() != 0, reason="as one ordinary user everything is reached anyway")
def test_a_start_of_a_cautious_shell_hands_each_process_what_is_its_own(folder: Path) -> None:
    """Under umask 077, as machines that were hardened have it, processes of other users pass through, and what the log shows everybody is there to read."""
    mask = os.umask(0o077)
    try:
        live = start(folder / "home", free_port(), sample=False)
        try:
            for name in ("checkpoint", "log.vkey", "witness.vkey"):
                assert httpx.get(f"{live.api}/log/{name}").status_code == 200, name
            assert (live.home / "keys").stat().st_mode & 0o077 == 0
            assert live.command("backup", "create").returncode == 0
        finally:
            assert stop(live) == 0
        done = subprocess.run([sys.executable, "-m", "armonika.doors.cli.main", "restore", "--to", str(folder / "new")], cwd=CHECKOUT, env={**os.environ, "ARMONIKA_HOME": str(live.home), "ARMONIKA_PORT": str(live.port)}, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        again = start(folder / "new", live.port, sample=False)
        try:
            assert httpx.get(f"{again.api}/log/checkpoint").status_code == 200
        finally:
            assert stop(again) == 0
    finally:
        os.umask(mask)
