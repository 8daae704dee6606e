"""Runs checks and reports: table, JSON, and the page /trust."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from armonika.verify import checks, frame
from armonika.verify.context import Context
from armonika.verify.frame import Result

REPAIR = "Change the system so that the check passes, or change the sentence to what is true; `armonika verify CLAIM` tells more."


def run(context: Context, wanted: Sequence[str], sabotage: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """Checks the wanted claims (all that have a check when empty); every other claim of the policy is listed with its mark."""
    results: list[Result] = []
    for claim in context.policy.claims:
        if claim.id in checks.names():
            if wanted and claim.id not in wanted:
                results.append(Result(claim.id, "UNPROVEN", summary="not part of this run"))
                continue
            progress(f"{claim.id} …")
            began = time.monotonic()
            try:
                result = frame.run(checks.load(claim.id), context, sabotage)
            except Exception as error:
                result = Result(
                    claim.id,
                    "UNPROVEN",
                    summary=f"the probe could not run: {type(error).__name__}",
                    failures=[type(error).__name__],
                )
            result.seconds = round(time.monotonic() - began, 2)
            results.append(result)
        else:
            # An attestation needs a signed statement: until one is kept, the claim is unproven, whatever its kind.
            results.append(Result(claim.id, "UNPROVEN", summary=claim.reason))
    context.clear()
    return build(context, results)


def build(context: Context, results: Sequence[Result]) -> dict[str, Any]:
    """The report as plain JSON."""
    now = datetime.now(UTC)
    verdicts = {result.claim: result.verdict for result in results}
    sentences = [
        {"sentence": sentence.id, "verdict": "TRUE" if sentence.claims and all(verdicts.get(c) in ("TRUE", "ATTESTED") for c in sentence.claims) else
         "FALSE" if any(verdicts.get(c) == "FALSE" for c in sentence.claims) else "UNPROVEN", "claims": list(sentence.claims)}
        for clause in context.policy.clauses for sentence in clause.sentences
    ]  # fmt: skip
    claims = [asdict(result) | ({"repair": REPAIR} if result.verdict == "FALSE" else {}) for result in results]
    return {
        "finished_at": now.isoformat(timespec="seconds"), "policy": {"version": context.policy.version, "sha256": context.policy.sha256},
        "total": len(results), "counts": dict(Counter(result.verdict for result in results)),
        "sabotage": {"planted": sum(r.planted for r in results), "caught": sum(r.caught for r in results)},
        "examined": sum(result.examined for result in results), "claims": claims, "sentences": sentences,
        "evidence_sha256": hashlib.sha256(json.dumps(claims, sort_keys=True, ensure_ascii=False).encode()).hexdigest(),
    }  # fmt: skip


def freshened(report: dict[str, Any], now: datetime, policy: str | None = None) -> dict[str, Any]:
    """The report as it stands at `now`: a proof older than its limit, or of another policy than the one in force (`policy`, its SHA-256), is STALE, not TRUE."""
    age = (now - datetime.fromisoformat(report["finished_at"])).total_seconds() / 3600
    other = policy is not None and policy != report["policy"]["sha256"]

    def stale(row: dict[str, Any]) -> bool:
        return bool(row["verdict"] == "TRUE" and (other or age > row["hours"]))

    old = {row["claim"] for row in report["claims"] if stale(row)}
    claims = [row | {"verdict": "STALE"} if row["claim"] in old else row for row in report["claims"]]
    sentences = [
        row | {"verdict": "STALE"} if row["verdict"] == "TRUE" and old & set(row["claims"]) else row
        for row in report["sentences"]
    ]
    return report | {"claims": claims, "sentences": sentences, "counts": dict(Counter(row["verdict"] for row in claims))}


def table(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{'claim':<8}{'verdict':<10}{'examined':>9}  {'sabotage':<9} evidence"]
    for row in report["claims"]:
        planted = f"{row['caught']}/{row['planted']}" if row["planted"] else ""
        lines.append(f"{row['claim']:<8}{row['verdict']:<10}{row['examined']:>9}  {planted:<9} {row['summary']}")
        lines += [f"{'':<28}  ! {failure}" for failure in row["failures"]]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(report["counts"].items()))
    s = report["sabotage"]
    lines.append(
        f"\n{len(report['sentences'])} sentences, {report['total']} claims: {counts}. Objects examined: {report['examined']}. Sabotages planted {s['planted']}, caught {s['caught']}."
    )
    return "\n".join(lines)


def note(text: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
