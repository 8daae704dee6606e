"""States of a key and the ways between them (NIST SP 800-57 part 1 rev. 5 §7). Pure: times and reasons come from the caller."""

from __future__ import annotations

from enum import StrEnum


class KeyState(StrEnum):
    """The six states of §7.1 to §7.6."""

    PRE_ACTIVATION = "pre-activation"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class IllegalTransition(Exception):
    """A key cannot go from the one state to the other; nothing was changed."""


LEGAL: dict[KeyState, frozenset[KeyState]] = {
    KeyState.PRE_ACTIVATION: frozenset({KeyState.ACTIVE, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.ACTIVE: frozenset({KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.SUSPENDED: frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.DEACTIVATED: frozenset({KeyState.COMPROMISED, KeyState.DESTROYED}),
    KeyState.COMPROMISED: frozenset({KeyState.DESTROYED}),
    KeyState.DESTROYED: frozenset(),
}
"""Transitions 2 to 15 of §7; transition 1 is the making of the key. A state to itself is no transition."""

PROTECTS = frozenset({KeyState.ACTIVE})
"""States in which a key may protect new data."""
PROCESSES = frozenset({KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DEACTIVATED, KeyState.COMPROMISED})
"""States in which a key may still open what it protected: in the last three at the risk that §7 names, which the operator takes by re-wrapping."""


def change(before: KeyState, after: KeyState) -> KeyState:
    """`after`, or IllegalTransition when SP 800-57 knows no such way."""
    if after not in LEGAL[before]:
        raise IllegalTransition(f"a key that is {before} cannot become {after}")
    return after
