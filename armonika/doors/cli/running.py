"""The running installation that a command speaks to."""

from __future__ import annotations

from armonika.policy import Policy
from armonika.policy.compile import catalogue
from armonika.settings import Settings
from armonika.store.embedded import Embedded
from armonika.supervisor.installation import dsn_of
from armonika.trust.keys import Keyring
from armonika.trust.vault import Vault


def admin_dsn(config: Settings) -> str:
    """The administrator's DSN of the installation in `config.home`. Raises KeyFileError when there is none."""
    return config.database_url or Embedded(config.postgres, config.keys).admin_dsn


def open_door(config: Settings, policy: Policy, door: str) -> Vault:
    """The vault as `door`, by the keys in `config.home`: for commands of the operator that act through a door. Raises KeyFileError."""
    held = {entry["compartment"]: entry["mode"] for entry in catalogue(policy)["doors"] if entry["door"] == door}
    return Vault.open(Keyring.open(config.keys).credentials(door, held), dsn_of(admin_dsn(config)), size=2)
