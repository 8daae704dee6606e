"""Which ports the processes of an installation listen on, as the kernel tells it (proc(5))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from armonika.verify.frame import CannotProbe


def processes(home: Path) -> set[int]:
    """Living processes of the installation in `home`: those that were given its home and credentials, its database, and what these started."""
    told, database = f"ARMONIKA_HOME={home}".encode(), str(home / "postgres" / "data").encode()
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
            given = told in variables and any(one.startswith(b"CREDENTIALS_DIRECTORY=") for one in variables)
            if given or database in (folder / "cmdline").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found - {os.getpid()}


def listening(home: Path) -> list[tuple[str, int]]:
    """Address and port of every TCP socket on which a process of the installation listens. Raises CannotProbe when their files cannot be seen."""
    held = set()
    seen = 0
    for pid in processes(home):
        try:
            for file in os.scandir(f"/proc/{pid}/fd"):
                target = os.readlink(file.path)
                if target.startswith("socket:["):
                    held.add(target[8:-1])
            seen += 1
        except FileNotFoundError:
            continue
        except PermissionError:
            raise CannotProbe(
                "which process listens where can be seen by root only: run `armonika verify 7a.2` as root"
            ) from None
    return [(address, port) for address, port, inode in table() if inode in held] if seen else []


def table() -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of every TCP socket of this machine that listens, IPv4 and IPv6."""
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = Path(f"/proc/net/{name}")
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            parts = line.split()
            if parts[3] == "0A":
                packed, _, port = parts[1].partition(":")
                raw = b"".join(bytes.fromhex(packed[at : at + 8])[::-1] for at in range(0, len(packed), 8))
                yield socket.inet_ntop(family, raw), int(port, 16), parts[9]
