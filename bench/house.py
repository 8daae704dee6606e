"""A fresh installation with an open vault, a keeper and a desk, for benchmarks that change keys."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from armonika import policy
from armonika.settings import Settings
from armonika.supervisor.installation import Installation
from armonika.supervisor.key_desk import KeyDesk
from armonika.trust.keys import credentials
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault import Vault, secret_hash
from armonika.trust.vault.keeper import Keeper
from armonika.trust.vault.types import SecretHash


@dataclass
class House:
    """What a benchmark needs."""

    config: Settings
    dsn: str
    desk: KeyDesk
    vault: Vault
    keeper: Keeper
    sealer: credentials.Credentials
    token: SecretHash


@contextmanager
def house() -> Iterator[House]:
    """Made in /var/tmp and removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="armonika-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    config = Settings(home, 19100, None)
    installation = Installation(config)
    try:
        installation.lock()
        installation.start()
        for door in ("api", "keeper", "sealer"):
            installation.hand_out(door)
        held = {door: credentials.load(door, config.credentials / door) for door in ("api", "keeper", "sealer")}
        vault, keeper = Vault.open(held["api"], installation.dsn), Keeper(held["keeper"], installation.dsn)
        desk = KeyDesk(config, policy.load(), installation.admin_dsn)
        yield House(
            config,
            installation.dsn,
            desk,
            vault,
            keeper,
            held["sealer"],
            secret_hash(issue_token(installation.admin_dsn, label="bench")),
        )
        vault.close()
        keeper.close()
    finally:
        installation.close()
        shutil.rmtree(home, ignore_errors=True)
