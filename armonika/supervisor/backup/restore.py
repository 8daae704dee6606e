"""Restores a backup into a new place, to its end or to a point in time, and replays what was sealed since. Nothing serves before that."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import psycopg

from armonika.policy.compile import catalogue as compiled
from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.store.embedded import VERSION as EMBEDDED
from armonika.store.embedded import DatabaseError, Embedded
from armonika.store.private_files import read_private, remove_tree, write_private
from armonika.store.users import user_for
from armonika.supervisor.backup import log_files
from armonika.supervisor.backup.catalogue import BASE, LOG, Backup, BackupError, Catalogue
from armonika.supervisor.backup.create import BEGUN, LAID_READY, MARK, Pipe, key_pair, place, wal_place
from armonika.supervisor.backup.replay import Replayed, replay
from armonika.supervisor.keys_told import tell_now
from armonika.trust import archive, crypto
from armonika.trust.keys import Keyring, journal
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.provision import provision


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `until` is the last moment of which it holds a transaction; empty when a server of one's own is still to recover the files."""

    home: Path
    replayed: Replayed
    until: str


def restore(config: Settings, policy: Policy, kept: Catalogue, backup: Backup, home: Path, until: datetime | None = None,
            say: Callable[[str], None] = print, look: Callable[[Settings, str], None] | None = None) -> Restored:  # fmt: skip
    """Restores `backup` into the empty folder `home`, with the keys of `config` and the newest audit log there is. `look` sees the restored copy and
    its administrator's address while its server runs. Of a server of one's own only the files are laid ready.

    Raises BackupError when keys that it needs were destroyed, or anything is missing; what was begun in `home` is then removed.
    """
    there = home.exists()
    private = check(config, kept, backup, home, until)
    if look is None:
        # A drill's copy is gone in minutes; this one stays, with every key.
        _write_down(config, say)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    target = replace(config, home=home, database_url=None)
    try:
        write_private(home / MARK, (backup.backup_id + BEGUN).encode())
        say(f"Opening {backup.backup_id} …")
        files = target.postgres if config.database_url is None else home / "server"
        _unpack(kept.path(backup, BASE), private, place(backup.backup_id, BASE), files / "data")
        _bring_log(config, kept, backup, private, target)
        _segments(kept, private, backup, files, until)
        _keys(config, target)
        _to_recover(files, until)
        done = Restored(home, Replayed(0, 0), "") if config.database_url else _recover(target, backup, policy, until, say, look)
        write_private(home / MARK, (backup.backup_id + (LAID_READY if config.database_url else "\n")).encode())
        return done
    except BaseException:
        for path in home.iterdir():
            remove_tree(path, target.keys) if path.is_dir() else path.unlink()
        if not there:
            home.rmdir()
        raise


def _write_down(config: Settings, say: Callable[[str], None]) -> None:
    with alone(config.keys):
        ring = Keyring.open(config.keys)
        ring.act(journal.COPIED)
        ring.save()
    tell_now(config, ring, say)


def check(config: Settings, kept: Catalogue, backup: Backup, home: Path, until: datetime | None) -> bytes:
    """Whether a restore can be begun; the private key of backups. Changes nothing. Raises BackupError, KeyFileError."""
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} is not empty. Name a new folder: a restore never overwrites.")
    if until is not None and until < backup.created:
        raise BackupError(
            f"{backup.backup_id} was begun at {backup.created_at}, after the time that you ask for. Take an older backup: `armonika backup list`."
        )
    if until is not None and until > datetime.now(UTC):
        raise BackupError(
            f"{until.isoformat(timespec='seconds')} is still to come. Leave --time out: that restores all there is."
        )
    if config.database_url is None and backup.server != EMBEDDED:
        raise BackupError(
            f"{backup.backup_id} is of PostgreSQL {backup.server}, and the embedded server is {EMBEDDED}. Name the server that it was made from in "
            "ARMONIKA_DATABASE_URL: its files are then laid ready for a server of that version (docs/operate.md)."
        )
    for name in (BASE, LOG):
        if not kept.path(backup, name).exists():
            raise BackupError(f"{kept.path(backup, name)} is missing. Take another backup: `armonika backup list`.")
    ring = Keyring.open(config.keys)
    for name in backup.epochs:
        compartment, _, number = name.partition("/")
        if not ring.epochs.openable(compartment, int(number)):
            raise BackupError(
                f"Epoch {number} of {compartment} was destroyed since: what this backup holds under it is unreadable for good. Take a newer backup."
            )
    return key_pair(config)[0]


