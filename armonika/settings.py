"""Where this installation lives: read from the environment, never secret."""

from __future__ import annotations

import ipaddress
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
API_RATE = 1_200_000
API_CONNECTIONS, API_PEER_CONNECTIONS = 2048, 512


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
    host: str = "localhost"
    listen: str = "127.0.0.1"
    tls: Path | None = None
    """Folder with `cert.pem` (the chain) and `key.pem`; None: HTTP, on loopback only."""
    api_clients: Path | None = None
    """Certificates of the authorities whose clients the API admits (mutual TLS); None: a token is enough."""
    mail_server: tuple[str, int] | None = None
    """Name and port of the operator's mail server; None: the mail sink on this machine."""
    api_connections: int = API_CONNECTIONS
    """Connections that the machine API holds at a time; further ones wait."""
    api_peer_connections: int = API_PEER_CONNECTIONS
    """How many of them one peer may hold."""

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def site_url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def console_url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port + 1}"

    @property
    def api_url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port + 2}"

    @property
    def mail_url(self) -> str:
        return f"https://localhost:{self.port + 3}"

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
    def drill(self) -> Path:
        """Where a backup is tried, for the minutes that it takes: keys lie there meanwhile."""
        return self.home / "drill"

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
    """Settings from the environment (docs/operate.md). Raises SettingsError."""
    raw = os.environ.get("ARMONIKA_PORT", "8000")
    if not raw.isascii() or not raw.isdigit() or not 1024 <= int(raw) <= 65500:
        raise SettingsError("ARMONIKA_PORT must be a number from 1024 to 65500: the first of the ports that are used.")
    rate = os.environ.get("ARMONIKA_API_RATE") or str(API_RATE)
    if not rate.isascii() or not rate.isdigit() or not 1 <= int(rate) <= 1_000_000_000:
        raise SettingsError(
            "ARMONIKA_API_RATE must be a number from 1 to 1000000000: what a token of the API may ask in a minute."
        )
    connections = _count("ARMONIKA_API_CONNECTIONS", API_CONNECTIONS)
    # One home has one name, by whatever link it is reached: the credentials of its running processes are found by it.
    home = Path(os.environ.get("ARMONIKA_HOME") or CHECKOUT / "var").resolve()
    named = {name: Path(value).absolute() for name in ("ARMONIKA_TLS", "ARMONIKA_API_CLIENTS") if (value := os.environ.get(name))}
    made = Settings(
        home, int(raw), os.environ.get("ARMONIKA_DATABASE_URL") or None, int(rate), os.environ.get("ARMONIKA_HOST") or "localhost",
        os.environ.get("ARMONIKA_LISTEN") or "127.0.0.1", named.get("ARMONIKA_TLS"), named.get("ARMONIKA_API_CLIENTS"), _mail_server(os.environ.get("ARMONIKA_MAIL_SERVER") or ""),
        connections, _count("ARMONIKA_API_PEER_CONNECTIONS", min(API_PEER_CONNECTIONS, connections)),
    )  # fmt: skip
    try:
        loopback = ipaddress.ip_address(made.listen).is_loopback
    except ValueError:
        raise SettingsError("ARMONIKA_LISTEN must be an address of this machine, such as 127.0.0.1 or 0.0.0.0.") from None
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", made.host):
        raise SettingsError("ARMONIKA_HOST must be a host name, without scheme and port.")
    if not made.tls and (not loopback or made.api_clients):
        raise SettingsError(
            "Without TLS only loopback is served: set ARMONIKA_TLS to a folder with cert.pem and key.pem, or leave ARMONIKA_LISTEN and ARMONIKA_API_CLIENTS out."
        )
    return made


def _count(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 16 <= int(text) <= 65536:
        raise SettingsError(f"{name} must be a number from 16 to 65536: connections of the API, of all peers or of one.")
    return int(text)


def _mail_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", host) or not (port or "587").isdigit() or not 1 <= int(port or "587") <= 65535:
        raise SettingsError("ARMONIKA_MAIL_SERVER must be a host name, with a port behind a colon if it is not 587.")
    return host, int(port or "587")
