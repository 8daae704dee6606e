"""A report grows old: nothing stays TRUE beyond its proof, sentences and counts included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from armonika.verify.report import freshened

MADE = datetime(2026, 11, 25, 12, tzinfo=UTC)
REPORT: dict[str, Any] = {
    "finished_at": MADE.isoformat(), "policy": {"version": "1", "sha256": "of the run"}, "counts": {"TRUE": 2, "FALSE": 1, "UNPROVEN": 1},
    "claims": [
        {"claim": "7a.3", "verdict": "TRUE", "hours": 24}, {"claim": "3a.3", "verdict": "TRUE", "hours": 48},
        {"claim": "7a.5", "verdict": "FALSE", "hours": 24}, {"claim": "7a.8", "verdict": "UNPROVEN", "hours": 24},
    ],
    "sentences": [
        {"sentence": "a", "verdict": "TRUE", "claims": ["7a.3", "3a.3"]}, {"sentence": "b", "verdict": "TRUE", "claims": ["3a.3"]},
        {"sentence": "c", "verdict": "FALSE", "claims": ["7a.3", "7a.5"]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "policy", "claims", "sentences"),
    [
        (24, "of the run", ["TRUE", "TRUE"], ["TRUE", "TRUE"]),
        (24, None, ["TRUE", "TRUE"], ["TRUE", "TRUE"]),
        (25, "of the run", ["STALE", "TRUE"], ["STALE", "TRUE"]),
        (49, "of the run", ["STALE", "STALE"], ["STALE", "STALE"]),
        (1, "another", ["STALE", "STALE"], ["STALE", "STALE"]),
    ],
)
def test_what_is_older_than_its_proof_is_stale(hours: int, policy: str | None, claims: list[str], sentences: list[str]) -> None:
    shown = freshened(REPORT, MADE + timedelta(hours=hours), policy)
    assert [row["verdict"] for row in shown["claims"]] == [*claims, "FALSE", "UNPROVEN"]
    assert [row["verdict"] for row in shown["sentences"]] == [*sentences, "FALSE"]
    assert shown["counts"].get("STALE", 0) == claims.count("STALE")
    assert REPORT["claims"][0]["verdict"] == "TRUE"
