"""Makes and verifies backups: pg_basebackup into a sealed file, the audit log beside it, and the archive of the write-ahead log switched on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.store.embedded import binaries
from armonika.store.private_files import write_private
from armonika.store.users import make_reachable, user_for
from armonika.supervisor.backup.catalogue import BASE, LOG, Backup, BackupError, Catalogue, sha256_of
from armonika.supervisor.backup.log_files import each
from armonika.trust import archive, crypto
from armonika.trust.keys import Keyring
from armonika.trust.keys.keyring import alone

ARCHIVE_SECONDS = 45
"""How long a backup waits for the segment behind it."""
PUBLIC = "archive.pub"
MARK = "restored"
"""In a restored home until its first backup, with what it came from: until then no segment of its log is archived (`Rounds`)."""
LAID_READY = " laid ready\n"
"""Ends that file while a server of one's own has still to recover the files."""
BEGUN = " begun\n"
"""Ends that file until a restore is through: one that was killed is no home."""


def catalogue_of(config: Settings) -> Catalogue:
    """The catalogue of an installation: `ARMONIKA_BACKUPS`, another disk for preference, or `backups` in its home."""
    return Catalogue(Path(os.environ.get("ARMONIKA_BACKUPS") or config.home / "backups").absolute())


def key_pair(config: Settings) -> tuple[bytes, bytes]:
    """The backup key (private, public); made at the first backup."""
    with alone(config.keys):
        return crypto.hpke_from_secret(Keyring.open(config.keys).secret("backup", make=True))


def place(backup_id: str, name: str) -> bytes:
    """What a sealed file of a backup is bound to."""
    return f"armonika/backup/1/{backup_id}/{name}".encode()


def wal_place(segment: str) -> bytes:
    """What a sealed segment is bound to."""
    return f"armonika/wal/1/{segment}".encode()


def archive_command(config: Settings) -> str:
    """What the server runs for each finished segment."""
    return f"{shlex.quote(sys.executable)} -m armonika.entry.archive_wal %p %f {shlex.quote(str(catalogue_of(config).wal))}"


def archive_on(config: Settings, admin_dsn: str, public: bytes) -> None:
    """Lets the server hand each finished segment of its log to `armonika.entry.archive_wal`, which has the public key alone. Idempotent."""
    kept = catalogue_of(config)
    # Made here, it would lie under the place where its disk is to be mounted, and nobody would miss the disk.
    if os.environ.get("ARMONIKA_BACKUPS") and not kept.folder.is_dir():
        raise BackupError(
            f"ARMONIKA_BACKUPS names {kept.folder}, which is not there. Mount its disk, or make the folder first; nothing was changed."
        )
    kept.wal.mkdir(parents=True, exist_ok=True)
    public_file = kept.wal / PUBLIC
    if public_file.exists() and public_file.read_bytes() != public:
        raise BackupError(
            f"{kept.folder} holds the backups of another installation. Name a folder of this one's own in ARMONIKA_BACKUPS; nothing was changed."
        )
    if not public_file.exists():
        write_private(public_file, public, mode=0o600)
        public_file.chmod(0o644)
    if os.geteuid() == 0 and not config.database_url:
        user = user_for("postgres")
        os.chown(kept.wal, user.uid, user.gid)
        make_reachable(kept.wal, user)
    command = archive_command(config)
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        row = connection.execute("SELECT current_setting('archive_mode'), current_setting('archive_command')").fetchone()
        assert row is not None
        if row[0] == "off":
            raise BackupError(
                "The server does not archive its log. Set archive_mode = on and restart it, then make the backup again."
            )
        if row[1] != command:
            if config.database_url:
                raise BackupError(
                    f"Set this at the server, reload it, and make the backup again:\n  archive_command = '{command}'"
                )
            connection.execute(psycopg.sql.SQL("ALTER SYSTEM SET archive_command = {}").format(psycopg.sql.Literal(command)))
            connection.execute("SELECT pg_reload_conf()")


