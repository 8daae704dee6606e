"""The checks that exist, by claim."""

from __future__ import annotations

import importlib

from armonika.verify.frame import Check

CLAIMS = (
    "T0",
    "P1",
    "1a.1",
    "1a.2",
    "1a.4",
    "2a.0",
    "3a.3",
    "6a.6",
    "6a.9",
    "7a.1",
    "7a.2",
    "7a.3",
    "7a.4",
    "7a.5",
    "7a.6",
    "8a.1",
    "8a.2",
    "8a.3",
    "9a.1",
    "9a.2",
    "9a.3",
    "9b.1",
)


def names() -> tuple[str, ...]:
    """Ids of the claims that have a check."""
    return CLAIMS


def load(claim: str) -> Check:
    """The check of a claim: module claims/c_<id>.py, class Claim."""
    module = importlib.import_module(f"armonika.verify.claims.c_{claim.lower().replace('.', '_')}")
    made: Check = module.Claim()
    return made
