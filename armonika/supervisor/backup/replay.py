"""Brings a database that may be a restored copy up to what was sealed outside it, before anything serves it.

First the entries of the audit log that the copy has lost, so that the log goes on and never forks; then the register of what ended, so that nobody
who was erased comes back. On a database that lost nothing both find nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from armonika.store import partitions
from armonika.supervisor.backup.catalogue import BackupError
from armonika.trust.audit import register
from armonika.trust.audit.files import MOST_NOTE, read_beneath
from armonika.trust.audit.verify import Broken, entries, makes, own_vkey, read_checkpoint

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Replayed:
    """How much came back: entries of the log, and records and people that ended again. `factors`: pseudonyms of staff whose second factor was set up in
    what the copy lost, so that nobody can prove one until the operator's `staff reset`."""

    entries: int
    ended: int
    factors: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """What an operator should know of it: nothing when the database had lost nothing."""
        if not (self.entries or self.ended):
            return []
        what = "is an older copy" if self.entries else "holds what had ended"
        said = [f"This database {what}: {self.entries} entries of the log, {self.ended} erasures were replayed."]
        if self.factors:
            said.append(
                "A second factor was set up in what it lost, and the one before opens nothing. Run `armonika staff reset` for: "
                + ", ".join(self.factors)
            )
        return said


def replay(log: Path, admin_dsn: str, public: bytes) -> Replayed:
    """Replays log and register from the folder `log`. Raises BackupError when they are not whole: serving would then break a promise."""
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            size = _size(connection)
            back, again = _entries(connection, log, public), _ended(connection, log, public)
            done = Replayed(back, again, _factors(connection, size) if back else ())
            # Numbers go on after the last that was ever given, also when a crash came between a replay and this; only the owner of the sequences may say so.
            for sequence, newest in (
                ("vault.audit_number", "SELECT max(audit_id) FROM vault.audit"),
                ("vault.ended_ended_no_seq", "SELECT max(ended_no) FROM vault.ended"),
            ):
                connection.execute(
                    f"SELECT setval('{sequence}', ({newest})) WHERE ({newest}) > (SELECT last_value FROM {sequence})".encode()
                )
            return done
    except (Broken, register.RegisterBroken) as error:
        raise BackupError(f"The sealed log in {log} is not whole: {error}. Restore it from a backup before you serve.") from None
    except psycopg.errors.UniqueViolation:
        raise BackupError(
            f"The sealed log in {log} and the database went different ways: the database was served without it. See docs/operate.md."
        ) from None
    except psycopg.DatabaseError as error:
        if error.sqlstate in ("AR409", "AR422"):
            raise BackupError(f"The sealed log in {log} cannot be replayed: {error.diag.message_primary}.") from None
        raise


