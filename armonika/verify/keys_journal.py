"""What is done with the keys' files alone is written down beside them, and each line has its entry in the log (claim 7a.4, docs/security/access.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from armonika.trust.keys import Keyring, journal
from armonika.verify.context import Context
from armonika.verify.frame import Evidence

MOST_LATE = timedelta(minutes=10)
"""After which a line must have its entry while the database runs: twice the pause between two rounds."""
_NOTES = "vault.note_keys"
_KNOWN = "IF EXISTS (SELECT FROM vault.administrator_entry"

SABOTAGES: dict[str, tuple[str, ...]] = {
    "what is done with the keys' files leaves no entry": (
        f"DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('{_NOTES}'::regproc), $y${_KNOWN}$y$, $y$IF true OR EXISTS (SELECT FROM vault.administrator_entry$y$); END $x$",
    ),
    "what is done with the keys' files has an entry more than once": (
        f"DO $x$ BEGIN EXECUTE replace(pg_get_functiondef('{_NOTES}'::regproc), $y${_KNOWN}$y$, $y$IF false AND EXISTS (SELECT FROM vault.administrator_entry$y$); END $x$",
    ),
    "a line is taken out of the journal of the keys": (f"SELECT {_NOTES}('{journal.CREDENTIALS}', 'site', 'AAAAAAAA-260101000000')",),
}  # fmt: skip
"""Statements that plant a fault of it."""
DROPPED = "the entry of what was done with the keys' files is dropped"
UNTOLD = (journal.Line(datetime(2026, 1, 1, tzinfo=UTC), journal.RECOVERED, None, "", "0123456789abcdef" * 4),)
"""A line whose entry was dropped, for that sabotage: it is written nowhere."""


def told(context: Context, evidence: Evidence, also: Sequence[journal.Line] = ()) -> None:
    """Every line has its entry, every entry its line; what is missing of the lines was told; a new line gets one entry, however often it is told. `also`:
    lines that count as if they were in the journal. Inside a transaction that is rolled back. Raises KeyFileError, RootKeyError."""
    entries = {
        str(reference): str(name)
        for reference, name in context.rows(
            "SELECT e.reference, o.name FROM vault.administrator_entry e JOIN vault.operation o ON o.id = e.operation AND o.name = ANY (%s) WHERE e.granted",
            ([*journal.ACTS, journal.BROKEN],),
        )
    }
    # After the entries: each of them has its line by now, and what came meanwhile is young.
    held = Keyring.open(context.settings.keys).journal()
    for line in (*held.lines, *also):
        evidence.expect(
            entries.get(line.reference) == line.act or datetime.now(UTC) - line.at < MOST_LATE,
            f"{line.act} of {line.at:%Y-%m-%d %H:%M} with the keys' files has no entry",
        )
    faults = journal.missing(held, entries)
    evidence.expect(
        not faults or entries.get(journal.lacking(faults)) == journal.BROKEN,
        f"the journal of the keys lacks {len(faults)} lines, and nobody was told",
    )
    with context.undone():
        call = f"SELECT {_NOTES}(%s, NULL, 'AAAAAAAA-0')"
        ((number,),) = context.rows(call, (journal.CEREMONY,))
        row = "SELECT count(*) FROM vault.administrator_entry e JOIN vault.audit a USING (audit_id) WHERE a.audit_id = %s AND a.door = 'administrator'"
        evidence.expect(context.rows(row, (number,)) == [(1,)], "what is done with the keys' files now leaves no entry")
        if number is not None:
            evidence.expect(context.rows(call, (journal.CEREMONY,)) == [(None,)], "what was told of the keys is told again")
