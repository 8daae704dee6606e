"""The restore drill: a backup is restored beside the running system, compared with it, and thrown away (claim 3a.3).

No value is opened: records are compared as they are stored, and a data key is unwrapped to see that the keys of today still open it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.supervisor.backup.catalogue import Backup, BackupError, Catalogue
from armonika.supervisor.backup.restore import restore
from armonika.trust.audit.verify import own_vkey, verify
from armonika.trust.audit.verify_rows import DatabaseRows
from armonika.trust.crypto import ed25519_public
from armonika.trust.keys import Keyring
from armonika.trust.vault.envelope import Envelope
from armonika.trust.vault.errors import VaultError

MOST_RECORDS = 50_000
MOST_KEYS = 200
_RECORDS = (
    "SELECT r.subject_id, r.record_id, r.versions, encode(sha256(convert_to(r.ciphertexts::text, 'UTF8')), 'hex') FROM vault.record r "
    "WHERE r.created_at < %s ORDER BY r.subject_id, r.record_id LIMIT %s"
)


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill found the same: records, keys that open, entries of the log."""

    backup_id: str
    records: int
    keys: int
    entries: int


def drill(
    config: Settings, policy: Policy, kept: Catalogue, backup: Backup, admin_dsn: str, say: Callable[[str], None] = print
) -> Drilled:
    """Restores `backup` into `drill` in the home and compares. Raises BackupError naming what differs; the copy is removed either way."""
    home = config.home / "drill"
    shutil.rmtree(home, ignore_errors=True)
    found: list[Drilled] = []

    def look(restored: Settings, restored_dsn: str) -> None:
        say("Comparing with the running system …")
        with psycopg.connect(admin_dsn) as live, psycopg.connect(restored_dsn) as copy:
            records = _same(live, copy, backup)
            ring = Keyring.open(restored.keys)
            keys = _open(ring, policy, copy)
        found.append(
            Drilled(backup.backup_id, records, keys, _log(restored.audit_log, restored_dsn, ed25519_public(ring.log_key())))
        )

    try:
        restore(config, policy, kept, backup, home, say=say, look=look)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    kept.mark(backup, restored_at=datetime.now(UTC).isoformat(timespec="seconds"))
    return found[0]


def _same(live: psycopg.Connection[Any], copy: psycopg.Connection[Any], backup: Backup) -> int:
    """Every record from before the backup that lives today is in the copy; what was not corrected since is the same to the last byte."""
    held = {
        (subject, record): (versions, digest)
        for subject, record, versions, digest in copy.execute(_RECORDS, (backup.created, MOST_RECORDS))
    }
    same = seen = 0
    for subject, record, versions, digest in live.execute(_RECORDS, (backup.created, MOST_RECORDS)):
        seen += 1
        if (subject, record) not in held:
            if len(held) < MOST_RECORDS:
                raise BackupError(f"The copy lacks record {record}, which was there before the backup.")
            continue
        old_versions, old_digest = held[subject, record]
        if old_versions == versions and old_digest != digest:
            raise BackupError(f"Record {record} in the copy is not what it is in the running system.")
        same += old_versions == versions
    if seen and not same:
        raise BackupError("The copy has nothing in common with the running system: nothing was proven. Make a newer backup.")
    return same


def _open(ring: Keyring, policy: Policy, copy: psycopg.Connection[Any]) -> int:
    doors = dict.fromkeys(policy.compartments, "full")
    envelope = Envelope(ring.credentials("keeper", doors))
    rows = copy.execute(
        "SELECT c.name, k.subject_id, k.record_id, k.kind, k.epoch, k.wrapped FROM vault.data_key k JOIN vault.compartment c ON c.id = k.compartment "
        "WHERE k.kind = 1 ORDER BY k.record_id LIMIT %s",
        (MOST_KEYS,),
    ).fetchall()
    for compartment, subject, record, kind, epoch, wrapped in rows:
        try:
            envelope.rewrap(compartment, subject, record, kind, epoch, bytes(wrapped), epoch)
        except VaultError as error:
            raise BackupError(f"A data key of the copy does not open with the keys of today: {error}.") from None
    return len(rows)


def _log(folder: Path, dsn: str, public: bytes) -> int:
    with psycopg.connect(dsn) as connection:
        report = verify(folder, own_vkey(folder, public), DatabaseRows(connection).rows)
    if report.findings:
        raise BackupError(f"The audit log of the copy is not whole: {report.findings[0]}.")
    return report.entries
