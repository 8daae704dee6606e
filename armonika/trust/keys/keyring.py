"""The keyring: every key but the root, wrapped by the root, in one file outside the database.

`keyring.json` holds for each compartment and epoch a key-encryption key, an HPKE key pair and a blind-index key; for each door a
service secret, a database password and a web key; the pepper of passwords; and the log's signing key.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from armonika.store.private_files import KeyFileError, read_private, write_private
from armonika.trust import crypto
from armonika.trust.keys import root as root_file
from armonika.trust.keys.credentials import CompartmentKeys, Credentials, EpochKeys
from armonika.trust.keys.root import RootKeyError

FILE = "keyring.json"
DOORS = ("site", "console", "api", "worker", "mailin", "sealer", "timpani", "verifier")
_FORMAT = "armonika-keyring/1"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time makes keys: two first starts must not make two roots."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Keyring:
    """The opened keyring of one installation. Nothing here reaches a door but through `credentials`."""

    def __init__(self, folder: Path, root: bytes, content: dict[str, Any]) -> None:
        self._folder, self._root, self._content = folder, root, content

    @classmethod
    def open_or_create(cls, folder: Path) -> Keyring:
        """Opens the keyring in `folder`, or makes root and keyring at the first start.

        Raises `RootKeyError` when one of the two is missing or they do not belong together; nothing is then changed.
        """
        with _alone(folder):
            if not (folder / FILE).exists():
                root = root_file.load(folder) if (folder / root_file.FILE).exists() else root_file.create(folder)
                ring = cls(folder, root, {"format": _FORMAT, "id": uuid4().hex, "compartments": {}, "doors": {}, "secrets": {}})
                ring._content["check"] = ring._wrap("check", b"armonika")
                ring._write()
                return ring
            return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Keyring:
        """Opens an existing keyring."""
        root = root_file.load(folder)
        path = folder / FILE
        try:
            content = json.loads(read_private(path))
            if content["format"] != _FORMAT:
                raise ValueError
        except KeyFileError as error:
            raise RootKeyError(str(error)) from None
        except (ValueError, KeyError, TypeError):
            raise RootKeyError(f"{path} is damaged. Restore it from your backup of the keys; the data are unharmed.") from None
        ring = cls(folder, root, content)
        try:
            ring._unwrap("check", content["check"])
        except (crypto.Unauthentic, KeyError):
            raise RootKeyError(
                f"{folder / root_file.FILE} is not the root key of {path}. Put back the root key that belongs to it; nothing was changed."
            ) from None
        return ring

    @property
    def keyring_id(self) -> str:
        """A random name, also kept in the database, so that neither is used with another's counterpart."""
        return str(self._content["id"])

    def ensure(self, compartments: Iterable[str]) -> None:
        """Makes what is missing: first epochs of compartments, secrets of doors, pepper, log key. Existing keys are untouched."""
        with _alone(self._folder):
            before = json.dumps(self._content, sort_keys=True)
            for name in compartments:
                if name not in self._content["compartments"]:
                    self._content["compartments"][name] = {"current": 1, "epochs": {"1": self._new_epoch(name, 1)}}
            for door in DOORS:
                if door not in self._content["doors"]:
                    self._content["doors"][door] = {
                        "actor": str(uuid4()),
                        **{
                            part: self._wrap(f"door/{door}/{part}", crypto.random_bytes(32))
                            for part in ("service", "password", "web")
                        },
                    }
            for name in ("pepper", "throttle"):
                if name not in self._content["secrets"]:
                    self._content["secrets"][name] = self._wrap(name, crypto.random_bytes(32))
            if "log" not in self._content["secrets"]:
                self._content["secrets"]["log"] = self._wrap("log", crypto.ed25519_generate()[0])
            if json.dumps(self._content, sort_keys=True) != before:
                self._write()

    def database_passwords(self) -> dict[str, str]:
        """Password of each door's database role."""
        return {door: self._door(door, "password").hex() for door in self._content["doors"]}

    def service(self, door: str) -> tuple[UUID, bytes]:
        """Actor id and service secret of a door."""
        return UUID(self._content["doors"][door]["actor"]), self._door(door, "service")

    def inventory(self) -> list[tuple[str, int, str, bool]]:
        """Compartments and epochs, without any key: (compartment, epoch, created, in use)."""
        return [
            (name, int(number), str(keys["created"]), int(number) == int(entry["current"]))
            for name, entry in self._content["compartments"].items() for number, keys in entry["epochs"].items()
        ]  # fmt: skip

    def log_key(self) -> bytes:
        """Ed25519 seed of the audit log."""
        return self._unwrap("log", self._content["secrets"]["log"])

    def credentials(self, door: str, compartments: dict[str, str]) -> Credentials:
        """What one door holds: `compartments` maps names to `full` or `seal` (from the policy)."""
        actor, secret = self.service(door)
        held = {name: self._compartment(name, full=mode == "full") for name, mode in compartments.items()}
        signs_in = door in ("site", "console", "verifier")
        return Credentials(
            door=door,
            database_password=self._door(door, "password").hex(),
            service_actor=actor,
            service_secret=secret,
            web_key=self._door(door, "web"),
            throttle_key=self._unwrap("throttle", self._content["secrets"]["throttle"]) if signs_in or door == "api" else None,
            pepper=self._unwrap("pepper", self._content["secrets"]["pepper"]) if signs_in else None,
            log_key=self.log_key() if door == "sealer" else None,
            compartments=held,
        )

    def _new_epoch(self, name: str, epoch: int) -> dict[str, str]:
        private, public = crypto.hpke_generate()
        place = f"compartment/{name}/{epoch}"
        return {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "kek": self._wrap(f"{place}/kek", crypto.random_bytes(32)),
            "index": self._wrap(f"{place}/index", crypto.random_bytes(32)),
            "private": self._wrap(f"{place}/private", private),
            "public": _b64(public),
        }

    def _compartment(self, name: str, *, full: bool) -> CompartmentKeys:
        entry = self._content["compartments"][name]
        epochs = {}
        for number, keys in entry["epochs"].items():
            place = f"compartment/{name}/{number}"
            epochs[int(number)] = EpochKeys(
                public=base64.b64decode(keys["public"]),
                index=self._unwrap(f"{place}/index", keys["index"]),
                kek=self._unwrap(f"{place}/kek", keys["kek"]) if full else None,
                private=self._unwrap(f"{place}/private", keys["private"]) if full else None,
            )
        return CompartmentKeys(mode="full" if full else "seal", current=int(entry["current"]), epochs=epochs)

    def _door(self, door: str, part: str) -> bytes:
        return self._unwrap(f"door/{door}/{part}", self._content["doors"][door][part])

    def _wrap(self, place: str, key: bytes) -> str:
        return _b64(crypto.seal(self._root, key, f"{_FORMAT}/{self._content['id']}/{place}".encode()))

    def _unwrap(self, place: str, wrapped: str) -> bytes:
        return crypto.unseal(self._root, base64.b64decode(wrapped), f"{_FORMAT}/{self._content['id']}/{place}".encode())

    def _write(self) -> None:
        write_private(self._folder / FILE, json.dumps(self._content, indent=1, sort_keys=True).encode())
