"""Tells the audit log what was done with the keys' files alone: an entry for each line of the journal, once, in the administrator's name."""

from __future__ import annotations

import psycopg

from armonika.trust.keys import journal
from armonika.trust.keys.keyring import Keyring


def tell(ring: Keyring, admin_dsn: str, wait_seconds: int = 20) -> int:
    """Notes each line of the journal that has no entry yet, and what the journal lacks; returns how many entries that made. `admin_dsn` is the administrator's;
    `wait_seconds` for a connection. A line stands for its entry by the reference, which a restored copy gets back with its entries: kill -9 before the commit
    leaves it to the next call, after it the next call finds it. Raises psycopg.Error, KeyFileError; nothing is then noted."""
    with psycopg.connect(admin_dsn, connect_timeout=wait_seconds) as connection:
        # One at a time, and a process that was killed too, whose commit may still be on its way. Nothing that a door may do stands in its way.
        connection.execute("LOCK TABLE vault.administrator_entry IN SHARE ROW EXCLUSIVE MODE")
        known = {
            str(reference): str(name)
            for reference, name in connection.execute(
                "SELECT e.reference, o.name FROM vault.administrator_entry e JOIN vault.operation o ON o.id = e.operation AND o.name = ANY (%s)",
                ([*journal.ACTS, journal.BROKEN],),
            ).fetchall()
        }
        # After the lock: every line that has an entry is in the file by now.
        held = ring.journal()
        faults = journal.missing(held, known)
        due = [(line.act, line.door, line.reference) for line in held.lines]
        if faults:
            due.append((journal.BROKEN, None, journal.lacking(faults)))
        fresh = [one for one in due if one[2] not in known]
        for act in fresh:
            connection.execute("SELECT vault.note_keys(%s, %s, %s)", act)
        return len(fresh)
