"""Epochs of one keyring: each state with what it allows, each time and reason kept, each key in its place."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from armonika.rules.key_states import IllegalTransition, KeyState
from armonika.trust import crypto
from armonika.trust.keys import epochs as module
from armonika.trust.keys.epochs import Epochs, EpochState

BEGAN = datetime(2026, 11, 25, 10, 0, 0, 999, tzinfo=UTC)
A, D, S, C, P, X = (
    KeyState.ACTIVE,
    KeyState.DEACTIVATED,
    KeyState.SUSPENDED,
    KeyState.COMPROMISED,
    KeyState.PRE_ACTIVATION,
    KeyState.DESTROYED,
)


class Kept:
    """An `Epochs` with a clock of its own and wrapping that can be looked through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.content: dict[str, Any] = {}
        self.wrapped: dict[str, bytes] = {}
        self.at = BEGAN
        monkeypatch.setattr(module, "now", lambda: self.at)
        self.epochs = Epochs(self.content, self.wrap)
        self.epochs.first("account")

    def wrap(self, place: str, key: bytes) -> str:
        self.wrapped[place] = key
        return f"<{place}>"

    def later(self, days: float) -> None:
        self.at += timedelta(days=days)

    def rotate(self, reason: str = "age") -> int:
        number = self.epochs.prepare("account", reason)
        active = self.epochs.active("account")
        if active is not None:
            self.epochs.move("account", active, D, reason)
        self.epochs.move("account", number, A, reason)
        return number


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(monkeypatch)


