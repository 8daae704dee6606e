"""Confirm an e-mail address, or choose a new password, with a letter's token."""

from __future__ import annotations

from armonika.flows.errors import Faults
from armonika.rules import password as password_rules
from armonika.trust.vault import Vault
from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.errors import Invalid


def confirm(vault: Vault, token: str) -> None:
    """The address is verified. Raises Refused for a token that is used, ended or unknown."""
    vault.redeem_challenge(token, "verify-address")


def request_reset(vault: Vault, email: str, language: str, client: str) -> None:
    """Sends a letter to the owner of the address, if there is one; the caller learns nothing. Raises Faults, Throttled."""
    try:
        address = canonical_email(email)
    except Invalid:
        raise Faults({"email": "email"}) from None
    vault.throttle(f"reset/client/{client}".encode(), 5, 10)
    vault.throttle(f"reset/account/{address}".encode(), 0.2, 3)
    vault.enqueue_to(f"send-reset:{language}", "account", email)


def reset(vault: Vault, token: str, password: str) -> None:
    """Sets the new password and ends every session. Raises Faults, Refused."""
    problem = password_rules.problem(password)
    if problem:
        raise Faults({"password": problem})
    vault.redeem_challenge(token, "reset-password", password)
