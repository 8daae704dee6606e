"""What claim 7a.6 plants must be seen of an installation that has rotated too: there the first epoch is not the one that is written."""

from __future__ import annotations

from armonika.verify.claims.c_7a_6 import last


def test_the_epoch_that_is_changed_is_the_one_that_is_written() -> None:
    first, second = (
        [{"state": state} for state in states] for states in (("active", "deactivated"), ("pre-activation", "active"))
    )
    content = {"compartments": {"account": {"epochs": {"1": {"history": first}, "2": {"history": second}}}}}
    assert last(content) is second
