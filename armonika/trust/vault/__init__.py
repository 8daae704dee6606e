"""The vault: personal data in, out and away, for a purpose, by a proven actor, with an audit row (docs/data-model.md)."""

from armonika.trust.vault.asynchronous import AsyncVault
from armonika.trust.vault.reader import secret_hash
from armonika.trust.vault.vault import Unverified, Vault, new_secret

__all__ = ["AsyncVault", "Unverified", "Vault", "new_secret", "secret_hash"]