def test_the_present_time_is_in_utc() -> None:
    assert module.now().utcoffset() == timedelta(0)
    assert abs(module.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_first_epoch_is_active_at_once(kept: Kept) -> None:
    (entry,) = kept.content["account"]["epochs"].values()
    assert set(kept.content["account"]["epochs"]) == {"1"}
    at = "2026-11-25T10:00:00+00:00"
    assert entry["created"] == at
    assert entry["history"] == [
        {"state": "pre-activation", "at": at, "reason": "first start"},
        {"state": "active", "at": at, "reason": "first start"},
    ]
    assert set(kept.wrapped) == {f"compartment/account/1/{part}" for part in ("kek", "index", "private")}
    assert [entry[part] for part in ("kek", "index", "private")] == [
        f"<compartment/account/1/{part}>" for part in ("kek", "index", "private")
    ]
    assert len(kept.wrapped["compartment/account/1/kek"]) == len(kept.wrapped["compartment/account/1/index"]) == 32
    public = base64.b64decode(entry["public"])
    assert crypto.hpke_open(kept.wrapped["compartment/account/1/private"], crypto.hpke_seal(public, b"k", b"p"), b"p") == b"k"
    before = dict(kept.content["account"]["epochs"])
    kept.epochs.first("account")
    assert kept.content["account"]["epochs"] == before


def test_a_prepared_epoch_is_taken_again_and_numbers_only_grow(kept: Kept) -> None:
    assert kept.epochs.prepare("account", "age") == 2
    assert kept.epochs.prepare("account", "other") == 2
    assert kept.epochs.state("account", 2) is P
    assert kept.epochs.history("account", 2)[0]["reason"] == "age"
    assert kept.rotate() == 2
    assert kept.epochs.active("account") == 2
    for wanted in range(3, 13):
        assert kept.rotate() == wanted
    assert [line.epoch for line in kept.epochs.inventory()] == list(range(1, 13))


def test_each_step_has_its_time_and_reason(kept: Kept) -> None:
    kept.later(1)
    kept.epochs.move("account", 1, S, "doubt")
    assert kept.epochs.active("account") is None
    kept.later(1)
    kept.epochs.move("account", 1, A, "cleared")
    history = kept.epochs.history("account", 1)
    assert [(step["state"], step["at"][:10], step["reason"]) for step in history[1:]] == [
        ("active", "2026-11-25", "first start"), ("suspended", "2026-11-26", "doubt"), ("active", "2026-11-27", "cleared"),
    ]  # fmt: skip
    history[0]["state"] = "changed"
    assert kept.epochs.history("account", 1)[0]["state"] == "pre-activation", "a copy"
    with pytest.raises(IllegalTransition):
        kept.epochs.move("account", 1, A, "again")
    assert len(kept.epochs.history("account", 1)) == 4
    with pytest.raises(KeyError):
        kept.epochs.state("account", 2)


def test_destroying_takes_the_keys_out(kept: Kept) -> None:
    kept.rotate()
    assert kept.epochs.openable("account", 1)
    kept.epochs.move("account", 1, C, "lost")
    assert kept.epochs.openable("account", 1)
    kept.epochs.move("account", 1, X, "due")
    assert set(kept.content["account"]["epochs"]["1"]) == {"created", "history"}
    assert not kept.epochs.openable("account", 1)
    assert kept.epochs.openable("account", 2)
    assert not kept.epochs.openable("account", 3)
    assert not kept.epochs.openable("nothing", 1)


def test_what_doors_hold(kept: Kept) -> None:
    def held() -> list[int]:
        return list(kept.epochs.usable("account"))

    assert held() == [1]
    assert kept.epochs.usable("account")[1] is kept.content["account"]["epochs"]["1"]
    kept.epochs.prepare("account", "age")
    assert held() == [1, 2], "one that is about to be activated"
    kept.rotate()
    kept.epochs.move("account", 2, S, "doubt")
    assert held() == [1, 2]
    kept.epochs.move("account", 1, C, "lost")
    assert held() == [1, 2]
    assert kept.epochs.retired("account", 1, BEGAN)
    assert held() == [2]
    kept.epochs.hold_again()
    assert held() == [1, 2]
    kept.epochs.hold_again()
    kept.epochs.move("account", 1, X, "due")
    assert held() == [2]


def test_a_retirement_is_noted_once(kept: Kept) -> None:
    kept.rotate()
    at = datetime(2026, 12, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert kept.epochs.retired("account", 1, at) is True
    assert kept.content["account"]["epochs"]["1"]["retired_at"] == "2026-12-01T11:00:00+00:00"
    assert kept.epochs.retired("account", 1, at + timedelta(days=1)) is False
    assert kept.content["account"]["epochs"]["1"]["retired_at"] == "2026-12-01T11:00:00+00:00"
    assert kept.epochs.retired("account", 9, at) is False


def test_one_epoch_that_the_database_needs_again_is_held_again(kept: Kept) -> None:
    kept.rotate()
    assert kept.epochs.hold("account", 1) is False, "it is held"
    kept.epochs.retired("account", 1, kept.at)
    assert kept.epochs.hold("account", 1) is True
    assert list(kept.epochs.usable("account")) == [1, 2]
    assert kept.epochs.hold("account", 1) is False
    kept.epochs.retired("account", 1, kept.at)
    kept.epochs.move("account", 1, X, "due")
    for number in (1, 3):
        assert kept.epochs.hold("account", number) is False, "its key is nowhere"
    assert kept.epochs.hold("nothing", 1) is False


def test_nothing_may_be_written_under_what_is_suspended_or_compromised(kept: Kept) -> None:
    assert kept.epochs.held_back("account", 1) is False
    kept.epochs.move("account", 1, S, "doubt")
    assert kept.epochs.held_back("account", 1) is True
    kept.epochs.move("account", 1, A, "cleared")
    assert kept.epochs.held_back("account", 1) is False
    kept.rotate()
    assert kept.epochs.held_back("account", 1) is False, "it is only old"
    kept.epochs.move("account", 1, C, "lost")
    assert (kept.epochs.held_back("account", 1), kept.epochs.held_back("account", 2)) == (True, False)
    assert kept.epochs.held_back("account", 3) is False
    assert kept.epochs.held_back("nothing", 1) is False


def test_the_inventory_shows_every_epoch_in_order(kept: Kept) -> None:
    kept.epochs.first("abuse")
    kept.later(2)
    kept.rotate("age")
    kept.epochs.retired("account", 1, kept.at)
    for _ in range(9):
        kept.rotate()
    lines = kept.epochs.inventory()
    assert [(line.compartment, line.epoch) for line in lines] == [("abuse", 1)] + [("account", n) for n in range(1, 12)]
    since = BEGAN.replace(microsecond=0)
    assert lines[0] == EpochState("abuse", 1, A, since, "first start", since, None)
    assert lines[1] == EpochState("account", 1, D, since + timedelta(days=2), "age", since, since + timedelta(days=2))
    assert lines[11].state is A
    with pytest.raises(AttributeError):
        lines[0].epoch = 2  # type: ignore[misc]
    assert not hasattr(lines[0], "__dict__")


def test_what_is_due_is_due_on_the_second(kept: Kept) -> None:
    age, keep, second = timedelta(days=30), timedelta(days=35), timedelta(seconds=1)
    since = BEGAN.replace(microsecond=0)
    assert kept.epochs.due(since + age - second, age, keep) == ([], [])
    assert kept.epochs.due(since + age, age, keep) == (["account"], [])
    kept.rotate()
    assert kept.epochs.due(since + keep, age * 10, keep) == ([], []), "not retired yet"
    kept.epochs.retired("account", 1, since)
    assert kept.epochs.due(since + keep - second, age * 10, keep) == ([], [])
    assert kept.epochs.due(since + keep, age * 10, keep) == ([], [("account", 1)])
    kept.epochs.move("account", 1, C, "lost")
    assert kept.epochs.due(since + keep, age * 10, keep) == ([], [("account", 1)])
    kept.epochs.move("account", 1, X, "due")
    assert kept.epochs.due(since + keep, age * 10, keep) == ([], [])
    kept.epochs.move("account", 2, S, "doubt")
    assert kept.epochs.due(since + age, age, keep) == ([], [])
    kept.epochs.retired("account", 2, since)
    assert kept.epochs.due(since + keep, age, keep) == ([], [])


def test_a_suspension_that_is_lifted_makes_no_epoch_younger(kept: Kept) -> None:
    age, keep, since = timedelta(days=30), timedelta(days=35), BEGAN.replace(microsecond=0)
    for state in (S, A):
        kept.later(14)
        kept.epochs.move("account", 1, state, "doubt")
    assert kept.epochs.due(since + age - timedelta(seconds=1), age, keep) == ([], [])
    assert kept.epochs.due(since + age, age, keep) == (["account"], [])


def test_an_epoch_that_a_wrong_clock_dated_ahead_does_not_wait_for_its_day(kept: Kept) -> None:
    age, keep, since = timedelta(days=30), timedelta(days=35), BEGAN.replace(microsecond=0)
    assert kept.epochs.due(since - timedelta(days=1), age, keep) == ([], []), "clocks differ"
    assert kept.epochs.due(since - timedelta(days=1, seconds=1), age, keep) == (["account"], [])


def test_whether_an_epoch_was_ever_used(kept: Kept) -> None:
    assert kept.epochs.used("account", 1)
    kept.epochs.prepare("account", "age")
    assert not kept.epochs.used("account", 2)
    kept.epochs.move("account", 2, C, "lost")
    assert not kept.epochs.used("account", 2)
    kept.epochs.move("account", 1, D, "age")
    kept.epochs.move("account", 1, C, "lost")
    assert kept.epochs.used("account", 1)


def test_wrapped_keys_by_place(kept: Kept) -> None:
    kept.rotate()
    kept.epochs.move("account", 1, X, "due")
    wanted = {f"compartment/account/2/{part}": f"<compartment/account/2/{part}>" for part in ("kek", "index", "private")}
    assert kept.epochs.wrapped() == wanted
    kept.epochs.put("account/2/index", "new")
    assert kept.epochs.wrapped()["compartment/account/2/index"] == "new"


def test_a_keyring_of_before_states_were_kept(kept: Kept) -> None:
    at = "2025-01-01T00:00:00+00:00"
    kept.content["old"] = {"current": 2, "epochs": {"1": {"created": at, "kek": "a"}, "2": {"created": at, "kek": "b"}}}
    kept.content["lone"] = {"epochs": {"1": {"created": at}}}
    assert [kept.epochs.state("old", n) for n in (1, 2)] == [D, A]
    assert kept.epochs.state("lone", 1) is A
    assert kept.epochs.active("old") == 2
    assert kept.epochs.history("old", 1) == [{"state": "deactivated", "at": at, "reason": "made before states were kept"}]
    kept.epochs.move("old", 1, C, "lost")
    assert [step["state"] for step in kept.content["old"]["epochs"]["1"]["history"]] == ["deactivated", "compromised"]


def test_one_epoch_is_active_after_each_change(kept: Kept) -> None:
    number = kept.epochs.prepare("account", "age")
    kept.epochs.activate("account", number, "age")
    assert [kept.epochs.state("account", n) for n in (1, 2)] == [D, A]
    steps = len(kept.epochs.history("account", 2))
    kept.epochs.activate("account", 2, "again")
    assert len(kept.epochs.history("account", 2)) == steps
    kept.epochs.move("account", 2, S, "doubt")
    kept.epochs.activate("account", kept.epochs.prepare("account", "doubt"), "doubt")
    assert [kept.epochs.state("account", n) for n in (1, 2, 3)] == [D, D, A]
    assert [kept.epochs.history("account", n)[-1]["reason"] for n in (1, 2, 3)] == ["age", "doubt", "doubt"]
    with pytest.raises(KeyError):
        kept.epochs.activate("account", 9, "none")
