"""One audit row as the bytes of one leaf: canonical JSON, names instead of numbers (docs/security/audit-log.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from functools import lru_cache
from typing import Any

COLUMNS = (
    "audit_id", "at", "operation", "outcome", "door", "actor", "actor_role", "subject", "record", "dataset", "fields", "purpose", "reason", "reference", "policy",
)  # fmt: skip


@lru_cache(maxsize=4096)
def _text(value: str | tuple[str, ...]) -> str:
    """A name, or a list of names, as JSON. The policy's names come again and again."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def encode(row: Sequence[Any]) -> bytes:
    """UTF-8 JSON: keys sorted, no space, absent values left out, times in UTC with microseconds, ids in lower-case text. `row` is in the order of
    COLUMNS. Written out by hand because sealing keeps up with the fastest writer; a test holds it to `json.dumps` for every row."""
    audit_id, at, operation, outcome, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy = (
        row
    )
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")[:26]
    parts = [f'{{"actor":"{actor}","actor_role":{_text(role)},"at":"{moment}Z","audit_id":{audit_id}']
    if dataset is not None:
        parts.append(f'"dataset":{_text(dataset)}')
    parts.append(f'"door":{_text(door)}')
    if fields is not None:
        parts.append(f'"fields":{_text(tuple(fields))}')
    parts.append(f'"operation":{_text(operation)},"outcome":{_text(outcome)},"policy":{_text(policy)}')
    if purpose is not None:
        parts.append(f'"purpose":{_text(purpose)}')
    if reason is not None:
        parts.append(f'"reason":{_text(reason)}')
    if record is not None:
        parts.append(f'"record":"{record}"')
    if reference is not None:
        parts.append(f'"reference":{json.dumps(reference, ensure_ascii=False)}')
    if subject is not None:
        parts.append(f'"subject":"{subject}"')
    parts.append('"v":1}')
    return ",".join(parts).encode()
