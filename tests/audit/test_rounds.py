"""The sealer's rounds: the witness is asked between them, however busy the system is."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from armonika.entry.sealer import work


def rounds(writes: list[int], seals: Any) -> tuple[Any, Any]:
    held = iter(seals)
    return SimpleNamespace(write=iter(writes).__next__), SimpleNamespace(seal=lambda publish: next(held), publish=lambda: None)


def test_entries_without_end_do_not_keep_the_witness_away() -> None:
    published: list[int] = []
    register, sealer = (
        SimpleNamespace(write=lambda: 0),
        SimpleNamespace(seal=lambda publish: 7, publish=lambda: published.append(1)),
    )
    moments = count(0, 0.25)
    assert work(register, sealer, moments.__next__) is True  # type: ignore[arg-type]
    assert next(moments) <= 1.5, "it came back after a second of work"
    assert published == [1], "one checkpoint for all of it, to be cosigned at once"


def test_a_round_ends_when_nothing_is_left() -> None:
    register, sealer = rounds([5, 0, 0, 0], [20_000, 3, 0])
    assert work(register, sealer, lambda: 0.0) is False
    assert next(register.write.__self__, None) is None, "erasures are looked for before each batch of entries"
    with pytest.raises(StopIteration):
        sealer.seal(publish=False)
