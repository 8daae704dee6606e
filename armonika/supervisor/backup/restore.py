"""Restores a backup into a new place, to its end or to a point in time, and replays what was sealed since. Nothing serves before that."""

from __future__ import annotations

import os
import shlex
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, cast

import psycopg

from armonika.policy.compile import catalogue as compiled
from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.store.embedded import DatabaseError, Embedded
from armonika.store.private_files import read_private, write_private
from armonika.store.users import user_for
from armonika.supervisor.backup import log_files
from armonika.supervisor.backup.catalogue import BASE, LOG, Backup, BackupError, Catalogue
from armonika.supervisor.backup.create import Pipe, key_pair, place, wal_place
from armonika.supervisor.backup.replay import Replayed, replay
from armonika.trust import archive, crypto
from armonika.trust.keys import Keyring
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.provision import provision


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `until` is the last moment that it holds."""

    home: Path
    replayed: Replayed
    until: str


def restore(config: Settings, policy: Policy, kept: Catalogue, backup: Backup, home: Path, until: datetime | None = None,
            say: Callable[[str], None] = print, look: Callable[[Settings, str], None] | None = None) -> Restored:  # fmt: skip
    """Restores `backup` into the empty folder `home`, with the keys of `config` and the newest audit log there is. `look` sees the restored copy and
    its administrator's address while its server runs.

    Raises BackupError when keys that it needs were destroyed, or anything is missing; `home` can then be removed.
    """
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty. Name a new folder: a restore never overwrites.")
    if until is not None and until < backup.created:
        raise BackupError(
            f"{backup.backup_id} was begun at {backup.created_at}, after the time that you ask for. Take an older backup."
        )
    private, _ = key_pair(config)
    ring = Keyring.open(config.keys)
    for name in backup.epochs:
        compartment, _, number = name.partition("/")
        if not ring.epochs.openable(compartment, int(number)):
            raise BackupError(
                f"Epoch {number} of {compartment} was destroyed since: what this backup holds under it is unreadable for good. Take a newer backup."
            )
    target = replace(config, home=home, database_url=None)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    say(f"Opening {backup.backup_id} …")
    _unpack(kept.path(backup, BASE), private, place(backup.backup_id, BASE), target.postgres / "data")
    log = config.audit_log
    if not (log / "checkpoint").exists():
        _unpack(kept.path(backup, LOG), private, place(backup.backup_id, LOG), home / "unpacked")
        if (home / "unpacked" / "log").exists():
            (home / "unpacked" / "log").rename(target.audit_log)
        shutil.rmtree(home / "unpacked", ignore_errors=True)
    else:
        log_files.copy(log, target.audit_log)
    _segments(kept, private, backup, home / "wal")
    _keys(config, target)
    return _recover(target, policy, until, say, look)


def _recover(
    target: Settings,
    policy: Policy,
    until: datetime | None,
    say: Callable[[str], None],
    look: Callable[[Settings, str], None] | None,
) -> Restored:
    data = target.postgres / "data"
    lines = [
        f"restore_command = 'cp {shlex.quote(str(target.home / 'wal'))}/%f %p'",
        "archive_command = '/bin/true'",
        "recovery_target_action = 'promote'",
    ]
    if until is not None:
        lines.append(f"recovery_target_time = '{until.isoformat()}'")
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write("\n" + "\n".join(lines) + "\n")
    (data / "recovery.signal").touch()
    user = user_for("postgres") if os.geteuid() == 0 else None
    for folder in (target.postgres, target.home / "wal") if user else ():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.uid, user.gid)  # type: ignore[union-attr]
    data.chmod(0o700)
    embedded = Embedded(target.postgres, target.keys, user)
    say("Recovering …")
    embedded.prepare()
    try:
        embedded.start(target.logs / "postgres.log", timeout=600)
        embedded.wait_promoted()
        _clear_target(embedded.admin_dsn)
        found: list[Replayed] = []

        def recover(ring: Keyring) -> None:
            say("Replaying what was sealed since …")
            found.append(replay(target.audit_log, embedded.admin_dsn, crypto.ed25519_public(ring.log_key())))

        provision(target.keys, embedded.admin_dsn, compiled(policy), recover)
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
            connection.execute("SELECT vault.note_restore()")
            row = connection.execute(
                "SELECT coalesce(max(at)::text, 'the beginning') FROM vault.record r, LATERAL (SELECT r.created_at AS at) x"
            ).fetchone()
        if look is not None:
            look(target, embedded.admin_dsn)
    except DatabaseError as error:
        raise BackupError(f"The copy does not recover: {error}") from None
    finally:
        embedded.stop()
    shutil.rmtree(target.home / "wal", ignore_errors=True)
    return Restored(target.home, found[0], str(row[0]) if row else "")


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
        raise BackupError(f"{path}: {error}. Take another backup.") from None


def extract(tar: tarfile.TarFile, into: Path) -> None:
    """Extracts ordinary files and folders, below `into` alone: anybody who has the public key could have sealed an archive."""
    base = into.resolve()
    for member in tar:
        target = (base / member.name).resolve()
        if not (member.isfile() or member.isdir()) or not target.is_relative_to(base):
            raise BackupError(f"The archive holds {member.name!r}, which is no file of a database. Nothing was started.")
        member.mode &= 0o777
        tar.extract(member, base, set_attrs=True, numeric_owner=False)


def _segments(kept: Catalogue, private: bytes, backup: Backup, into: Path) -> None:
    """Opens the segments that follow the backup. They lie in the new home until the recovery is done; values in them are sealed as everywhere."""
    into.mkdir(parents=True, exist_ok=True)
    for name, path in kept.segments().items():
        if len(name) == 24 and name[8:] < backup.first_segment[8:]:
            continue
        try:
            with path.open("rb") as source, (into / name).open("wb") as target:
                for piece in archive.opened(source, private, wal_place(name)):
                    target.write(piece)
        except archive.ArchiveDamaged as error:
            raise BackupError(f"{path}: {error}. A restore can go up to the segment before it: name a --time.") from None


def _keys(config: Settings, target: Settings) -> None:
    """The keys go along, and epochs that the copy still needs are held again."""
    for path in config.keys.iterdir():
        if path.is_file() and path.name != ".lock":
            write_private(target.keys / path.name, read_private(path))
    with alone(target.keys):
        ring = Keyring.open(target.keys)
        ring.epochs.hold_again()
        ring.save()
