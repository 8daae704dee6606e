"""The restore drill: a backup is restored beside the running system, compared with it, and thrown away (claim 3a.3).

No value is opened: records are compared as they are stored, and a data key is unwrapped to see that the keys of today still open it. Who was erased, and what
ended, by the word of the running system, must not be in the copy: the register is not asked about itself.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from armonika.policy.model import Policy
from armonika.settings import Settings
from armonika.store.private_files import remove_tree
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
MOST_ENDS = 50_000
_RECORDS = (
    "SELECT r.subject_id, r.record_id, r.versions, encode(sha256(convert_to(r.ciphertexts::text, 'UTF8')), 'hex') FROM vault.record r "
    "WHERE r.created_at < %s ORDER BY r.subject_id, r.record_id LIMIT %s"
)
# The newest ends that the register has: the copy was replayed from it. Whose keys are still being destroyed in pages has lines to come.
_ENDED = """
SELECT e.subject_id, e.record_id FROM vault.ended e WHERE e.registered
  AND CASE WHEN e.record_id IS NOT NULL THEN true ELSE EXISTS (SELECT FROM vault.tombstone t WHERE t.subject_id = e.subject_id)
    AND NOT EXISTS (SELECT FROM vault.erasing x WHERE x.subject_id = e.subject_id)
    AND NOT EXISTS (SELECT FROM vault.ended u WHERE u.subject_id = e.subject_id AND NOT u.registered) END
ORDER BY e.ended_no DESC LIMIT %s
"""
_PEOPLE_BACK = """
SELECT i.subject FROM unnest(%s::uuid[]) AS i (subject) WHERE NOT EXISTS (SELECT FROM vault.tombstone t WHERE t.subject_id = i.subject)
  OR EXISTS (SELECT FROM vault.subject s WHERE s.subject_id = i.subject AND s.state <> 'erased') OR EXISTS (SELECT FROM vault.record r WHERE r.subject_id = i.subject)
  OR EXISTS (SELECT FROM vault.data_key k WHERE k.subject_id = i.subject) OR EXISTS (SELECT FROM vault.lookup l WHERE l.subject_id = i.subject)
  OR EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = i.subject) OR EXISTS (SELECT FROM vault.challenge c WHERE c.subject_id = i.subject)
  OR EXISTS (SELECT FROM vault.session s WHERE s.actor = i.subject AND s.kind <> 'service') LIMIT 1
"""
_RECORDS_BACK = """
SELECT i.record FROM unnest(%s::uuid[], %s::uuid[]) AS i (subject, record) WHERE EXISTS (SELECT FROM vault.record r WHERE r.subject_id = i.subject AND r.record_id = i.record)
  OR EXISTS (SELECT FROM vault.data_key k WHERE k.subject_id = i.subject AND k.record_id = i.record)
  OR EXISTS (SELECT FROM vault.lookup l WHERE l.subject_id = i.subject AND l.record_id = i.record) LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Drilled:
    """What a drill found the same: records, keys that open, entries of the log; and what it found absent: people who were erased, records that ended, by
    the running system. `replayed`: how many of these ends the copy had to be told by the register."""

    backup_id: str
    records: int
    keys: int
    entries: int
    erased: int
    ended: int
    replayed: int


@dataclass(frozen=True, slots=True)
class Ends:
    """People (pseudonyms) who were erased and records (person, record) that ended."""

    people: tuple[UUID, ...]
    records: tuple[tuple[UUID, UUID], ...]


def drill(
    config: Settings, policy: Policy, kept: Catalogue, backup: Backup, admin_dsn: str, say: Callable[[str], None] = print
) -> Drilled:
    """Restores `backup` into `drill` in the home and compares. Raises BackupError naming what differs; the copy is removed either way."""
    with _alone(config) as free:
        if not free:
            raise BackupError("A drill is under way here already: wait until it has ended.")
        return _drill(config, policy, kept, backup, admin_dsn, say)


def sweep(config: Settings) -> bool:
    """Removes the copy of a drill that was killed: keys lie in it, and must not outlive their end there. Returns whether there was one; none is touched
    while a drill is under way."""
    home = config.drill
    with _alone(config) as free:
        if not free or not home.exists():
            return False
        remove_tree(home, home / "keys")
        return True


@contextmanager
def _alone(config: Settings) -> Iterator[bool]:
    """Whether no other process holds a drill here; none begins one meanwhile."""
    config.run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(config.run / "drill.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)


def _drill(
    config: Settings, policy: Policy, kept: Catalogue, backup: Backup, admin_dsn: str, say: Callable[[str], None]
) -> Drilled:
    home = config.drill
    remove_tree(home, home / "keys")
    found: list[tuple[int, int, int]] = []
    # Before the register is copied: what ends later may be missing from it.
    with psycopg.connect(admin_dsn) as live:
        ends = _ends(live)

    def look(restored: Settings, restored_dsn: str) -> None:
        say("Comparing with the running system …")
        with psycopg.connect(admin_dsn) as live, psycopg.connect(restored_dsn) as copy:
            _absent(ends, copy)
            records = _same(live, copy, backup)
            ring = Keyring.open(restored.keys)
            keys = _open(ring, policy, copy)
        found.append((records, keys, _log(restored.audit_log, restored_dsn, ed25519_public(ring.log_key()))))

    try:
        done = restore(config, policy, kept, backup, home, say=say, look=look)
    finally:
        remove_tree(home, home / "keys")
    kept.mark(backup, restored_at=datetime.now(UTC).isoformat(timespec="seconds"))
    return Drilled(backup.backup_id, *found[0], len(ends.people), len(ends.records), done.replayed.ended)


def _ends(live: psycopg.Connection[Any]) -> Ends:
    """What a copy must not hold, the newest first and bounded: what ended long ago is in no backup."""
    rows = live.execute(_ENDED, (MOST_ENDS,)).fetchall()
    return Ends(
        tuple({subject for subject, record in rows if record is None}),
        tuple((subject, record) for subject, record in rows if record is not None),
    )


def _absent(ends: Ends, copy: psycopg.Connection[Any]) -> None:
    """Nobody who was erased can be read, found or signed in as in the copy, and nothing that ended is there."""
    back = copy.execute(_PEOPLE_BACK, (list(ends.people),)).fetchone()
    if back is not None:
        raise BackupError(f"{back[0]} was erased, and is back in the copy: the register does not say so, or was not replayed.")
    subjects, records = [subject for subject, _ in ends.records], [record for _, record in ends.records]
    back = copy.execute(_RECORDS_BACK, (subjects, records)).fetchone()
    if back is not None:
        raise BackupError(f"Record {back[0]} ended, and is back in the copy: the register does not say so, or was not replayed.")


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