def _size(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT size FROM vault.seal_state").fetchone()
    assert row is not None
    return int(row[0])


def _factors(connection: psycopg.Connection[Any], since: int) -> tuple[str, ...]:
    """Staff whose factor was set up by entries from leaf `since` on, and who have one in the copy: it cannot be proven."""
    rows = connection.execute(
        "SELECT DISTINCT x.subject::text FROM vault.leaf l JOIN vault.audit x ON x.audit_id = l.audit_id JOIN vault.second_factor s ON s.subject_id = x.subject "
        "JOIN vault.field f ON f.dataset = x.dataset AND f.name = 'second_factor' AND (x.fields >> (f.ordinal - 1)) & 1 = 1 "
        "WHERE l.leaf_no >= %s AND x.operation = 5 AND x.granted ORDER BY 1",
        (since,),
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


def _entries(connection: psycopg.Connection[Any], log: Path, public: bytes) -> int:
    if not (log / "checkpoint").exists():
        return 0
    _, size, root = read_checkpoint(read_beneath(log, "checkpoint", MOST_NOTE), own_vkey(log, public))
    at = _size(connection)
    if at >= size:
        return 0
    if at:
        kept = connection.execute("SELECT leaf_hash FROM vault.leaf WHERE leaf_no = %s", (at - 1,)).fetchone()
        begin = (at - 1) // 256 * 256
        last = next(islice(entries(log, size, begin), at - 1 - begin, None))
        if kept is None or bytes(kept[0]) != hashlib.sha256(b"\x00" + last).digest():
            raise Broken(f"entry {at - 1} of the database is not that of the log")
    begin = at // 256 * 256
    # Before the first of them counts: whoever could write the folder could otherwise write history, and the sealer would sign it.
    makes(log, size, root, begin)
    back, following = 0, islice(entries(log, size, begin), at - begin, None)
    while page := list(islice(following, _PAGE)):
        if back % 1_000_000 == 0:
            partitions.extend(connection)
        hashes = [hashlib.sha256(b"\x00" + content).digest() for content in page]
        # With what they say, in one transaction: the next start sees the entries and would not look at them again.
        with connection.transaction():
            connection.execute(
                "SELECT vault.import_entries(%s, %s::jsonb, %s::bytea[])",
                (at + back, json.dumps([json.loads(content) for content in page]), hashes),
            )
            connection.execute("SELECT vault.replay_events(%s)", (at + back,))
        back += len(page)
    return back


def _ended(connection: psycopg.Connection[Any], log: Path, public: bytes) -> int:
    known, found = array("q"), []
    lines = iter(register.lines(log / register.FILE, public))
    while page := list(islice(lines, _PAGE)):
        there = set(
            connection.execute(
                "SELECT ended_no, subject_id::text FROM vault.ended WHERE ended_no = ANY (%s)", ([line["n"] for line in page],)
            ).fetchall()
        )
        known.extend(line["n"] for line in page if (line["n"], line["subject"]) in there)
        found += [line for line in page if (line["n"], line["subject"]) not in there]
    # Only here is every line known to be whole. A register that was cut off, or is of before, is whole in itself: the sealer writes again what the database
    # knows beyond it.
    _write_again(connection, array("q", sorted(known)))
    again = 0
    # Records before people: a person whose records are all gone is erased, one who keeps a locked record is restricted.
    for line in sorted(found, key=lambda line: (line["record"] is None, line["n"])):
        with connection.transaction():
            said = [line[name] for name in ("n", "at", "subject", "record", "compartment", "epoch", "entry")]
            words = (*said, line.get("records"), line.get("kept"))
            row = connection.execute("SELECT vault.replay_ended(%s, %s, %s, %s, %s, %s, %s, %s, %s)", words).fetchone()
        again += bool(row and row[0])
    return again + _back(connection)


def _write_again(connection: psycopg.Connection[Any], known: array[int]) -> None:
    """Leaves to the sealer what the database has registered and the register does not have: `known` are the numbers of its lines, in order."""
    after = -(1 << 63)
    while rows := connection.execute(
        "SELECT ended_no FROM vault.ended WHERE registered AND ended_no > %s ORDER BY ended_no LIMIT %s", (after, 10 * _PAGE)
    ).fetchall():
        after = int(rows[-1][0])
        held = set(known[bisect_left(known, rows[0][0]) : bisect_right(known, after)])
        if lacking := [number for (number,) in rows if number not in held]:
            connection.execute("UPDATE vault.ended SET registered = false WHERE registered AND ended_no = ANY (%s)", (lacking,))


_WHOLE = (
    "SELECT e.subject_id, e.at, e.audit_id, e.records, e.ended_no FROM vault.ended e WHERE e.record_id IS NULL AND coalesce(e.kept, 0) = 0 "
    "AND NOT EXISTS (SELECT FROM vault.erasing x WHERE x.subject_id = e.subject_id)"
)
"""Ends of people of whom nothing was kept, and whose keys are destroyed: of whose keys are not yet, the keeper takes care."""
_RECORDS_BACK = "SELECT r.subject_id, r.record_id FROM vault.ended e JOIN vault.record r ON r.subject_id = e.subject_id AND r.record_id = e.record_id"
_PEOPLE_BACK = (
    f"WITH e AS NOT MATERIALIZED ({_WHOLE}) SELECT s.subject_id FROM e JOIN vault.subject s USING (subject_id) WHERE s.state <> 'erased' "
    "UNION SELECT r.subject_id FROM e JOIN vault.record r USING (subject_id) UNION SELECT c.subject_id FROM e JOIN vault.credential c USING (subject_id)"
)
_TOMBSTONES = (
    f"INSERT INTO vault.tombstone (subject_id, erased_at, audit_id, records) SELECT DISTINCT ON (e.subject_id) e.subject_id, e.at, e.audit_id, coalesce(e.records, 0) "
    f"FROM ({_WHOLE}) e WHERE NOT EXISTS (SELECT FROM vault.tombstone t WHERE t.subject_id = e.subject_id) ORDER BY e.subject_id, e.ended_no ON CONFLICT DO NOTHING"
)


def _back(connection: psycopg.Connection[Any]) -> int:
    """Ends again what had ended and stands there all the same: rows that somebody took from a copy and put back. Returns how many records and people it was.

    Each start looks, so what there is to end is asked for first: that is answered by indexes alone, however large the records are."""
    with connection.transaction():
        records = connection.execute(_RECORDS_BACK.encode()).fetchall()
        for subject, record in records:
            connection.execute("DELETE FROM vault.record r WHERE r.subject_id = %s AND r.record_id = %s", (subject, record))
        people = connection.execute(_PEOPLE_BACK.encode()).fetchall()
        for (subject,) in people:
            connection.execute("DELETE FROM vault.record r WHERE r.subject_id = %s", (subject,))
            connection.execute("SELECT vault.end_sign_in(%s)", (subject,))
            connection.execute("UPDATE vault.subject SET state = 'erased', org_id = NULL WHERE subject_id = %s", (subject,))
        connection.execute(_TOMBSTONES.encode())
        return len(records) + len(people)
