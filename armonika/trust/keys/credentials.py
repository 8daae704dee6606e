"""What one door holds: written for its operating-system user alone, in memory-backed storage, read once at its start.

The folder is named in `CREDENTIALS_DIRECTORY`, as systemd's LoadCredential does; the secrets themselves never stand in an environment.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import UUID

from armonika.store.private_files import KeyFileError, read_private, write_private


@dataclass(frozen=True, slots=True, repr=False)
class EpochKeys:
    """Keys of one compartment and epoch. A write-only door has no `kek` and no `private`."""

    public: bytes
    index: bytes
    kek: bytes | None = None
    private: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CompartmentKeys:
    """Key material by epoch. Which epoch is written now is the database's word (`vault.epoch`), never that of a file."""

    mode: Literal["full", "seal"]
    epochs: dict[int, EpochKeys]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """All secrets of one door. It has no `repr`, so that a traceback shows none."""

    door: str
    database_password: str
    service_actor: UUID
    service_secret: bytes
    web_key: bytes
    throttle_key: bytes | None = None
    pepper: bytes | None = None
    log_key: bytes | None = None
    compartments: dict[str, CompartmentKeys] = field(default_factory=dict)
    source: Path | None = None
    """The folder that they were read from, where a new epoch appears; None when they were never in a file."""

    @property
    def database_user(self) -> str:
        """The database role of this door."""
        return f"armonika_{self.door}"


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def write(credentials: Credentials, folder: Path, owner: tuple[int, int] | None = None) -> Path:
    """Writes `<folder>/<door>.json`, mode 0400, owned by `owner` (uid, gid) when given. Returns its path."""
    content = {
        "door": credentials.door,
        "database_password": credentials.database_password,
        "service_actor": str(credentials.service_actor),
        "service_secret": _text(credentials.service_secret),
        "web_key": _text(credentials.web_key),
        "throttle_key": _text(credentials.throttle_key),
        "pepper": _text(credentials.pepper),
        "log_key": _text(credentials.log_key),
        "compartments": {
            name: {
                "mode": keys.mode,
                "epochs": {
                    str(number): {part: _text(getattr(epoch, part)) for part in ("public", "index", "kek", "private")}
                    for number, epoch in keys.epochs.items()
                },
            }
            for name, keys in credentials.compartments.items()
        },
    }
    path = folder / f"{credentials.door}.json"
    write_private(path, json.dumps(content).encode(), 0o400, owner)
    return path


def load(door: str, folder: Path | None = None) -> Credentials:
    """Reads the credentials of `door` from `folder` (default: `CREDENTIALS_DIRECTORY`). Raises KeyFileError."""
    if folder is None:
        name = os.environ.get("CREDENTIALS_DIRECTORY")
        if not name:
            raise KeyFileError("CREDENTIALS_DIRECTORY is not set: start this process by `armonika serve` or its systemd unit.")
        folder = Path(name)
    path = folder / f"{door}.json"
    try:
        content = json.loads(read_private(path))
        return Credentials(
            door=content["door"],
            database_password=content["database_password"],
            service_actor=UUID(content["service_actor"]),
            service_secret=base64.b64decode(content["service_secret"]),
            web_key=base64.b64decode(content["web_key"]),
            throttle_key=_bytes(content["throttle_key"]),
            pepper=_bytes(content["pepper"]),
            log_key=_bytes(content["log_key"]),
            compartments={
                name: CompartmentKeys(
                    mode=keys["mode"],
                    epochs={
                        int(number): EpochKeys(
                            public=base64.b64decode(epoch["public"]),
                            index=base64.b64decode(epoch["index"]),
                            kek=_bytes(epoch["kek"]),
                            private=_bytes(epoch["private"]),
                        )
                        for number, epoch in keys["epochs"].items()
                    },
                )
                for name, keys in content["compartments"].items()
            },
            source=folder,
        )
    except (ValueError, KeyError, TypeError):
        raise KeyFileError(f"{path} is damaged. Start again: it is written anew at each start.") from None
