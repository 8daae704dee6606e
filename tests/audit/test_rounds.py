"""The sealer's rounds: the witness is asked between them, however busy the system is."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

from armonika.entry.sealer import work


def rounds(writes: list[int], seals: Any) -> tuple[Any, Any]:
    return SimpleNamespace(write=iter(writes).__next__), SimpleNamespace(seal=iter(seals).__next__)


def test_entries_without_end_do_not_keep_the_witness_away() -> None:
    register, sealer = SimpleNamespace(write=lambda: 0), SimpleNamespace(seal=lambda: 7)
    moments = count(0, 0.25)
    assert work(register, sealer, moments.__next__) is True  # type: ignore[arg-type]
    assert next(moments) <= 1.5, "it came back after a second of work"


def test_a_round_ends_when_nothing_is_left() -> None:
    register, sealer = rounds([5, 0, 0, 0], [20_000, 3, 0])
    assert work(register, sealer, lambda: 0.0) is False
    assert next(register.write.__self__, None) is None, "erasures are looked for before each batch of entries"
    assert next(sealer.seal.__self__, None) is None
