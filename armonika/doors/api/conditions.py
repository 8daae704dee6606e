"""Conditions of a request (RFC 9110 §13): a change is made only of what its sender saw."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from armonika.trust.vault.errors import VersionConflict

NEWEST = 2**31 - 1
"""The largest version that a value can have: the store's column is an `integer`."""
MOST_SEEN = 8
"""Different versions that one request may name: each is tried against the store."""
_TAG = re.compile(r'[ \t]*(?:(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|$)')


def seen(headers: Sequence[str], record: UUID, changes: Mapping[str, str]) -> list[dict[str, int]] | None:
    """The versions that the caller saw of what it changes, from If-Match, one for each entity-tag that names this record: the condition holds when any
    of them does (RFC 9110 §13.1.1). None without the header or for `*`. Raises VersionConflict.

    A field that the read did not cover counts as absent then: version 0. Weak tags never match (§8.8.3.2).
    """
    if not headers or [header.strip() for header in headers] == ["*"]:
        return None
    found: list[dict[str, int]] = []
    for tag in _strong(", ".join(headers)):
        name, _, versions = next((part for part in tag.split(";") if part.startswith(record.hex)), "").partition(":")
        if name:
            held = dict(pair.partition("=")[::2] for pair in versions.split(","))
            one = {field: _version(held.get(field, "0")) for field in changes}
            if one not in found:
                found.append(one)
    if not found:
        raise VersionConflict("If-Match names no version of this record: read it again")
    if len(found) > MOST_SEEN:
        raise VersionConflict(f"If-Match names more than {MOST_SEEN} versions of this record: read it again")
    return found


def unconditional(headers: Sequence[str]) -> None:
    """For what has no version of its own. Raises VersionConflict for any If-Match but `*`: it cannot hold, and what it guards must not be done."""
    if headers and [header.strip() for header in headers] != ["*"]:
        raise VersionConflict("this operation has no version to compare: send no If-Match, or `*`")


def _strong(field: str) -> list[str]:
    """The strong tags of a list (RFC 9110 §5.6.1, §8.8.3); none of a field that is no such list."""
    tags, at = [], 0
    while at < len(field):
        found = _TAG.match(field, at)
        if found is None:
            return []
        if found["tag"] is not None and not found["weak"]:
            tags.append(found["tag"])
        at = found.end()
    return tags


def _version(text: str) -> int:
    """A version as a number; -1, which no value has, for what cannot be one."""
    number = int(text) if len(text) <= 10 and text.isascii() and text.isdecimal() else -1
    return number if number <= NEWEST else -1
