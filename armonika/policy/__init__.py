"""The privacy policy as data: parse, compile, check, render, diff. Pure."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from armonika.policy.model import Policy
from armonika.policy.parse import PolicyError, parse

DEFAULT = Path(__file__).resolve().parents[2] / "policy" / "armonika.toml"

__all__ = ["DEFAULT", "Policy", "PolicyError", "load", "parse"]


@lru_cache(maxsize=4)
def _load(path: Path) -> Policy:
    return load_text(path.read_bytes())


def load_text(raw: bytes) -> Policy:
    """A policy from the bytes of its file."""
    try:
        return parse(raw.decode())
    except UnicodeDecodeError as error:
        raise PolicyError(f"The policy is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def load(path: Path | None = None) -> Policy:
    """The policy in `path` (default: the checkout's). Raises PolicyError."""
    try:
        return _load(path or DEFAULT)
    except OSError as error:
        raise PolicyError(f"{path or DEFAULT} cannot be read: {error.strerror}.") from None