def _bring_log(config: Settings, kept: Catalogue, backup: Backup, private: bytes, target: Settings) -> None:
    """The audit log as it is today; the backup's own when there is none."""
    log = config.audit_log
    if (log / "checkpoint").exists():
        log_files.copy(log, target.audit_log)
        return
    unpacked = target.home / "unpacked"
    _unpack(kept.path(backup, LOG), private, place(backup.backup_id, LOG), unpacked)
    if (unpacked / "log").exists():
        (unpacked / "log").rename(target.audit_log)
    shutil.rmtree(unpacked, ignore_errors=True)


def _to_recover(files: Path, until: datetime | None) -> None:
    """What the server at `files`/data is told: where the segments are, how far to go, and that nothing is archived meanwhile."""
    lines = [
        f"restore_command = 'cp {shlex.quote(str(files / 'wal'))}/%f %p'",
        "archive_command = '/bin/true'",
        "recovery_target_action = 'promote'",
    ]
    if until is not None:
        lines.append(f"recovery_target_time = '{until.isoformat()}'")
    with (files / "data" / "postgresql.auto.conf").open("a") as file:
        file.write("\n" + "\n".join(lines) + "\n")
    (files / "data" / "recovery.signal").touch()
    (files / "data").chmod(0o700)


def _recover(
    target: Settings,
    backup: Backup,
    policy: Policy,
    until: datetime | None,
    say: Callable[[str], None],
    look: Callable[[Settings, str], None] | None,
) -> Restored:
    wal = target.postgres / "wal"
    user = user_for("postgres") if os.geteuid() == 0 else None
    for path in (target.postgres, *target.postgres.rglob("*")) if user else ():
        os.chown(path, user.uid, user.gid)  # type: ignore[union-attr]
    embedded = Embedded(target.postgres, target.keys, user)
    say("Recovering …")
    embedded.prepare()
    try:
        _run_to_end(embedded, target.logs / "postgres.log", until, say)
        last = _last(target.logs / "postgres.log") or backup.created_at
        _clear_target(embedded.admin_dsn)
        found: list[Replayed] = []

        def recover(ring: Keyring) -> None:
            say("Replaying what was sealed since …")
            found.append(replay(target.audit_log, embedded.admin_dsn, crypto.ed25519_public(ring.log_key())))

        provision(target.keys, embedded.admin_dsn, compiled(policy), recover)
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
            connection.execute("SELECT vault.note_restore()")
        if look is not None:
            look(target, embedded.admin_dsn)
    except DatabaseError as error:
        raise BackupError(f"The copy does not recover: {error}") from None
    finally:
        embedded.stop()
    shutil.rmtree(wal, ignore_errors=True)
    return Restored(target.home, found[0], last)


def _run_to_end(embedded: Embedded, log: Path, until: datetime | None, say: Callable[[str], None]) -> None:
    """Starts the server and waits until it has recovered. Where nothing in the archive is as late as `until`, its end is all there is of that time."""
    try:
        embedded.start(log, timeout=600)
        embedded.wait_promoted()
    except (DatabaseError, psycopg.OperationalError) as error:
        if until is None or b"recovery ended before configured recovery target was reached" not in log.read_bytes()[-4000:]:
            raise DatabaseError(str(error)) from None
        say("Nothing in the archive is as late as the time that you ask for: it is restored to its end …")
        embedded.stop()
        settings = embedded.data / "postgresql.auto.conf"
        lines = [line for line in settings.read_text().splitlines(True) if not line.startswith("recovery_target_time")]
        settings.write_text("".join(lines))
        embedded.start(log, timeout=600)
        embedded.wait_promoted()


