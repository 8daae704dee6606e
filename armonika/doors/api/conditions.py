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
    of them does (RFC 9110 §13.1.1). None without the header or for `*`; versions that no value has when no tag names this record, so that the store
    refuses whatever else it would refuse first (§13.2.1). Raises VersionConflict for more than are tried.

    A field that the read did not cover counts as absent then: version 0. Weak tags never match (§8.8.3.2).
    """
    if not headers or any_of(headers):
        return None
    found = _versions([tag for weak, tag in tags_of(headers) if not weak], record, changes)
    if len(found) > MOST_SEEN:
        raise VersionConflict(f"If-Match names more than {MOST_SEEN} versions of this record: read it again")
    return found or [dict.fromkeys(changes, -1)]


def known(headers: Sequence[str], record: UUID, changes: Mapping[str, str]) -> list[dict[str, int]] | None:
    """The versions of which If-None-Match says that there must be another (RFC 9110 §13.1.2; weak tags count). None for `*`, and for a field that is no
    list of tags: a change under a condition that cannot be read is not made."""
    if not headers:
        return []
    tags = [tag for _, tag in tags_of(headers)]
    return None if any_of(headers) or not tags else _versions(tags, record, changes)


def unconditional(matching: Sequence[str], unlike: Sequence[str]) -> None:
    """For what has no version of its own. Raises VersionConflict for any If-Match but `*`, which cannot hold, and for any If-None-Match: `*` cannot
    hold for what is there, and tags cannot be compared. What they guard must not be done."""
    if unlike or (matching and not any_of(matching)):
        raise VersionConflict("this operation has no version to compare: send no condition, or `If-Match: *`")


def tags_of(headers: Sequence[str]) -> list[tuple[bool, str]]:
    """The tags of a list (RFC 9110 §5.6.1, §8.8.3), each with whether it is weak; none of a field that is no such list."""
    field = ", ".join(headers)
    tags, at = [], 0
    while at < len(field):
        found = _TAG.match(field, at)
        if found is None:
            return []
        if found["tag"] is not None:
            tags.append((found["weak"] is not None, found["tag"]))
        at = found.end()
    return tags


def any_of(headers: Sequence[str]) -> bool:
    """Whether a condition is `*`, which any representation meets."""
    return [header.strip() for header in headers] == ["*"]


def _versions(tags: Sequence[str], record: UUID, changes: Mapping[str, str]) -> list[dict[str, int]]:
    """What the tags that name this record say of the changed fields, each once."""
    found: list[dict[str, int]] = []
    for tag in tags:
        name, _, versions = next((part for part in tag.split(";") if part.startswith(record.hex)), "").partition(":")
        if name:
            held = dict(pair.partition("=")[::2] for pair in versions.split(","))
            one = {field: _version(held.get(field, "0")) for field in changes}
            if one not in found:
                found.append(one)
    return found


def _version(text: str) -> int:
    """A version as a number; -1, which no value has, for what cannot be one."""
    number = int(text) if len(text) <= 10 and text.isascii() and text.isdecimal() else -1
    return number if number <= NEWEST else -1
