"""The probes of claim 7a.1 see each fault of a listener as that fault, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from armonika.settings import Settings
from armonika.verify.claims.c_7a_1 import Claim
from armonika.verify.frame import Evidence
from armonika.verify.listeners import TWINS, Twin, listener

SEEN = {
    "a listener that answers plain HTTP too": "answers plain HTTP",
    "a certificate that has ended": "expired",
    "a certificate that ends in ten days": "ends in",
    "a certificate that nobody vouches for": "self-signed",
    "a listener with TLS 1.0": "TLS 1.1 or older",
    "a listener with old suites": "without AEAD",
}


def looked(twin: Twin) -> list[str]:
    evidence = Evidence()
    with listener("localhost", twin) as (port, certificate):
        Claim()._listener(evidence, Settings(Path("/nowhere"), 1, None), "127.0.0.1", port, certificate if twin.vouched else b"")
    assert evidence.examined >= 4
    return evidence.failures


def test_a_listener_without_fault_has_none() -> None:
    assert looked(Twin()) == []


@pytest.mark.parametrize("name", TWINS)
def test_a_fault_is_seen_as_what_it_is(name: str) -> None:
    found = looked(TWINS[name])
    words = {SEEN[name], "without AEAD"} if name == "a listener with TLS 1.0" else {SEEN[name]}
    assert {word for word in words for line in found if word in line} == words
    assert len(found) == len(words)
