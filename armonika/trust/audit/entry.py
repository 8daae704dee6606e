"""One audit row as the bytes of one leaf: canonical JSON, names instead of numbers (docs/security/audit-log.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

COLUMNS = (
    "audit_id", "at", "operation", "outcome", "door", "actor", "actor_role", "subject", "record", "dataset", "fields", "purpose", "reason", "reference", "policy",
)  # fmt: skip


def encode(row: Sequence[Any]) -> bytes:
    """UTF-8 JSON: keys sorted, no space, absent values left out, times in UTC with microseconds, ids in lower-case text. `row` is in the order of COLUMNS."""
    content: dict[str, Any] = {"v": 1}
    for name, value in zip(COLUMNS, row, strict=True):
        if value is None:
            continue
        if name == "at":
            value = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif name in ("actor", "subject", "record"):
            value = str(value)
        elif name == "fields":
            value = list(value)
        content[name] = value
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
