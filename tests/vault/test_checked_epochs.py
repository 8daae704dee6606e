"""Keys and look-ups are written under the epochs that stand now, of their own compartment."""

from __future__ import annotations

from tests.vault.ground import Rounds
from tests.vault.stage import Stage
from tests.vault.undone import refused, undone


def test_a_door_writes_under_the_epoch_of_the_datasets_own_compartment(stage: Stage, rounds: Rounds) -> None:
    """What another compartment writes under makes a key neither right nor old."""
    ground = rounds.ground().epochs(_1="retiring", _2="active")
    here, there = stage.account.id, ground.dataset
    active, searched = stage.account.epoch, list(stage.account.indexing)
    check = "SELECT vault.check_epochs(%s, %s::smallint[], %s, %s, %s::smallint[], %s)"
    lookups = len(searched)
    for said, datasets, epochs, items, given in (
        ("", [here], [active], [1] * lookups, searched),
        ("", [there], [2], [1, 1], [1, 2]),
        ("", [here, there], [active, 2], [1] * lookups + [2, 2], [*searched, 1, 2]),
        ("AR428", [there], [1], [], []),
        ("AR428", [here, there], [active, 1], [], []),
        ("AR428", [there], [2], [1], [2]),
        ("AR428", [there], [2], [1, 1, 1], [1, 2, 3]),
        ("AR428", [here], [active], [1], [active + 7]),
        ("AR428", [here, there], [active, 2], [2] * lookups, searched),
    ):
        words = (stage.policy, datasets, epochs, items, [1] * len(items), given)
        with undone(stage):
            assert refused(stage, check, *words) == said, words


def test_a_search_looks_under_every_epoch_of_its_own_compartment(stage: Stage, rounds: Rounds) -> None:
    ground = rounds.ground().epochs(_1="retiring", _2="active", _3="retired", _4="emptied")
    suspended = rounds.ground().epochs(_7="suspended")
    check = "SELECT vault.check_search(%s::smallint, %s::int[])"
    for said, of, given in (
        ("", ground, [1, 2]),
        ("", ground, [2, 1, 3]),
        ("AR428", ground, [2]),
        ("AR428", ground, [1, 3, 4]),
        ("AR428", ground, []),
        ("", suspended, [7]),
        ("AR428", suspended, [1, 2]),
    ):
        with undone(stage):
            assert refused(stage, check, of.dataset, given) == said, given