def create(config: Settings, policy: Policy, admin_dsn: str) -> Backup:
    """One backup, from a running server. Raises BackupError; what was begun is then removed (after kill -9 by `expire`, a day later)."""
    private, public = key_pair(config)
    del private
    archive_on(config, admin_dsn, public)
    kept = catalogue_of(config)
    created = datetime.now(UTC)
    backup_id = created.strftime("%Y%m%dT%H%M%S") + "-" + crypto.random_bytes(3).hex()
    folder = kept.folder / backup_id
    folder.mkdir(mode=0o700)
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            first = _one(connection, "SELECT pg_walfile_name(pg_current_wal_lsn())")
            server = connection.info.server_version // 10000
            epochs = connection.execute(
                "SELECT compartment || '/' || epoch FROM vault.epochs() WHERE state <> 'retired' ORDER BY 1"
            ).fetchall()
        with (folder / BASE).open("wb") as target, _basebackup(config, admin_dsn) as source:
            archive.seal(iter(lambda: source.read(1 << 20), b""), target, public, place(backup_id, BASE))
            os.fsync(target.fileno())
        with (folder / LOG).open("wb") as target, _copied(config.audit_log) as copied:
            archive.seal(iter(lambda: copied.read(1 << 20), b""), target, public, place(backup_id, LOG))
            os.fsync(target.fileno())
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            tree = int(str(_one(connection, "SELECT size FROM vault.seal_state")))
            newest = str(_one(connection, "SELECT pg_walfile_name(pg_switch_wal() - 1)"))
        made = Backup(
            backup_id, created.isoformat(timespec="seconds"), policy.copies.site, server, str(first), tree, tuple(str(row[0]) for row in epochs),
            {name: sha256_of(folder / name) for name in (BASE, LOG)}, sum((folder / name).stat().st_size for name in (BASE, LOG)),
        )  # fmt: skip
        kept.write(made)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BackupError(
            f"The backup could not be written in {kept.folder}: {error.strerror}. What was begun is removed; make room or mend the disk, then make it again."
        ) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _wait_archived(kept, admin_dsn, newest)
    (config.home / MARK).unlink(missing_ok=True)
    return made


def _wait_archived(kept: Catalogue, admin_dsn: str, segment: str) -> None:
    """Waits until the server has archived `segment`. Raises BackupError when it does not: the backup stands, and nothing later can be restored."""
    end = time.monotonic() + ARCHIVE_SECONDS
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        while True:
            row = connection.execute(
                "SELECT last_archived_wal >= %s, last_failed_time IS NOT NULL AND (last_archived_time IS NULL OR last_failed_time > last_archived_time), "
                "last_failed_wal FROM pg_stat_archiver",
                (segment,),
            ).fetchone()
            assert row is not None
            if row[0]:
                return
            if time.monotonic() > end:
                if row[1] and row[2] in kept.segments():
                    # Files of before were put in place by hand: their log goes on under names that are taken.
                    raise BackupError(
                        f"The backup is made, but another {row[2]} is archived already: an older copy of the database was put in place by hand. Move the "
                        f"segments from {row[2]} on out of {kept.wal} to another folder, and make the backup again; until then nothing later can be restored."
                    )
                failed = f" It fails at {row[2]}: its own log says why." if row[1] else ""
                raise BackupError(
                    f"The backup is made, but the server archived nothing behind it for {ARCHIVE_SECONDS} s.{failed} Its user must be able to write in "
                    f"{kept.wal}, and there must be room; until then nothing later than this backup can be restored."
                )
            time.sleep(0.1)


