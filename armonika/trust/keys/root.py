"""The root key in a sealed file (the default provider).

The file holds 32 random bytes with a checksum; it is owner-only and, where `ARMONIKA_ROOT_PASSPHRASE_FILE` names a file,
sealed under Argon2id of that passphrase. It exists once, outside the database and its backups, and is never replaced silently.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from armonika.store.private_files import KeyFileError, read_private, write_private
from armonika.trust import crypto

FILE = "root.key"
_FORMAT = "armonika-root-key/1"


class RootKeyError(KeyFileError):
    """The root key is missing, damaged, locked by another passphrase, or that of another installation."""


def _passphrase() -> bytes | None:
    name = os.environ.get("ARMONIKA_ROOT_PASSPHRASE_FILE")
    if not name:
        return None
    value = read_private(Path(name)).strip()
    if not value:
        raise RootKeyError(f"{name} is empty: it must hold the passphrase of the root key.")
    return value


def create(folder: Path) -> bytes:
    """Makes a new root key file in `folder`; never overwrites one."""
    path = folder / FILE
    if path.exists():
        raise RootKeyError(f"{path} exists already and is not overwritten.")
    root = crypto.random_bytes(crypto.KEY_BYTES)
    content: dict[str, str] = {"format": _FORMAT}
    passphrase = _passphrase()
    if passphrase is None:
        content["key"] = base64.b64encode(root).decode()
    else:
        salt = crypto.random_bytes(crypto.SALT_BYTES)
        content |= {
            "argon2id": base64.b64encode(salt).decode(),
            "key": base64.b64encode(crypto.seal(crypto.argon2id(passphrase, salt), root, _FORMAT.encode())).decode(),
        }
    content["check"] = crypto.sha256(_FORMAT.encode() + root).hex()[:16]
    write_private(path, json.dumps(content, indent=1).encode())
    return root


def load(folder: Path) -> bytes:
    """The root key of `folder`, or `RootKeyError` that says what to do. Changes nothing."""
    path = folder / FILE
    try:
        raw = read_private(path)
    except KeyFileError as error:
        raise RootKeyError(str(error)) from None
    damaged = RootKeyError(
        f"{path} is damaged. Restore it from your backup of the keys; the data are unharmed and nothing was changed."
    )
    try:
        content = json.loads(raw)
        if content["format"] != _FORMAT:
            raise damaged
        root = base64.b64decode(content["key"], validate=True)
        salt = base64.b64decode(content["argon2id"], validate=True) if "argon2id" in content else None
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if salt is not None:
        passphrase = _passphrase()
        if passphrase is None:
            raise RootKeyError(f"{path} is sealed with a passphrase: name its file in ARMONIKA_ROOT_PASSPHRASE_FILE.")
        try:
            root = crypto.unseal(crypto.argon2id(passphrase, salt), root, _FORMAT.encode())
        except crypto.Unauthentic:
            raise RootKeyError(f"{path}: the passphrase is wrong. Nothing was changed.") from None
    if len(root) != crypto.KEY_BYTES or crypto.sha256(_FORMAT.encode() + root).hex()[:16] != content.get("check"):
        raise damaged
    return root
