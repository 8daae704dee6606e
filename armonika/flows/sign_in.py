"""Sign in and out. The same answer and the same work for a wrong password and an unknown address."""

from __future__ import annotations

from armonika.trust.vault import Vault
from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.errors import Invalid, Refused
from armonika.trust.vault.types import Actor, SecretHash

SESSION_SECONDS = 8 * 3600


def sign_in(vault: Vault, dataset: str, email: str, password: str, client: str) -> tuple[str, Actor]:
    """Opens a session. Raises Refused (one answer for everything that is wrong), Unverified, Throttled.

    Two counts: by the client's network address, and by (account, client), so that a stranger elsewhere cannot lock somebody out;
    a wider one by account alone slows down distributed guessing.
    """
    try:
        address = canonical_email(email)
    except Invalid:
        address = "?" + email[:254]
    vault.throttle(f"sign-in/client/{client}".encode(), 60, 60)
    vault.throttle(f"sign-in/pair/{address}/{client}".encode(errors="replace"), 6, 8)
    vault.throttle(f"sign-in/account/{address}".encode(errors="replace"), 60, 60)
    try:
        return vault.sign_in(dataset, email, password, SESSION_SECONDS)
    except Invalid:
        raise Refused("the address and the password do not belong together") from None


def sign_out(vault: Vault, secret: SecretHash) -> None:
    """Ends the session."""
    vault.sign_out(secret)
