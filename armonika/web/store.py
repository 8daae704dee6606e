"""The process's one vault, opened once; pages reach it by `vault()`."""

from __future__ import annotations

import os
import threading

from armonika.settings import Settings
from armonika.trust.keys.credentials import Credentials
from armonika.trust.vault import Vault

_lock = threading.Lock()
_held: Credentials | None = None
_settings: Settings | None = None
_vault: Vault | None = None


def configure(held: Credentials, settings: Settings) -> None:
    """Names the credentials and settings of this process. The vault is opened at its first use."""
    global _held, _settings
    _held, _settings = held, settings


def config() -> Settings:
    """Settings of this process."""
    assert _settings is not None, "armonika.web.config.configure comes first"
    return _settings


def vault() -> Vault:
    """The vault of this process."""
    global _vault
    with _lock:
        if _vault is None:
            assert _held is not None, "armonika.web.config.configure comes first"
            _vault = Vault.open(_held, os.environ["ARMONIKA_DSN"])
        return _vault
