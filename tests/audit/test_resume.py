"""The sealer goes on from its own signed tiles: what it reads again is bounded, and what it writes is the same as if it had read everything."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika.trust import crypto
from armonika.trust.audit import entry, sealer
from armonika.trust.audit.sealer import Sealer, SealerError
from armonika.trust.audit.verify import verify
from tests.audit.rows import Rows

KEY, _ = crypto.ed25519_generate()
WORDS = st.text(min_size=1, max_size=12)


def opened(rows: Rows, folder: Path) -> Sealer:
    made = Sealer(rows, folder, "armonika.test/audit", KEY)  # type: ignore[arg-type]
    made.load()
    return made


def state(one: Sealer) -> tuple[object, ...]:
    return one._frontier.size, one._frontier.root(), one._levels, one._bundle


@given(
    st.tuples(
        st.integers(0, 2**62), st.datetimes(timezones=st.just(UTC)), WORDS, WORDS, WORDS, st.uuids(), WORDS, st.none() | st.uuids(), st.none() | st.uuids(),
        st.none() | WORDS, st.lists(WORDS, max_size=4), st.none() | WORDS, st.none() | WORDS, st.none() | WORDS, WORDS,
    )
)  # fmt: skip
def test_an_entry_is_canonical_json(row: tuple[object, ...]) -> None:
    wanted: dict[str, object] = {"v": 1}
    for name, value in zip(entry.COLUMNS, row, strict=True):
        if isinstance(value, datetime):
            value = f"{value.year:04d}-{value.month:02d}-{value.day:02d}T{value.hour:02d}:{value.minute:02d}:{value.second:02d}.{value.microsecond:06d}Z"
        if value is not None:
            wanted[name] = str(value) if isinstance(value, UUID) else value
    assert entry.encode(row) == json.dumps(wanted, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "strict"
    )


@pytest.mark.parametrize("size", [255, 257, 1024, 65_536, 65_793])
@pytest.mark.parametrize("again", [0, 300])
def test_a_resumed_sealer_is_in_the_state_of_one_that_read_everything(
    size: int, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Rows(size)
    first = opened(rows, tmp_path / "log")
    while first.seal():
        pass
    checkpoint = (tmp_path / "log" / "checkpoint").read_bytes()
    monkeypatch.setattr(sealer, "RECHECKED", again)
    rows.asked_from = size
    resumed = opened(rows, tmp_path / "log")
    assert rows.asked_from >= size - again - 255
    assert state(resumed) == state(first)
    assert (tmp_path / "log" / "checkpoint").read_bytes() == checkpoint
    rows.count += 700
    while resumed.seal():
        pass
    report = verify(tmp_path / "log", (tmp_path / "log" / "log.vkey").read_text())
    assert report.findings == []
    assert report.entries == size + 700


def test_a_tile_that_is_lost_makes_it_read_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(1000)
    first = opened(rows, tmp_path / "log")
    while first.seal():
        pass
    monkeypatch.setattr(sealer, "RECHECKED", 0)
    (tmp_path / "log" / "tile" / "1" / "000.p" / "3").unlink()
    rows.asked_from = 1000
    assert state(opened(rows, tmp_path / "log")) == state(first)
    assert rows.asked_from == 0


def test_a_database_that_is_behind_the_signed_log_or_of_another_is_refused(tmp_path: Path) -> None:
    rows = Rows(600)
    while opened(rows, tmp_path / "log").seal():
        pass
    checkpoint = (tmp_path / "log" / "checkpoint").read_bytes()
    with pytest.raises(SealerError, match="older copy"):
        opened(Rows(600, sealed=500), tmp_path / "log")
    other = Rows(600, sealed=600)
    real = other.execute
    monkey = lambda statement, parameters=(), **k: real(statement, (parameters[0] + 1, parameters[1]), **k)  # noqa: E731
    other.execute = monkey  # type: ignore[method-assign,assignment]
    other.sealed = 601
    with pytest.raises(SealerError, match="another log"):
        opened(other, tmp_path / "log")
    assert (tmp_path / "log" / "checkpoint").read_bytes() == checkpoint, "a refusal changes nothing"
