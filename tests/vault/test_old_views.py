"""A transaction that still sees what was: what ended meanwhile does nothing in it."""

from __future__ import annotations

import psycopg
import pytest

from armonika.trust.vault import codec
from tests.vault.stage import CORRECT, CREATE, READ, Stage
from tests.vault.words import Correction, creation


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_ended_token_and_a_rule_taken_away_do_nothing_in_an_older_view(stage: Stage, level: str) -> None:
    for operation in (CREATE, CORRECT, READ):
        stage.allow(operation)
    secret, made = stage.session(), stage.person()
    writes = [(codec.CREATE, creation(stage, secret)), (codec.CORRECT, Correction(stage, made, secret, name="M").changed())]
    ask = [
        [secret],
        [READ],
        [stage.provide],
        [stage.reason],
        [None],
        [made.subject],
        [None],
        [stage.account.id],
        [stage.name],
        [1],
    ]
    last = stage.last()
    for statement, words in [*writes, (codec.ASK, ask)]:
        stage.alter(secret, revoked_at="NULL")
        with stage.doors.raw("api") as old, old.cursor(binary=True) as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
            cursor.execute("SELECT count(*) FROM pg_class")
            stage.alter(secret, revoked_at="clock_timestamp()")
            with pytest.raises(psycopg.Error) as refused:
                cursor.execute(codec.percent(statement).encode(), words)
            assert refused.value.sqlstate == "AR403"
    assert not [entry for entry in stage.entries(last) if entry[1] and entry[4] == stage.actor(secret)]
