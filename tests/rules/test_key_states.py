"""All 36 pairs of key states, against the table of NIST SP 800-57 part 1 §7 written out here by hand."""

from __future__ import annotations

from itertools import product

import pytest

from armonika.rules.key_states import LEGAL, PROCESSES, PROTECTS, IllegalTransition, KeyState, change

ALLOWED = [
    "pre-activation>active",
    "pre-activation>compromised",
    "pre-activation>destroyed",
    "active>suspended",
    "active>deactivated",
    "active>compromised",
    "active>destroyed",
    "suspended>active",
    "suspended>deactivated",
    "suspended>compromised",
    "suspended>destroyed",
    "deactivated>compromised",
    "deactivated>destroyed",
    "compromised>destroyed",
]


@pytest.mark.parametrize(("before", "after"), list(product(KeyState, KeyState)), ids=str)
def test_every_pair(before: KeyState, after: KeyState) -> None:
    if f"{before}>{after}" in ALLOWED:
        assert change(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"a key that is {before} cannot become {after}"):
            change(before, after)


def test_six_states_and_what_they_allow() -> None:
    assert len(KeyState) == 6
    assert sum(len(ways) for ways in LEGAL.values()) == len(ALLOWED) == 14
    assert {KeyState.ACTIVE} == PROTECTS
    assert {KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED} == PROCESSES
