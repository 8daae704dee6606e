"""What changed between two policies, and which changes are material (claim 11b.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from armonika.policy.model import Policy

_KEYED = {
    "bases": "name", "purposes": "name", "retention": "name", "datasets": "name", "roles": "name", "reasons": "name", "cookies": "name", "recipients": "name",
    "places": "name", "measures": "name", "claims": "id", "clauses": "id",
}  # fmt: skip
_WORDING = {"label", "text", "heading", "why", "otherwise", "note", "purpose_text"}
_IGNORED = {"document", "sha256", "version", "effective_from"}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. Material: a category, purpose, basis, recipient, place, period, right, rule, controller or claim; not mere wording."""

    where: str
    kind: str
    before: Any
    after: Any
    material: bool

    def __str__(self) -> str:
        mark = "material" if self.material else "wording"
        return f"[{mark}] {self.where}: {self.kind}" + (f" {self.before!r} → {self.after!r}" if self.kind == "changed" else "")


def diff(before: Policy, after: Policy) -> list[Change]:
    """All differences, in a stable order."""
    return list(_compare("policy", _plain(before), _plain(after)))


def succession(before: Policy, after: Policy) -> list[str]:
    """Why `after` may not follow `before`; empty when it may. A material change needs a later date, any change another version."""
    changes = diff(before, after)
    faults = []
    if changes and after.version == before.version:
        faults.append("The text changed but the version did not. Give it a new version.")
    if any(change.material for change in changes) and after.effective_from <= before.effective_from:
        faults.append("A material change needs a later date in `effective_from` (claim 11b.1).")
    if after.effective_from < before.effective_from:
        faults.append("A version cannot take effect before the one it follows.")
    return faults


def _plain(policy: Policy) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in Policy.__dataclass_fields__:
        value = getattr(policy, name)
        if name in _IGNORED:
            continue
        if name == "doors":
            content[name] = {door: dict(held) for door, held in value.items()}
        elif name in _KEYED:
            content[name] = {getattr(item, _KEYED[name]): _row(asdict(item)) for item in value}
        elif name == "rules":
            content[name] = {
                f"{i.dataset}/{i.purpose}/{'+'.join(i.roles)}/{'+'.join(i.operations)}/{i.scope}": _row(asdict(i)) for i in value
            }
        elif name == "controller":
            content[name] = asdict(value)
        else:
            content[name] = list(value) if isinstance(value, tuple) else value
    return content


def _row(row: dict[str, Any]) -> dict[str, Any]:
    for inner, key in (("fields", "name"), ("sentences", "id")):
        if inner in row and row[inner] and isinstance(row[inner][0], dict):
            row[inner] = {item[key]: item for item in row[inner]}
    return row


def _compare(where: str, before: Any, after: Any, wording: bool = False) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}, key=str):
            here, worded = f"{where}.{key}", wording or key in _WORDING
            if key not in before:
                yield Change(here, "added", None, after[key], not worded)
            elif key not in after:
                yield Change(here, "removed", before[key], None, not worded)
            else:
                yield from _compare(here, before[key], after[key], worded)
    elif before != after:
        yield Change(where, "changed", before, after, not wording)