def verify(config: Settings, backup: Backup) -> Backup:
    """Reads a backup to its last byte: digests, every chunk, every member of the archives. Raises BackupError naming the fault."""
    kept = catalogue_of(config)
    private, _ = key_pair(config)
    for name, digest in backup.files.items():
        path = kept.path(backup, name)
        if not path.exists():
            raise BackupError(f"{path} is missing.")
        if sha256_of(path) != digest:
            raise BackupError(f"{path} was altered since it was made.")
        members = 0
        try:
            with (
                path.open("rb") as source,
                tarfile.open(
                    fileobj=cast("IO[bytes]", Pipe(archive.opened(source, private, place(backup.backup_id, name)))), mode="r|"
                ) as tar,
            ):
                for member in tar:
                    members += 1
                    if member.isfile() and (content := tar.extractfile(member)):
                        while content.read(1 << 20):
                            continue
        except (archive.ArchiveDamaged, tarfile.TarError) as error:
            raise BackupError(f"{path}: {error}.") from None
        if name == BASE and members < 100:
            raise BackupError(f"{path} holds {members} files: that is no database.")
    return kept.mark(backup, verified_at=datetime.now(UTC).isoformat(timespec="seconds"))


class Pipe:
    """Pieces as something to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; everything without it."""
        while size < 0 or len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held += piece
        data, self._held = (self._held, b"") if size < 0 else (self._held[:size], self._held[size:])
        return data


@contextmanager
def _copied(log: Path) -> Iterator[IO[bytes]]:
    """The audit log's folder as a tar stream, made while it is read. Its files are added, replaced whole, or give way to a full one."""
    reader, writer = os.pipe()
    faults: list[BaseException] = []

    def pack() -> None:
        try:
            with os.fdopen(writer, "wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
                if log.exists():
                    each(log, lambda path: tar.add(path, arcname=str("log" / path.relative_to(log)), recursive=False))
        except (OSError, tarfile.TarError) as error:
            faults.append(error)

    packer = threading.Thread(target=pack)
    packer.start()
    with os.fdopen(reader, "rb") as stream:
        yield stream
        packer.join()
    if faults:
        raise BackupError(
            f"The audit log could not be copied ({type(faults[0]).__name__}). Nothing counts as a backup; try again."
        )


INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian has the programs of each version."""


def _program(config: Settings, admin_dsn: str) -> Path:
    """The embedded server's pg_basebackup; for a server of one's own an installed one of its version or newer, for the embedded one speaks no TLS."""
    if config.database_url is None:
        return binaries() / "pg_basebackup"
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        wanted = connection.info.server_version // 10000
    found = {int(path.parent.parent.name): path for path in INSTALLED.glob("[0-9]*/bin/pg_basebackup")}
    fitting = [path for version, path in sorted(found.items()) if version >= wanted]
    if fitting:
        return fitting[0]
    other = shutil.which("pg_basebackup")
    if other is None:
        raise BackupError(
            f"A backup of PostgreSQL {wanted} needs its pg_basebackup here: install postgresql-client-{wanted}, then make the backup again."
        )
    return Path(other)


@contextmanager
def _basebackup(config: Settings, admin_dsn: str) -> Iterator[IO[bytes]]:
    """The output of pg_basebackup. The password goes by a file of this process alone."""
    parts = {name: str(value) for name, value in conninfo_to_dict(admin_dsn).items() if name != "dbname"}
    passfile = config.run / f"backup-{os.getpid()}.pgpass"
    if "password" in parts:
        # Colons and backslashes mean something in such a file.
        write_private(passfile, ("*:*:*:*:" + re.sub(r"([:\\])", r"\\\1", parts.pop("password")) + "\n").encode())
        parts["passfile"] = str(passfile)
    dsn = make_conninfo(**parts)
    process = subprocess.Popen(
        [str(_program(config, admin_dsn)), "-d", dsn, "-D", "-", "-F", "tar", "-X", "fetch", "-c", "fast", "--no-password"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        yield process.stdout
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise BackupError(f"pg_basebackup failed: {said[-300:]}")
    finally:
        if process.poll() is None:
            process.kill()
        passfile.unlink(missing_ok=True)


def _one(connection: psycopg.Connection[Any], statement: str) -> object:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None
