"""Certificates of our own processes (docs/security/transport.md): handed out with the other credentials, and renewed while everything runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from armonika.gates.channel import AUTHORITY, OWN
from armonika.settings import Settings
from armonika.store.private_files import write_private
from armonika.supervisor import tls
from armonika.trust.certificates import Authority
from armonika.trust.keys import Keyring

SERVERS: dict[str, tuple[str, ...]] = {"witness": (), "mailsink": ("localhost", "127.0.0.1")}
"""Who listens, and the names beside its own that a browser calls it by. All others only ever connect."""
DAYS = 30
UNIT_DAYS = 90
"""For a unit, whose credentials are read at its start only."""


def hand_out(authority: Authority, process: str, folder: Path, owner: tuple[int, int] | None, days: float = DAYS, own: str = OWN) -> None:  # fmt: skip
    """Writes a new certificate of `process` with its key, and the authority's, into `folder`."""
    serves = process in SERVERS
    made = authority.issue(process, f"armonika_{process}", days, server=serves, client=not serves, also=SERVERS.get(process, ()))
    write_private(folder / AUTHORITY, authority.certificate(), 0o400, owner)
    write_private(folder / own, made, 0o400, owner)


def beside(process: str) -> str:
    """The file of a second role that a process has beside its own (the worker's `retention`)."""
    return f"{process}.{OWN}"


def held(config: Settings) -> list[tuple[str, Path]]:
    """Process and file of every certificate that a running process holds."""
    own = [(path.parent.name, path) for path in config.credentials.glob(f"*/{OWN}")]
    return sorted(own + [(path.name.removesuffix(f".{OWN}"), path) for path in config.credentials.glob(f"*/*.{OWN}")])


def due(config: Settings) -> bool:
    """Whether a certificate has lived half its life, or is not of this time at all: the clock may have been set."""
    now = time.time()
    for _, path in held(config):
        begin, end = tls.lasts(path)
        if not begin <= now < begin + (end - begin) / 2:
            return True
    return False


def publish(config: Settings, authority: Authority) -> None:
    """Writes the authority's certificate where everybody may read it: for a browser that looks at the mail sink, for a server of one's own."""
    config.run.mkdir(parents=True, exist_ok=True)
    (config.run / AUTHORITY).write_bytes(authority.certificate())


def renew(config: Settings, ring: Keyring) -> list[str]:
    """New certificates for all running processes, which read them for their next connections. Returns the names."""
    authority = ring.authority()
    publish(config, authority)
    names = []
    for process, path in held(config):
        there = path.parent.stat()
        hand_out(authority, process, path.parent, (there.st_uid, there.st_gid) if os.geteuid() == 0 else None, own=path.name)
        names.append(process)
    return names
