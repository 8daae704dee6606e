"""A visitor asks for a demo. The site can write the request and never read it back."""

from __future__ import annotations

from collections.abc import Mapping

from armonika.flows.fields import checked
from armonika.policy import Policy
from armonika.trust.vault import Vault
from armonika.trust.vault.types import NewRecord


def request_demo(vault: Vault, policy: Policy, typed: Mapping[str, str]) -> None:
    """Stores the request. Raises Faults. Claims 1a.1, 1a.3."""
    values = checked(policy, "demo", typed)
    vault.create(vault.service, "provide", "demo-request", [NewRecord("demo", values, "subject", kind="prospect")])
