"""A few cycles of the kill drill; `make drill-kills` runs 200."""

from __future__ import annotations

import pytest

from drills.kills import hold


@pytest.mark.timeout(300)
def test_kill_minus_nine_again_and_again_breaks_no_promise() -> None:
    """`hold` raises for a lost write, a read without an entry, a key in a wrong state, or a log that does not verify."""
    measured = hold(6, lambda *_, **__: None, seed=2)
    assert measured["acknowledged writes"] > 200
    assert measured["killed postgres"] >= 1
    assert measured["killed everything"] >= 1
