"""1a.2: every value says where it came from, when, and by which entry."""

from __future__ import annotations

from collections.abc import Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage

_ONE = "(SELECT record_id FROM vault.record LIMIT 1)"


class Claim:
    """No value without an origin and an existing audit entry of a write by which it came; demo and account values of visitors come from the person."""

    claim, hours = "1a.2", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        rows = context.rows(
            "SELECT r.dataset, r.origins[o], a.audit_id IS NOT NULL AND a.operation IN (4, 5) AND a.subject = r.subject_id, a.role, d.name "
            "FROM vault.record r CROSS JOIN LATERAL generate_subscripts(r.ciphertexts, 1) o JOIN vault.dataset d ON d.id = r.dataset "
            "LEFT JOIN vault.audit a ON a.audit_id = r.events[o] WHERE r.ciphertexts[o] IS NOT NULL ORDER BY r.created_at DESC LIMIT 100000"
        )
        for _, origin, has_event, _, name in rows:
            evidence.expect(origin in (1, 2, 3, 4), f"a value of {name} has no origin")
            evidence.expect(bool(has_event), f"a value of {name} has no entry that wrote it")
            if name == "demo":
                evidence.expect(origin == 1, "a demo request did not come from the person")
        evidence.summary = f"{len(rows)} values, each with origin and entry"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "a bought list without origin",
            lambda c: c.planted(
                f"UPDATE vault.record SET origins = array_fill(NULL::smallint, ARRAY[cardinality(origins)]) WHERE record_id = {_ONE}",
            ),
        )
        yield Sabotage(
            "a value that no entry wrote",
            lambda c: c.planted(
                f"UPDATE vault.record SET events = array_fill(-1::bigint, ARRAY[cardinality(events)]) WHERE record_id = {_ONE}"
            ),
        )
