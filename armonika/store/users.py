"""Operating-system users of the processes, for a start as root: each process gets its own, and none runs as root."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import shutil
import stat
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_ACL = "system.posix_acl_access"
WAIT = 20.0
"""Seconds for another start that makes the same user, or for the lock of /etc/passwd."""


class UserError(Exception):
    """A user cannot be made, or a folder cannot be made reachable for one; the message says what to do."""


@dataclass(frozen=True, slots=True)
class User:
    """A system user without a shell or a home."""

    name: str
    uid: int
    gid: int

    def command_prefix(self) -> tuple[str, ...]:
        """Words before a command that run it as this user, with no other group and no way back."""
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--no-new-privs", "--")


def user_for(process: str) -> User:
    """The user `armonika-<process>`, made when missing. Only for root. Waits for a start beside this one that is making it. Raises UserError."""
    name = f"armonika-{process}"
    until = time.monotonic() + WAIT
    while (found := _found(name)) is None:
        refusal = _alone(name)
        if refusal is not None and time.monotonic() >= until:
            raise UserError(f"The user {name} could not be made: {refusal}")
        if refusal is not None:
            time.sleep(0.1)
    return found


def _found(name: str) -> User | None:
    try:
        found = pwd.getpwnam(name)
        return User(name, found.pw_uid, grp.getgrgid(found.pw_gid).gr_gid)
    except KeyError:
        return None


def _alone(name: str) -> str | None:
    """Makes a user when it is still missing; returns why not. One start at a time: of two `useradd` at once each makes the user, with another number."""
    place = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        return None if _found(name) else _make(name)
    finally:
        os.close(place)


def _make(name: str) -> str | None:
    """Makes a user; returns why not, None when it is made."""
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise UserError("As root, Armonika gives each process a user of its own and needs `useradd` (package passwd).")
    made = subprocess.run(
        [program, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "--user-group", name],
        capture_output=True, check=False,
    )  # fmt: skip
    return made.stderr.decode(errors="replace").strip() or f"useradd ended with {made.returncode}" if made.returncode else None


def make_reachable(path: Path, user: User) -> None:
    """Lets `user` pass through the folders above `path` that are closed to others (such as /root), by an access list, and change nothing else."""
    for folder in reversed([path, *path.resolve().parents]):
        if folder.is_dir():
            mode = folder.stat()
            if mode.st_uid == user.uid or mode.st_mode & stat.S_IXOTH:
                continue
            _grant_pass(folder, user, mode.st_mode)


def _grant_pass(folder: Path, user: User, mode: int) -> None:
    """Adds `user:<uid>:--x` to the folder's POSIX access list (acl(5), xattr version 2)."""
    try:
        raw = os.getxattr(folder, _ACL)
        entries = [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw), 8)]
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        unset = 0xFFFFFFFF
        entries = [(0x01, mode >> 6 & 7, unset), (0x04, mode >> 3 & 7, unset), (0x20, mode & 7, unset)]
    if any(tag == 0x02 and who == user.uid and held & 1 for tag, held, who in entries):
        return
    entries = [entry for entry in entries if not (entry[0] == 0x02 and entry[2] == user.uid) and entry[0] != 0x10]
    entries.append((0x02, 1, user.uid))
    mask = 0
    for tag, held, _ in entries:
        if tag in (0x02, 0x04, 0x08):
            mask |= held
    entries.append((0x10, mask, 0xFFFFFFFF))
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    try:
        os.setxattr(folder, _ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
    except OSError:
        raise UserError(
            f"{folder} is closed to {user.name}, and this file system takes no access list. Put the checkout and ARMONIKA_HOME in a folder that "
            "others may pass through, such as /opt or /srv, or start as an ordinary user."
        ) from None
