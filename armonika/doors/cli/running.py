"""The running installation that a command speaks to."""

from __future__ import annotations

from armonika.settings import Settings
from armonika.store.embedded import Embedded


def admin_dsn(config: Settings) -> str:
    """The administrator's DSN of the installation in `config.home`. Raises KeyFileError when there is none."""
    return config.database_url or Embedded(config.postgres, config.keys).admin_dsn
