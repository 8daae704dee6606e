"""What claim 7a.4 sees of the administrator's actions: each planted fault is seen as that fault and as nothing else, and looking leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from armonika import policy
from armonika.settings import Settings
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault import administrator as told_to
from armonika.verify import administrator
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
}
TOGETHER = {
    "a row says that something else was done": 2,
    "what the administrator does leaves no row": 2,
    "a role that looks after it cannot see it": 2,
}
"""Entry and row both lack the other; without its row an entry has no letter; two roles look after it."""


@pytest.fixture
def context(doors: Doors, tmp_path: Path) -> Iterator[Context]:
    officer = appoint(doors.console, doors.server.admin_dsn, "dpo").signed_in()  # type: ignore[attr-defined]
    issue_token(doors.server.admin_dsn)  # type: ignore[attr-defined]
    told_to.see(doors.console, officer, [told_to.acts(doors.console, officer, 1)[0].audit_id])
    with doors.admin() as admin:
        config = Settings(tmp_path, 1, database_url="postgresql://elsewhere")
        yield Context(config, policy.load(), cast("Any", admin), doors.verifier, send)


def looked(context: Context) -> list[str]:
    evidence = Evidence()
    with context.undone():
        administrator.told(context, evidence)
    assert evidence.examined > 10
    return evidence.failures


def counts(context: Context) -> list[tuple[Any, ...]]:
    return context.rows(
        "SELECT (SELECT count(*) FROM vault.audit), (SELECT count(*) FROM vault.administrator_entry), (SELECT count(*) FROM vault.administrator_seen), "
        "(SELECT count(*) FROM vault.session), (SELECT count(*) FROM jobs.procrastinate_jobs)"
    )


@pytest.mark.parametrize("fault", administrator.SABOTAGES)
def test_a_fault_is_seen_as_what_it_is(context: Context, fault: str) -> None:
    before = counts(context)
    assert looked(context) == []
    with context.planted(*administrator.SABOTAGES[fault]):
        found = looked(context)
    assert len(found) == TOGETHER.get(fault, 1), found
    assert any(WORDS[fault] in one for one in found)
    assert looked(context) == []
    assert counts(context) == before
