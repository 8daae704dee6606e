"""The ceremony: a recovery key that five custodians hold in shares, of which any three restore the root (SLIP-39, Shamir's secret sharing).

The recovery key never exists on disk. The keyring holds its public half and, sealed to it, the keyring key: renewing the root seals it anew and
needs no custodian. Restoring binds the keyring to a new root key. No single person can export or restore it (SP 800-57 part 1 §5.3, dual control).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shamir_mnemonic

from armonika.trust import crypto
from armonika.trust.keys.epochs import now
from armonika.trust.keys.keyring import Keyring, alone, read_file
from armonika.trust.keys.providers import RootKeyError, RootProvider

NEEDED, OF = 3, 5
_PLACE = "armonika-keyring/1"


class CeremonyError(Exception):
    """The shares do not make the recovery key, or the ceremony was not finished. Nothing was changed."""


class Ceremony:
    """One ceremony in memory: `shares` are handed out one by one, then three of them, typed back, bring it into force."""

    def __init__(self) -> None:
        self._secret = crypto.random_bytes(32)
        (group,) = shamir_mnemonic.generate_mnemonics(1, [(NEEDED, OF)], self._secret)
        self.shares: tuple[str, ...] = tuple(group)

    def finish(self, folder: Path, typed: Sequence[str]) -> Keyring:
        """Takes the recovery key into the keyring of `folder`, which it returns, after the shares typed back have proven that they work. Raises CeremonyError."""
        if not hmac.compare_digest(combine(typed), self._secret):
            raise CeremonyError("These shares make another key. Nothing was changed; begin again.")
        _, public = crypto.hpke_from_secret(self._secret)
        with alone(folder):
            ring = Keyring.open(folder)
            ring.set_recovery(public, now().isoformat(timespec="seconds"), NEEDED, OF)
        return ring


def combine(shares: Sequence[str]) -> bytes:
    """The recovery secret of at least three shares. Raises CeremonyError that says which share cannot be right."""
    words = [" ".join(share.split()).lower() for share in shares]
    if len(set(words)) < NEEDED:
        raise CeremonyError(f"{NEEDED} different shares are needed.")
    for number, share in enumerate(words, start=1):
        try:
            shamir_mnemonic.Share.from_mnemonic(share)
        except shamir_mnemonic.MnemonicError:
            raise CeremonyError(f"Share {number} is mistyped: its own check fails. Type it again.") from None
    try:
        return bytes(shamir_mnemonic.combine_mnemonics(words[:NEEDED]))
    except shamir_mnemonic.MnemonicError:
        raise CeremonyError("These shares are not of one ceremony. Nothing was changed.") from None


def restore(folder: Path, shares: Sequence[str], root: RootProvider) -> Keyring:
    """Binds `keyring.json` in `folder` to a new root key in `root`. One that is there and does not open it (another's, or that of a restore that was killed)
    gets a new version and loses none. Raises CeremonyError, RootKeyError."""
    secret = combine(shares)
    with alone(folder):
        content = read_file(folder)
        recovery = content.get("recovery")
        if not recovery:
            raise CeremonyError(f"{folder / 'keyring.json'} knows no ceremony: there is nothing to restore with shares.")
        present = root.exists()
        if present and _opens(folder, root, content):
            raise RootKeyError(
                "A root key is there already, and it opens the keyring: there is nothing to restore. Nothing was changed."
            )
        private, _ = crypto.hpke_from_secret(secret)
        try:
            place = f"{_PLACE}/{content['id']}/recovery".encode()
            master = crypto.hpke_open(private, base64.b64decode(recovery["sealed"]), place)
        except crypto.Unauthentic:
            raise CeremonyError(
                "These shares are of an earlier ceremony, or of another installation. Nothing was changed."
            ) from None
        if present:
            root.renew()
        else:
            root.create()
        return Keyring.adopt(folder, root, master, content)


def _opens(folder: Path, root: RootProvider, content: dict[str, Any]) -> bool:
    try:
        Keyring.open_with(folder, root, content)
    except RootKeyError:
        return False
    return True
