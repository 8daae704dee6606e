"""Where this installation lives: read from the environment, never secret."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
API_RATE = 1_200_000


class SettingsError(Exception):
    """A setting is unusable; the message names it and its mend."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` holds everything that is kept; ports count from `port` (docs/data-model.md "Processes and addresses"); `api_rate` is what each token of
    the machine API may ask in a minute: requests, and the items of batches."""

    home: Path
    port: int
    database_url: str | None
    api_rate: int = API_RATE

    @property
    def site_url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def console_url(self) -> str:
        return f"http://localhost:{self.port + 1}"

    @property
    def api_url(self) -> str:
        return f"http://localhost:{self.port + 2}"

    @property
    def mail_url(self) -> str:
        return f"http://localhost:{self.port + 3}"

    @property
    def witness_port(self) -> int:
        return self.port + 4

    @property
    def smtp_port(self) -> int:
        return self.port + 25

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def postgres(self) -> Path:
        return self.home / "postgres"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def audit_log(self) -> Path:
        return self.home / "log"

    @property
    def credentials(self) -> Path:
        """Where the processes' credentials lie while it runs: memory-backed where the machine has it; owner-only either way."""
        name = f"armonika-{os.geteuid()}-{zlib.crc32(str(self.home).encode()):08x}"
        memory = Path("/dev/shm")
        return memory / name if os.access(memory, os.W_OK) else self.run / "credentials"

    @property
    def run(self) -> Path:
        return self.home / "run"


def load() -> Settings:
    """Settings from `ARMONIKA_HOME`, `ARMONIKA_PORT`, `ARMONIKA_DATABASE_URL` and `ARMONIKA_API_RATE`. Raises SettingsError."""
    raw = os.environ.get("ARMONIKA_PORT", "8000")
    if not raw.isascii() or not raw.isdigit() or not 1024 <= int(raw) <= 65500:
        raise SettingsError("ARMONIKA_PORT must be a number from 1024 to 65500: the first of the ports that are used.")
    rate = os.environ.get("ARMONIKA_API_RATE") or str(API_RATE)
    if not rate.isascii() or not rate.isdigit() or not 1 <= int(rate) <= 1_000_000_000:
        raise SettingsError(
            "ARMONIKA_API_RATE must be a number from 1 to 1000000000: what a token of the API may ask in a minute."
        )
    home = Path(os.environ.get("ARMONIKA_HOME") or CHECKOUT / "var").absolute()
    return Settings(home=home, port=int(raw), database_url=os.environ.get("ARMONIKA_DATABASE_URL") or None, api_rate=int(rate))
