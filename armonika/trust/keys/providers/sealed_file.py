"""The root key in a sealed file (the default provider).

The file holds one version, or two while a new one takes over, of 32 random bytes with a checksum. It is owner-only and, where
`ARMONIKA_ROOT_PASSPHRASE_FILE` names a file, sealed under Argon2id of that passphrase. It exists once, outside the database and every backup.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from armonika.store.private_files import KeyFileError, overwrite, read_private, write_private
from armonika.trust import crypto
from armonika.trust.keys.providers.provider import RootKeyError

FILE = "root.key"
_FORMAT = "armonika-root-key/1"


class SealedFile:
    """The provider `file`; see `RootProvider` for what each method promises."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def create(self) -> None:
        """Makes the first version; never overwrites a file. Raises RootKeyError where there is one."""
        if self._path.exists():
            raise RootKeyError(f"{self._path} exists already and is not overwritten.")
        self._save({1: crypto.random_bytes(crypto.KEY_BYTES)})

    def wrap(self, key: bytes, place: bytes) -> str:
        """AES-256-GCM under the newest version."""
        versions = self._load()
        newest = max(versions)
        return f"{newest}:{base64.b64encode(crypto.seal(versions[newest], key, place)).decode()}"

    def unwrap(self, wrapped: str, place: bytes) -> bytes:
        """Opens what `wrap` made. Raises RootKeyError for what another key made."""
        number, _, text = wrapped.partition(":")
        versions = self._load()
        try:
            return crypto.unseal(versions[int(number)], base64.b64decode(text, validate=True), place)
        except (crypto.Unauthentic, KeyError, ValueError):
            raise RootKeyError(
                f"{self._path} is not the root key of the keyring beside it. Put back the root key that belongs to it; nothing was changed."
            ) from None

    def legacy(self) -> bytes:
        """The first version itself: a keyring of format 1 wrapped with it directly."""
        return self._load()[1]

    def renew(self) -> None:
        """Adds a version."""
        versions = self._load()
        self._save(versions | {max(versions) + 1: crypto.random_bytes(crypto.KEY_BYTES)})

    def destroy_older(self) -> None:
        """Leaves the newest version alone in the file. The old file's blocks are overwritten before they are given back."""
        versions = self._load()
        if len(versions) > 1:
            newest = max(versions)
            with overwrite(self._path):
                self._save({newest: versions[newest]})

    def describe(self) -> dict[str, str]:
        """Path and version."""
        sealed = "sealed with a passphrase" if os.environ.get("ARMONIKA_ROOT_PASSPHRASE_FILE") else "owner-only"
        return {"provider": self.name, "place": str(self._path), "version": str(max(self._load())), "protection": sealed}

    def _save(self, versions: dict[int, bytes]) -> None:
        passphrase = _passphrase()
        entries = []
        for number, root in sorted(versions.items()):
            entry: dict[str, Any] = {"version": number, "check": _check(root)}
            if passphrase is None:
                entry["key"] = base64.b64encode(root).decode()
            else:
                salt = crypto.random_bytes(crypto.SALT_BYTES)
                entry["argon2id"] = base64.b64encode(salt).decode()
                entry["key"] = base64.b64encode(crypto.seal(crypto.argon2id(passphrase, salt), root, _FORMAT.encode())).decode()
            entries.append(entry)
        # One version alone is written in the first form of the file, which older releases read too.
        content = {"format": _FORMAT, **entries[0]} if len(entries) == 1 else {"format": _FORMAT, "versions": entries}
        write_private(self._path, json.dumps(content, indent=1).encode())

    def _load(self) -> dict[int, bytes]:
        try:
            raw = read_private(self._path)
        except KeyFileError as error:
            shares = "" if self._path.exists() else " After a ceremony three shares make a new one: `armonika keys recover`."
            raise RootKeyError(f"{error}{shares}") from None
        damaged = RootKeyError(
            f"{self._path} is damaged. Restore it from your backup of the keys; the data are unharmed and nothing was changed."
        )
        try:
            content = json.loads(raw)
            if content["format"] != _FORMAT:
                raise damaged
            entries = content.get("versions", [content])
            versions = {int(entry.get("version", 1)): self._open(entry, damaged) for entry in entries}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise damaged from None
        if not versions:
            raise damaged
        return versions

    def _open(self, entry: dict[str, Any], damaged: RootKeyError) -> bytes:
        root = base64.b64decode(entry["key"], validate=True)
        if "argon2id" in entry:
            passphrase = _passphrase()
            if passphrase is None:
                raise RootKeyError(f"{self._path} is sealed with a passphrase: name its file in ARMONIKA_ROOT_PASSPHRASE_FILE.")
            try:
                salt = base64.b64decode(entry["argon2id"], validate=True)
                root = crypto.unseal(crypto.argon2id(passphrase, salt), root, _FORMAT.encode())
            except crypto.Unauthentic:
                raise RootKeyError(f"{self._path}: the passphrase is wrong. Nothing was changed.") from None
        if len(root) != crypto.KEY_BYTES or _check(root) != entry.get("check"):
            raise damaged
        return root


def _check(root: bytes) -> str:
    return crypto.sha256(_FORMAT.encode() + root).hex()[:16]


def _passphrase() -> bytes | None:
    name = os.environ.get("ARMONIKA_ROOT_PASSPHRASE_FILE")
    if not name:
        return None
    value = read_private(Path(name)).strip()
    if not value:
        raise RootKeyError(f"{name} is empty: it must hold the passphrase of the root key.")
    return value
