"""The loss of a primary under load (docs/operate.md "Three machines"): the drill is a test too."""

from __future__ import annotations

import os

import pytest

from drills.cluster import missing
from drills.failover import hold
from drills.load import Load, lost, unlogged


@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(missing()) or os.geteuid() != 0, reason="needs Debian's patroni, etcd and postgresql-15, and root")
def test_a_lost_primary_loses_nothing_that_was_acknowledged() -> None:
    """`hold` raises when a write is gone, a read has no entry, reads stay away, or the log does not verify."""
    measured = hold(lambda *_: None)
    assert measured["of them before the loss"] > 200
    assert measured["acknowledged writes"] > measured["of them before the loss"]


def test_the_drill_notices_what_is_lost(live: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own control: a person whom nobody stored, and a read that left no entry, are counted as lost."""
    load = Load(live.port + 2, live.token())  # type: ignore[attr-defined]
    monkeypatch.setattr("drills.load.time.sleep", lambda _: None)
    load.acknowledged.append(("00000000-0000-4000-8000-000000000000", "", "nobody@drill.example"))
    assert lost(load) == 1
    from armonika.store.embedded import Embedded

    load.tickets.append(("00000000-0000-4000-8000-000000000000", 10**12))
    assert unlogged(load, Embedded(live.home / "postgres", live.home / "keys").admin_dsn) == 1  # type: ignore[attr-defined]
