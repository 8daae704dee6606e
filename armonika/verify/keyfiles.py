"""Where secrets lie and where they must not: files, logs, environments, command lines, and what each process was given (claim 7a.6)."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armonika.settings import Settings
from armonika.trust.keys import Keyring
from armonika.trust.keys.journal import FILE as JOURNAL
from armonika.trust.keys.keyring import FILE
from armonika.verify.context import Context
from armonika.verify.frame import Evidence
from armonika.verify.scan import pieces

KEPT = {FILE, JOURNAL, "root.key", "postgres", ".lock"}
"""All that may lie in the folder of keys."""
MOST_DRILL_SECONDS = 3600
_MARKS = (b"armonika-keyring/", b"armonika-root-key/")
_PIECE = re.compile(rb"[0-9a-f]{64}")


def secrets(config: Settings, compartments: list[str]) -> list[bytes]:
    """Every secret of the installation that the keyring, the root's file, the server's password and the witness hold."""
    ring = Keyring.open(config.keys)
    found = [bytes.fromhex(password) for password in ring.database_passwords().values()]
    for door in ring.database_passwords():
        held = ring.credentials(door, {})
        found += [part for part in (held.service_secret, held.web_key, held.pepper, held.throttle_key, held.log_key) if part]
    for keys in ring.credentials("verifier", dict.fromkeys(compartments, "full")).compartments.values():
        found += [part for epoch in keys.epochs.values() for part in (epoch.kek, epoch.private, epoch.index) if part]
    found.append(ring.secret("authority"))
    for path in (config.keys / "postgres", config.home / "witness" / "witness.key", config.keys / "root.key"):
        if path.exists():
            text = path.read_bytes()
            found += [bytes.fromhex(one.decode()) for one in _PIECE.findall(text)]
            found += [
                raw
                for one in re.findall(rb'"([A-Za-z0-9+/]{43,}={0,2})"', text)
                if len(raw := base64.b64decode(one + b"==")) >= 32
            ]
    return found


def forms(held: list[bytes]) -> list[bytes]:
    """How a secret may stand somewhere: as it is, in hex, in base64 and in base64 for addresses, whatever stands around it."""
    made = set()
    for secret in held:
        made |= {
            secret,
            secret.hex().encode(),
            secret.hex().upper().encode(),
            base64.b64encode(secret).rstrip(b"="),
            base64.urlsafe_b64encode(secret).rstrip(b"="),
        }
    return sorted(made)


def shown(held: list[bytes]) -> tuple[int, list[str]]:
    """How many processes of the machine can be looked at, and whose environment or command line shows a secret."""
    wanted, looked, found = forms(held), 0, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes()
            if os.access(folder / "environ", os.R_OK):
                text += (folder / "environ").read_bytes()
        except OSError:
            continue
        looked += 1
        if any(form in text for form in wanted):
            found.append(folder.name)
    return looked, found


def written(context: Context, held: list[bytes]) -> tuple[int, list[str]]:
    """How many files of the home there are, and which of them hold a secret or a copy of the keys. The database and the backups are the business of
    claim 6a.6, but for copies of the key files themselves; a drill's copy lives for its minutes, and counts when it outlives them."""
    wanted, config, looked, found = forms(held), context.settings, 0, []
    copy = config.drill
    left = copy.exists() and time.time() - copy.stat().st_mtime > MOST_DRILL_SECONDS
    longest = max(map(len, wanted))
    apart = (config.postgres, config.home / "backups")
    for path in _files(config.home, {config.keys} if left else {config.keys, copy}):
        if path in (config.home / "witness" / "witness.key", config.home / "ballast"):
            continue
        looked += 1
        marks = list(_MARKS) if any(path.is_relative_to(place) for place in apart) else [*_MARKS, *wanted]
        try:
            if any(mark in piece for piece in pieces(path, longest) for mark in marks):
                found.append(str(path))
        except OSError:
            continue
    return looked, found


def _files(top: Path, without: set[Path]) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        yield from (path for name in names if (path := Path(folder, name)).is_file() and not path.is_symlink())


def modes(context: Context, evidence: Evidence) -> None:
    """The folder of keys holds what it should and nothing beside; key files are their owner's alone."""
    config = context.settings
    evidence.expect(stat.S_IMODE(config.keys.stat().st_mode) & 0o077 == 0, "the folder of keys is open to others")
    for path in sorted(config.keys.rglob("*")):
        if (path.name.startswith(".") and Path("/proc", path.name.rpartition(".")[2]).exists()) or not path.exists():
            continue  # a living process is writing
        evidence.expect(
            path.name in KEPT and path.parent == config.keys, f"{path.name} lies beside the keys: an old key in it would live on"
        )
        evidence.expect(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"the key file {path.name} is open to others")
    for path in (config.home / "witness" / "witness.key", *config.credentials.rglob("*.*")):
        if path.is_file():
            evidence.expect(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"{path} is open to others")


def handed_out(context: Context, evidence: Evidence, alive: set[tuple[str, int]]) -> int:
    """What lies in the processes' credentials: of each door the compartments of the policy, write-only where it says so, and no epoch but `alive`.
    Returns how many there are."""
    seen = 0
    for path in sorted(context.settings.credentials.rglob("*.json")):
        content: dict[str, Any] = json.loads(path.read_bytes())
        door, seen = str(content["door"]), seen + 1
        held = content.get("compartments", {})
        modes_of = {name: str(keys["mode"]) for name, keys in held.items()}
        evidence.expect(
            modes_of == dict(context.policy.doors.get(door, {})),
            f"{door} was given the keys of other compartments than the policy says",
        )
        for name, keys in held.items():
            for number, epoch in keys["epochs"].items():
                evidence.expect((name, int(number)) in alive, f"{door} still has epoch {number} of {name}, which is destroyed")
                sealed = keys["mode"] == "seal" and (epoch.get("kek") or epoch.get("private"))
                evidence.expect(not sealed, f"{door} may only write to {name}, and has the key to read")
        evidence.expect(bool(content.get("log_key")) == (door == "sealer"), f"{door} and the log's key: only the sealer has it")
        evidence.expect(
            not content.get("pepper") or door in ("site", "console", "verifier"), f"{door} has the pepper of passwords"
        )
    return seen