def _last(log: Path) -> str | None:
    """When the last transaction ended that was taken from the archive, in the words of the server's log (a session is told by one recovery alone)."""
    found = re.findall(r"last completed transaction was at log time (\S+ \S+)", log.read_text(errors="replace"))
    return found[-1] if found else None


def _clear_target(admin_dsn: str) -> None:
    """Takes the settings of the recovery out again: the next start is an ordinary one."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        for name in ("restore_command", "recovery_target_time", "recovery_target_action"):
            connection.execute(f"ALTER SYSTEM RESET {name}".encode())


def _unpack(path: Path, private: bytes, where: bytes, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    try:
        with (
            path.open("rb") as source,
            tarfile.open(fileobj=cast("IO[bytes]", Pipe(archive.opened(source, private, where))), mode="r|") as tar,
        ):
            extract(tar, into)
    except FileNotFoundError:
        raise BackupError(f"{path} is missing.") from None
    except (archive.ArchiveDamaged, tarfile.TarError) as error:
        raise BackupError(f"{path}: {error}. Take another backup: `armonika backup list`.") from None


def extract(tar: tarfile.TarFile, into: Path) -> None:
    """Extracts ordinary files and folders, below `into` alone: anybody who has the public key could have sealed an archive."""
    base = into.resolve()
    for member in tar:
        target = (base / member.name).resolve()
        if not (member.isfile() or member.isdir()) or not target.is_relative_to(base):
            raise BackupError(f"The archive holds {member.name!r}, which is no file of a database. Nothing was started.")
        member.mode &= 0o777
        tar.extract(member, base, set_attrs=True, numeric_owner=False)


def _segments(kept: Catalogue, private: bytes, backup: Backup, files: Path, until: datetime | None) -> None:
    """Opens the segments that follow the backup. They lie in the new home until the recovery is done; values in them are sealed as everywhere."""
    into, archived = files / "wal", kept.segments()
    into.mkdir(parents=True, exist_ok=True)
    # A recovery that misses one ends there without a word, and all that was written later would be lost unseen.
    before = kept.gap(backup.first_segment, [path.name for path in (files / "data" / "pg_wal").iterdir()])
    if before:
        time = datetime.fromtimestamp(archived[before].stat().st_mtime, UTC) if before in archived else backup.created
        if until is None or until > time:
            raise BackupError(
                f"In {kept.wal} the segment that follows {before} is missing: nothing later than {time.isoformat(timespec='seconds')} can be restored from "
                f"this backup. Put the segment back, take a newer backup, or name that time: --time {time.isoformat(timespec='seconds')}."
            )
    for name, path in archived.items():
        if len(name) == 24 and (name[8:] < backup.first_segment[8:] or (before and name[8:] > before[8:])):
            continue
        try:
            with path.open("rb") as source, (into / name).open("wb") as target:
                for piece in archive.opened(source, private, wal_place(name)):
                    target.write(piece)
        except archive.ArchiveDamaged as error:
            raise BackupError(
                f"{path}: {error}. Put it back from a copy, or move it away and restore up to the segment before it with --time."
            ) from None


def _keys(config: Settings, target: Settings) -> None:
    """The keys go along, and epochs that the copy still needs are held again."""
    for path in config.keys.iterdir():
        if path.is_file() and path.name != ".lock":
            write_private(target.keys / path.name, read_private(path))
    with alone(target.keys):
        ring = Keyring.open(target.keys)
        ring.epochs.hold_again()
        ring.save()
