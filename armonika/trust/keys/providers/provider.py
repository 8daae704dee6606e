"""What the keyring asks of a root key: wrap and unwrap one key, make a new version, destroy the versions before it."""

from __future__ import annotations

from typing import Protocol

from armonika.store.private_files import KeyFileError


class RootKeyError(KeyFileError):
    """The root key is missing, damaged, locked, does not answer, or is that of another installation. Nothing was changed."""


class RootProvider(Protocol):
    """One root key with versions. Every method raises RootKeyError and changes nothing when it cannot do its work.

    `wrap` answers text that names its version. `renew` makes a version that `wrap` uses from then on, the older ones still unwrap;
    `destroy_older` ends every version but the newest for good. A crash between the two leaves a key that opens everything.
    """

    name: str

    def exists(self) -> bool:
        """Whether a root key was made here before."""

    def create(self) -> None:
        """Makes the first version; never replaces one that exists."""

    def wrap(self, key: bytes, place: bytes) -> str:
        """`key` under the newest version, bound to `place`."""

    def unwrap(self, wrapped: str, place: bytes) -> bytes:
        """What `wrap` wrapped for the same place."""

    def renew(self) -> None:
        """Makes a new version."""

    def destroy_older(self) -> None:
        """Destroys every version but the newest."""

    def describe(self) -> dict[str, str]:
        """What an inventory may show: where it is and which version, without any secret."""
