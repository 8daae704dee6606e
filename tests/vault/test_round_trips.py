"""ask, the commit and take in one call: no trust is carried, and each item is its own actor's."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from armonika.trust.vault import codec
from tests.vault.stage import READ, Stage


def test_ask_and_take_in_one_round_trip_carry_no_trust(stage: Stage) -> None:
    stage.allow(READ)
    whom, gone, secret = stage.person().subject, uuid4(), stage.session()
    who = [[secret], [READ], [stage.provide], [stage.reason], ["A-1"]]
    what = [[stage.account.id], [stage.name]]
    last = stage.last()
    ((tickets, verdicts, taken),) = stage.rows(
        "api", codec.READ_AT_ONCE, *who, [whom, gone, whom], [None] * 3, *what, [1, 1, 1], taken=True
    )
    assert (tickets[1], verdicts) == (None, [0, 3, 0])
    assert [tuple(row) for row in taken] == stage.take(secret, tickets[0], tickets[2])
    assert sorted(entry[:2] for entry in stage.entries(last)) == [(READ, False), (READ, True), (READ, True)]
    assert stage.rows("api", codec.READ_AT_ONCE, *who, [gone], [None], *what, [1]) == [([None], [3], None)]
    with stage.doors.raw() as own, pytest.raises(psycopg.errors.InvalidTransactionTermination):
        own.execute(codec.percent(codec.READ_AT_ONCE).encode(), [*who, [whom], [None], *what, [1]])
    assert len(stage.entries(last)) == 4


def test_of_several_actors_each_takes_what_is_theirs(stage: Stage) -> None:
    """Refused items stand between, and move no ticket to another's secret."""
    stage.allow(READ, "own")
    mine, theirs = stage.person().subject, stage.person().subject
    secrets = [stage.session(actor=mine), stage.session(actor=theirs)]
    whoms, holders = [theirs, mine, mine, theirs], [1, 1, 2, 2]
    words = [secrets, [READ] * 2, [stage.provide] * 2, [stage.reason] * 2, [None] * 2, whoms, [None] * 4, [stage.account.id] * 2, [stage.name] * 2, holders]  # fmt: skip
    ((tickets, verdicts, taken),) = stage.rows("api", codec.READ_AT_ONCE, *words, taken=True)
    assert [verdict == 0 for verdict in verdicts] == [False, True, False, True]
    assert [ticket is None for ticket in tickets] == [True, False, True, False]
    assert [row[:2] for row in taken] == [(1, mine), (2, theirs)], "numbered by what was granted"
