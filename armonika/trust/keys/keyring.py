"""The keyring: every key but the root, wrapped, in one file outside the database.

The root provider wraps one keyring key; that wraps everything else in `keyring.json`: for each compartment and epoch a key-encryption key, an
HPKE key pair and a blind-index key, with their states and history (`epochs.py`); for each door a service secret, a database password and a web
key; the pepper of passwords; the log's signing key; and the authority of certificates. When an epoch is destroyed the keyring key and the root are renewed (`renew`), so that an
old copy of this file opens nothing with the root of today.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from armonika.store.private_files import KeyFileError, read_private, sweep, write_private
from armonika.trust import crypto
from armonika.trust.certificates import Authority
from armonika.trust.keys import journal
from armonika.trust.keys.credentials import CompartmentKeys, Credentials, EpochKeys
from armonika.trust.keys.epochs import Epochs, now
from armonika.trust.keys.journal import Journal
from armonika.trust.keys.providers import RootKeyError, RootProvider, choose
from armonika.trust.keys.providers.sealed_file import SealedFile

FILE = "keyring.json"
DOORS = ("site", "console", "api", "worker", "mailin", "sealer", "timpani", "verifier", "keeper", "retention")
_FORMAT, _OLD_FORMAT = "armonika-keyring/2", "armonika-keyring/1"
_PLACE = "armonika-keyring/1"
_SIGNS_IN = ("site", "console", "verifier")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time makes or changes keys: two first starts must not make two roots. What a killed one left half written is removed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        sweep(folder)
        yield
    finally:
        os.close(descriptor)


class Keyring:
    """The opened keyring of one installation. Nothing here reaches a door but through `credentials`."""

    def __init__(self, folder: Path, root: RootProvider, master: bytes, content: dict[str, Any]) -> None:
        self._folder, self._provider, self._master, self._content = folder, root, master, content
        self.epochs = Epochs(content["compartments"], self._wrap)

    @classmethod
    def open_or_create(cls, folder: Path) -> Keyring:
        """Opens the keyring in `folder`, or makes root and keyring at the first start.

        Raises `RootKeyError` when one of the two is missing or they do not belong together; nothing is then changed.
        """
        with alone(folder):
            if (folder / FILE).exists():
                return cls.open(folder)
            root = choose(folder)
            if not root.exists():
                root.create()
            content: dict[str, Any] = {
                "format": _FORMAT,
                "id": uuid4().hex,
                "compartments": {},
                "doors": {},
                "secrets": {},
                "recovery": None,
            }
            ring = cls(folder, root, crypto.random_bytes(crypto.KEY_BYTES), content)
            ring._bind()
            ring.save()
            return ring

    @classmethod
    def open(cls, folder: Path) -> Keyring:
        """Opens an existing keyring through its root provider. Raises KeyFileError for a file that is missing or open to others, RootKeyError for a root that
        does not answer or is another."""
        content = read_file(folder)
        recorded = str(content.get("root", {}).get("provider", "file"))
        configured = os.environ.get("ARMONIKA_ROOT") or "file"
        if configured != recorded:
            raise RootKeyError(
                f"The root key of {folder / FILE} is in `{recorded}`, but ARMONIKA_ROOT says `{configured}`. Set ARMONIKA_ROOT={recorded}, "
                f"or move the root key: `armonika keys move-root {configured}`. Nothing was changed."
            )
        return cls.open_with(folder, choose(folder, recorded), content)

    @classmethod
    def open_with(cls, folder: Path, root: RootProvider, content: dict[str, Any]) -> Keyring:
        """Opens `content` with the root key of `root`. Raises RootKeyError when it is not the one that wrapped it."""
        if content["format"] == _OLD_FORMAT and isinstance(root, SealedFile):
            master = root.legacy()
        else:
            master = root.unwrap(content["root"]["wrapped"], f"{_PLACE}/{content['id']}/master".encode())
        ring = cls(folder, root, master, content)
        try:
            ring._unwrap("check", content["check"])
        except (crypto.Unauthentic, KeyError):
            raise RootKeyError(
                f"The root key is not the root key of {folder / FILE}. Put back the root key that belongs to it; nothing was changed."
            ) from None
        return ring

    @classmethod
    def adopt(cls, folder: Path, root: RootProvider, master: bytes, content: dict[str, Any]) -> Keyring:
        """A keyring whose keyring key was recovered, bound to a new root (the ceremony). Raises RootKeyError for a key of another keyring."""
        ring = cls(folder, root, master, content)
        try:
            ring._unwrap("check", content["check"])
        except crypto.Unauthentic:
            raise RootKeyError("The recovered key is not of this keyring. Nothing was changed.") from None
        ring.act(journal.RECOVERED)
        ring._bind()
        ring.save()
        return ring

    @property
    def keyring_id(self) -> str:
        """A random name, also kept in the database, so that neither is used with another's counterpart."""
        return str(self._content["id"])

    @property
    def folder(self) -> Path:
        """Where `keyring.json` is."""
        return self._folder

    def root(self) -> dict[str, str]:
        """What an inventory may show of the root key."""
        return self._provider.describe()

    def ensure(self, compartments: Iterable[str]) -> None:
        """Makes what is missing: first epochs of compartments, secrets of doors, pepper, log key. Existing keys are untouched."""
        with alone(self._folder):
            self._again()
            self._finish()
            before = json.dumps(self._content)
            if self._content["format"] == _OLD_FORMAT:
                self._content |= {"format": _FORMAT, "recovery": None}
                self.renew()
            for name in compartments:
                self.epochs.first(name)
            for door in DOORS:
                if door not in self._content["doors"]:
                    parts = {
                        part: self._wrap(f"door/{door}/{part}", crypto.random_bytes(32))
                        for part in ("service", "password", "web")
                    }
                    self._content["doors"][door] = {"actor": str(uuid4()), **parts}
            for name in ("pepper", "throttle"):
                if name not in self._content["secrets"]:
                    self._content["secrets"][name] = self._wrap(name, crypto.random_bytes(32))
            if "log" not in self._content["secrets"]:
                self._content["secrets"]["log"] = self._wrap("log", crypto.ed25519_generate()[0])
            if "authority" not in self._content["secrets"]:
                self._make_authority()
            if json.dumps(self._content) != before:
                self.save()

    def hold(self, needed: Iterable[tuple[str, int]]) -> None:
        """Lets doors hold epochs again that the database still needs: somebody put files from before a rotation in place."""
        with alone(self._folder):
            self._again()
            held = [self.epochs.hold(name, number) for name, number in needed]
            if any(held):
                self.save()

    def _again(self) -> None:
        if read_file(self._folder) != self._content:
            # Somebody changed keys since this was opened. What is held here may be wrapped by a root that is gone: written, nothing would open any more.
            fresh = Keyring.open(self._folder)
            self._provider, self._master, self._content, self.epochs = (
                fresh._provider,
                fresh._master,
                fresh._content,
                fresh.epochs,
            )

    def renew(self, provider: RootProvider | None = None) -> None:
        """A new keyring key and a new version of the root (or the root of another `provider`); what was wrapped before opens no more.

        kill -9 at any step leaves a keyring that opens: the older root version is destroyed only after the new file is durable.
        """
        opened = {place: self._unwrap(place, wrapped) for place, wrapped in self._wrapped().items()}
        old_provider = self._provider
        if provider is not None:
            self._provider = provider
            if not provider.exists():
                provider.create()
            self.act(journal.MOVED)
        else:
            self._provider.renew()
        self._master = crypto.random_bytes(crypto.KEY_BYTES)
        for place, key in opened.items():
            self._put(place, self._wrap(place, key))
        self._bind()
        recovery = self._content.get("recovery")
        if recovery:
            recovery["sealed"] = self.seal_master(base64.b64decode(recovery["public"]))
        # Whose older versions are still to be destroyed: a start after kill -9 does it (`ensure`), or an old copy of the file would open for good.
        self._content["unfinished"] = old_provider.name
        self.save()
        self._provider.destroy_older()
        if provider is not None:
            self._leave(old_provider)
        del self._content["unfinished"]
        self.save()

    def _leave(self, provider: RootProvider) -> None:
        """A provider that holds the root no more keeps one version; a new one, never used, takes its place."""
        provider.renew()
        provider.destroy_older()

    def _finish(self) -> None:
        """Finishes a renewal that kill -9 ended: as a new one, for only what was just bound is surely the newest version."""
        left = self._content.get("unfinished")
        if left is None:
            return
        if left != self._provider.name:
            try:
                self._leave(choose(self._folder, left))
            except RootKeyError:
                # The provider of before does not answer: tried again by the next start.
                return
        self.renew()

    def seal_master(self, public: bytes) -> str:
        """The keyring key sealed to a recovery key (HPKE); only the holders of that key together can open it."""
        return _b64(crypto.hpke_seal(public, self._master, f"{_PLACE}/{self._content['id']}/recovery".encode()))

    def set_recovery(self, public: bytes, at: str, needed: int, of: int) -> None:
        """Records the recovery key of a ceremony and seals the keyring key to it. An earlier recovery key opens nothing from here on."""
        self.act(journal.CEREMONY)
        self._content["recovery"] = {
            "public": _b64(public),
            "at": at,
            "needed": needed,
            "of": of,
            "sealed": self.seal_master(public),
        }
        self.save()

    def recovery(self) -> dict[str, Any] | None:
        """When the last ceremony was and how many shares it takes."""
        found = self._content.get("recovery")
        return {name: found[name] for name in ("at", "needed", "of")} if found else None

    def database_passwords(self) -> dict[str, str]:
        """Password of each door's database role."""
        return {door: self._door(door, "password").hex() for door in self._content["doors"]}

    def service(self, door: str) -> tuple[UUID, bytes]:
        """Actor id and service secret of a door."""
        return UUID(self._content["doors"][door]["actor"]), self._door(door, "service")

    def log_key(self) -> bytes:
        """Ed25519 seed of the audit log."""
        return self._unwrap("log", self._content["secrets"]["log"])

    def authority(self) -> Authority:
        """The authority that certifies our own processes. Raises RootKeyError before the first start has made it."""
        wrapped = self._content["secrets"].get("authority")
        if wrapped is None:
            raise RootKeyError("The keyring holds no authority of certificates yet: the next `armonika serve` makes it.")
        return Authority(self._unwrap("authority", wrapped))

    def authority_since(self) -> datetime | None:
        """Since when there is this authority."""
        found = self._content.get("authority_since")
        return datetime.fromisoformat(found) if found else None

    def renew_authority(self) -> None:
        """A new authority. Certificates of the one before are refused as soon as the processes have read theirs again."""
        self.act(journal.AUTHORITY)
        self._make_authority()
        self.save()

    def _make_authority(self) -> None:
        self._content["secrets"]["authority"] = self._wrap("authority", crypto.random_bytes(32))
        self._content["authority_since"] = now().isoformat(timespec="seconds")

    def act(self, name: str, door: str | None = None) -> None:
        """Writes down, before it is done, what changes the keys' files alone (`journal.ACTS`); the caller holds the folder and saves. Raises RootKeyError before
        the first start has finished the keyring."""
        if "log" not in self._content["secrets"]:
            raise RootKeyError("The keyring is not finished: the next `armonika serve` does it. Nothing was changed.")
        self._content["journal"] = journal.append(self._folder, self.log_key(), self._content.get("journal"), name, door)

    def journal(self) -> Journal:
        """What was done with the keys' files alone, and what is missing of it."""
        return journal.read(self._folder, self.log_key(), self._content.get("journal"))

    def secret(self, name: str, make: bool = False) -> bytes:
        """A secret by name (`backup`); made when missing and `make` says so. Raises RootKeyError when it is missing and `make` does not."""
        if name not in self._content["secrets"]:
            if not make:
                raise RootKeyError(f"The keyring holds no {name} key.")
            self._content["secrets"][name] = self._wrap(name, crypto.random_bytes(32))
            self.save()
        return self._unwrap(name, self._content["secrets"][name])

    def credentials(self, door: str, compartments: dict[str, str]) -> Credentials:
        """What one door holds: `compartments` maps names to `full` or `seal` (from the policy)."""
        actor, secret = self.service(door)
        held = {name: self._compartment(name, full=mode == "full") for name, mode in compartments.items()}
        signs_in = door in _SIGNS_IN
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

    def save(self) -> None:
        """Writes the file whole."""
        write_private(self._folder / FILE, json.dumps(self._content, indent=1, sort_keys=True).encode())

    def _compartment(self, name: str, *, full: bool) -> CompartmentKeys:
        held = {}
        for number, keys in self.epochs.usable(name).items():
            place = f"compartment/{name}/{number}"
            held[number] = EpochKeys(
                public=base64.b64decode(keys["public"]),
                index=self._unwrap(f"{place}/index", keys["index"]),
                kek=self._unwrap(f"{place}/kek", keys["kek"]) if full else None,
                private=self._unwrap(f"{place}/private", keys["private"]) if full else None,
            )
        return CompartmentKeys(mode="full" if full else "seal", epochs=held)

    def _door(self, door: str, part: str) -> bytes:
        return self._unwrap(f"door/{door}/{part}", self._content["doors"][door][part])

    def _bind(self) -> None:
        place = f"{_PLACE}/{self._content['id']}/master".encode()
        self._content["root"] = {"provider": self._provider.name, "wrapped": self._provider.wrap(self._master, place)}
        self._content["check"] = self._wrap("check", b"armonika")

    def _wrapped(self) -> dict[str, str]:
        """Every wrapped key by its place."""
        found = dict(self._content["secrets"])
        for door, parts in self._content["doors"].items():
            found |= {f"door/{door}/{part}": parts[part] for part in ("service", "password", "web")}
        return found | self.epochs.wrapped()

    def _put(self, place: str, wrapped: str) -> None:
        kind, _, rest = place.partition("/")
        if kind == "door":
            door, _, part = rest.partition("/")
            self._content["doors"][door][part] = wrapped
        elif kind == "compartment":
            self.epochs.put(rest, wrapped)
        else:
            self._content["secrets"][place] = wrapped

    def _wrap(self, place: str, key: bytes) -> str:
        return _b64(crypto.seal(self._master, key, f"{_PLACE}/{self._content['id']}/{place}".encode()))

    def _unwrap(self, place: str, wrapped: str) -> bytes:
        return crypto.unseal(self._master, base64.b64decode(wrapped), f"{_PLACE}/{self._content['id']}/{place}".encode())


def read_file(folder: Path) -> dict[str, Any]:
    """The content of `keyring.json`, still wrapped. Raises RootKeyError."""
    path = folder / FILE
    try:
        content: dict[str, Any] = json.loads(read_private(path))
        if content["format"] not in (_FORMAT, _OLD_FORMAT):
            raise ValueError
    except KeyFileError as error:
        raise RootKeyError(str(error)) from None
    except (ValueError, KeyError, TypeError):
        raise RootKeyError(f"{path} is damaged. Restore it from your backup of the keys; the data are unharmed.") from None
    return content
