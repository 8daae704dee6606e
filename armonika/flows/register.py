"""Register an organisation: its first member becomes its administrator."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from armonika.flows.errors import Faults
from armonika.flows.fields import checked
from armonika.policy import Policy
from armonika.rules import password as password_rules
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Duplicate
from armonika.trust.vault.types import NewRecord


def register_organisation(
    vault: Vault, policy: Policy, typed: Mapping[str, str], password: str, professional: bool, language: str
) -> None:
    """Stores the account and sends the letter that verifies the address. A taken address looks the same to the caller: its owner gets a letter
    instead. Raises Faults. Claims 1a.1, 1a.2, 1a.4, 10a.1."""
    faults: dict[str, str] = {}
    values: dict[str, str] = {}
    try:
        values = checked(policy, "account", typed)
    except Faults as found:
        faults |= found.fields
    problem = password_rules.problem(password, (typed.get("email", ""), typed.get("company", "")))
    if problem:
        faults["password"] = problem
    if not professional:
        faults["professional"] = "unchecked"
    if faults:
        raise Faults(faults)
    try:
        vault.create(
            vault.service, "provide", "register", [NewRecord("account", values, "subject", kind="customer_user", org=uuid4())],
            password=password, role="admin", jobs=[f"send-verification:{language}"],
        )  # fmt: skip
    except Duplicate:
        vault.enqueue_to(f"send-already-registered:{language}", "account", values["email"])
