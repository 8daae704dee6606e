"""What claim 7a.4 sees of the administrator's actions: each planted fault is seen as that fault and as nothing else, and looking leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from armonika import policy
from armonika.settings import Settings
from armonika.trust.keys import Keyring, journal
from armonika.trust.keys.journal import Line
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.provision import issue_token
from armonika.trust.keys.tell import tell
from armonika.trust.vault import administrator as told_to
from armonika.verify import administrator, keys_journal
from armonika.verify.context import Context
from armonika.verify.frame import Evidence
from armonika.verify.http import send
from tests.doors import Doors
from tests.staff import appoint

WORDS = {
    "what the administrator did has no row": "has no row: 1, the first is audit",
    "a row says that something else was done": "has no ",
    "a row of something that was not done": "has no entry: 1, the first is audit -1",
    "what the administrator does leaves no row": "leaves no row",
    "what the administrator does sends no letter": "sends no letter",
    "rows can be taken away": "nothing guards vault.administrator_entry",
    "somebody is said to have seen it who left no entry": "seen by somebody who left no entry",
    "a role that looks after it cannot see it": "is not told",
    "what is done with the keys' files leaves no entry": "with the keys' files now leaves no entry",
    "what is done with the keys' files has an entry more than once": "is told again",
    "a line is taken out of the journal of the keys": "lacks 1 lines, and nobody was told",
}
TOGETHER = {
    "a row says that something else was done": 2,
    "what the administrator does leaves no row": 4,
    "a role that looks after it cannot see it": 2,
}
"""Entry and row both lack the other; without its row an entry has no letter, and neither has one of the keys' files; two roles look after it."""
FAULTS = administrator.SABOTAGES | keys_journal.SABOTAGES


@pytest.fixture
def context(doors: Doors) -> Iterator[Context]:
    officer = appoint(doors.console, doors.server.admin_dsn, "dpo").signed_in()  # type: ignore[attr-defined]
    issue_token(doors.server.admin_dsn)  # type: ignore[attr-defined]
    told_to.see(doors.console, officer, [told_to.acts(doors.console, officer, 1)[0].audit_id])
    with doors.admin() as admin:
        config = Settings(doors.server.home, 1, database_url="postgresql://elsewhere")  # type: ignore[attr-defined]
        yield Context(config, policy.load(), cast("Any", admin), doors.verifier, send)


def looked(context: Context, also: Sequence[Line] = ()) -> list[str]:
    evidence = Evidence()
    with context.undone():
        administrator.told(context, evidence, also)
    assert evidence.examined > 10
    return evidence.failures


def counts(context: Context) -> list[tuple[Any, ...]]:
    return context.rows(
        "SELECT (SELECT count(*) FROM vault.audit), (SELECT count(*) FROM vault.administrator_entry), (SELECT count(*) FROM vault.administrator_seen), "
        "(SELECT count(*) FROM vault.session), (SELECT count(*) FROM jobs.procrastinate_jobs)"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen_as_what_it_is(context: Context, fault: str) -> None:
    before = counts(context)
    assert looked(context) == []
    with context.planted(*FAULTS[fault]):
        found = looked(context)
    assert len(found) == TOGETHER.get(fault, 1), found
    assert any(WORDS[fault] in one for one in found)
    assert looked(context) == []
    assert counts(context) == before


def test_a_line_of_the_keys_journal_without_its_entry_is_seen(
    context: Context, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counts(context)
    (missed,) = looked(context, keys_journal.UNTOLD)
    assert missed == "keys-recovered of 2026-01-01 00:00 with the keys' files has no entry"
    assert counts(context) == before
    with alone(context.settings.keys):
        ring = Keyring.open(context.settings.keys)
        ring.act(journal.CREDENTIALS, "site")
        ring.save()
    assert looked(context) == [], "ten minutes are left for it"
    tell(ring, doors.server.admin_dsn)  # type: ignore[attr-defined]
    assert looked(context) == []
    line = ring.journal().lines[-1]
    dropped = [f"DELETE FROM vault.{table} WHERE reference = '{line.reference}'" for table in ("administrator_entry", "audit")]
    monkeypatch.setattr(keys_journal, "MOST_LATE", timedelta(0))
    assert looked(context) == []
    with context.planted("SET LOCAL session_replication_role = replica", *dropped, "SET LOCAL session_replication_role = origin"):
        assert len(looked(context)) == 1, "its entry is dropped"
    path = context.settings.keys / journal.FILE
    whole = path.read_bytes()
    path.write_bytes(b"")
    (fault,) = looked(context)
    assert "and nobody was told" in fault
    tell(ring, doors.server.admin_dsn)  # type: ignore[attr-defined]
    assert looked(context) == [], "who looks after it was told of what is missing"
    path.write_bytes(whole)
    assert looked(context) == []
