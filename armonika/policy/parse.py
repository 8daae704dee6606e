"""TOML text to `Policy`. Every fault is a PolicyError that says where it is and how to mend it; nothing else is ever raised."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from armonika.policy import model
from armonika.policy.model import Policy, Text

MAX_BYTES = 4 * 1024 * 1024
T = TypeVar("T")


class PolicyError(Exception):
    """The policy file cannot be understood."""


class _Table:
    """A TOML table that knows where it stands, and which of its keys were used: an unknown key is a fault, not a comment."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise PolicyError(f"{where}: expected a table ([{where}]), found {type(content).__name__}.")
        self._content, self.where, self._used = content, where, set[str]()

    def has(self, key: str) -> bool:
        return key in self._content

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        self._used.add(key)
        value = self._content.get(key, default)
        if value is None:
            raise PolicyError(f"{self.where}: `{key}` is missing. Add {key} = … ({kind.__name__}).")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise PolicyError(f"{self.where}: `{key}` must be a {kind.__name__}.")
        return value

    def names(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        value = self.get(key, list, None if default is None else list(default))
        if not all(isinstance(item, str) for item in value):
            raise PolicyError(f"{self.where}: `{key}` must be a list of names.")
        return tuple(value)

    def text(self, key: str) -> Text:
        table = _Table(self.get(key, dict), f"{self.where}.{key}")
        made = Text(table.get("en", str), table.get("fr", str), table.get("ar", str))
        table.finish({"code"})
        return made

    def table(self, key: str) -> _Table:
        return _Table(self.get(key, dict), f"{self.where}.{key}" if self.where != "policy" else key)

    def tables(self, key: str, make: Callable[[_Table], T], *, needed: bool = True) -> tuple[T, ...]:
        value = self.get(key, list, None if needed else [])
        made = []
        for number, item in enumerate(value, start=1):
            label = item.get("name") or item.get("id") if isinstance(item, dict) else None
            table = _Table(item, f"[[{key}]] {label if isinstance(label, str) else number}")
            made.append(make(table))
            table.finish()
        return tuple(made)

    def finish(self, known: set[str] | frozenset[str] = frozenset()) -> None:
        extra = set(self._content) - self._used - known
        if extra:
            raise PolicyError(f"{self.where}: unknown key `{sorted(map(str, extra))[0]}`. Remove it, or correct its spelling.")


def _field(t: _Table) -> model.Field:
    return model.Field(
        t.get("name", str), t.get("category", str), t.get("required", bool), t.get("indexed", bool, False), t.get("unique", bool, False),
        t.get("max_length", int), t.names("purposes", ()), t.get("retention", str, ""), t.text("label"), t.text("why"), t.text("otherwise"),
    )  # fmt: skip


def _dataset(t: _Table) -> model.Dataset:
    return model.Dataset(
        t.get("name", str),
        t.get("compartment", str),
        t.get("subject", str),
        t.names("collected"),
        t.text("label"),
        t.tables("field", _field),
    )


def _rule(t: _Table) -> model.Rule:
    return model.Rule(
        t.names("roles"),
        t.get("purpose", str),
        t.get("dataset", str),
        t.names("operations"),
        t.get("scope", str),
        t.names("fields"),
    )


def _named(t: _Table) -> model.Named:
    label = t.text("label") if t.has("label") else Text(t.get("name", str), t.get("name", str), t.get("name", str))
    kind = t.get("kind", str, "") or t.get("country", str, "") or "measure"
    return model.Named(t.get("name", str), kind, label, t.names("claims", ()))


def _sentence(t: _Table) -> model.Sentence:
    return model.Sentence(t.get("id", str), t.names("claims", ()), t.text("text"), t.get("note", str, ""))


def _doors(table: _Table, content: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    made: dict[str, dict[str, str]] = {}
    for door in content:
        inner = table.get(door, dict)
        if not all(isinstance(mode, str) for mode in inner.values()):
            raise PolicyError(f'doors.{door}: each compartment is "full" or "seal".')
        made[str(door)] = {str(name): str(mode) for name, mode in inner.items()}
    return model.frozen(made)


def parse(document: str) -> Policy:
    """The policy in `document`. Raises PolicyError."""
    if len(document) > MAX_BYTES:
        raise PolicyError("The policy is larger than 4 MiB. Move nothing but the policy into it.")
    try:
        content = tomllib.loads(document)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError(f"Not valid TOML: {error}. Mend the named place.") from None
    except ValueError as error:
        raise PolicyError(f"Not valid TOML: {error}.") from None
    top = _Table(content, "policy")
    try:
        effective = date.fromisoformat(top.get("effective_from", str))
    except ValueError:
        raise PolicyError('policy: `effective_from` must be an exact date such as "2026-06-01".') from None
    c = top.table("controller")
    country = c.get("country", dict)
    controller = model.Controller(
        c.get("name", str), c.get("address", str), _Table(country, "controller.country").get("code", str), c.text("country"),
        c.get("privacy_email", str), c.text("authority"),
    )  # fmt: skip
    c.finish()
    k = top.table("copies")
    copies = model.Copies(k.get("epoch_days", int), k.get("keep_days", int), k.get("site", str))
    k.finish()
    doors = top.get("doors", dict)
    policy = Policy(
        version=top.get("version", str), effective_from=effective, languages=top.names("languages"), governing_languages=top.names("governing_languages"),
        governing_law=top.get("governing_law", str), time_zone=top.get("time_zone", str), while_restricted=top.names("while_restricted"), controller=controller,
        bases=top.tables("basis", lambda t: model.Basis(t.get("name", str), t.text("label"))),
        purposes=top.tables("purpose", lambda t: model.Purpose(t.get("name", str), t.get("basis", str, ""), t.text("label"))),
        retention=top.tables("retention", lambda t: model.Retention(t.get("name", str), t.get("after", str), t.get("days", int), t.get("starts", str), t.get("locked", bool, False), t.text("label"))),
        copies=copies, compartments=top.tables("compartment", lambda t: t.get("name", str)), doors=_doors(_Table(doors, "doors"), doors),
        datasets=top.tables("dataset", _dataset),
        roles=top.tables("role", lambda t: model.Role(t.get("name", str), t.get("kind", str), t.text("label"))),
        reasons=top.tables("reason", lambda t: model.Reason(t.get("name", str), t.names("purposes"), t.text("label"))),
        rules=top.tables("rule", _rule),
        cookies=top.tables("cookie", lambda t: model.Cookie(t.get("name", str), t.names("flags"), t.get("max_age_hours", int), t.get("journey", str, ""), t.text("purpose")),
                           needed=False),
        recipients=top.tables("recipient", _named), places=top.tables("place", _named), measures=top.tables("measure", _named),
        clauses=top.tables("clause", lambda t: model.Clause(t.get("id", str), t.text("heading"), t.tables("sentence", _sentence)), needed=False),
        claims=top.tables("claim", lambda t: model.Claim(t.get("id", str), t.get("check", str, ""), t.get("severity", str, "V3"), t.get("reason", str, "")), needed=False),
        document=document, sha256=canonical_sha256(content),
    )  # fmt: skip
    top.finish()
    return policy


def canonical_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content as canonical JSON: comments and layout of the file do not change it, every value does."""
    try:
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()
    except (UnicodeEncodeError, ValueError, RecursionError):
        raise PolicyError("A text of the policy holds characters that cannot be written.") from None
