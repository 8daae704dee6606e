"""Who acts, and for which reason, where something is written: a secret that lives at its door, and no reason that is another's."""

from __future__ import annotations

import pytest

from armonika.trust.vault import codec
from tests.vault.stage import CREATE, Stage
from tests.vault.test_asking import LIVING
from tests.vault.words import creation, denied

CASES: list[tuple[dict[str, object], bool]] = [*LIVING, ({"usable": "false"}, False)]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_secret_writes_while_it_lives_at_its_door(stage: Stage, number: int) -> None:
    """And, of staff, with its second factor."""
    columns, living = CASES[number]
    stage.allow(CREATE)
    secret = stage.session()
    words = creation(stage, secret)
    stage.alter(secret, **columns)
    assert denied(stage, "api", codec.CREATE, words) == ("" if living else "AR401")


def test_that_a_period_has_passed_is_the_retention_jobs_word_alone(stage: Stage) -> None:
    stage.allow(CREATE, purpose=stage.legal)
    secret, reasons = stage.session(), stage.doors.api.catalogue
    for reason, said in ((stage.rights, ""), (reasons.reason("retention"), "AR422")):
        assert denied(stage, "api", codec.CREATE, creation(stage, secret, purpose=stage.legal, reason=reason)) == said
