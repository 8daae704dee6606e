"""Where the root key lives: a sealed file, a PKCS#11 token, or the transit engine of OpenBao. Chosen by `ARMONIKA_ROOT`."""

from __future__ import annotations

import os
from pathlib import Path

from armonika.trust.keys.providers.provider import RootKeyError, RootProvider

NAMES = ("file", "pkcs11", "openbao")


def choose(folder: Path, name: str | None = None) -> RootProvider:
    """The provider `name`, or the one that `ARMONIKA_ROOT` names (default `file`). Raises RootKeyError for an unknown or unfinished configuration."""
    name = name or os.environ.get("ARMONIKA_ROOT") or "file"
    if name == "file":
        from armonika.trust.keys.providers.sealed_file import SealedFile

        return SealedFile(folder)
    if name == "pkcs11":
        from armonika.trust.keys.providers.pkcs11 import Pkcs11

        return Pkcs11.from_environment()
    if name == "openbao":
        from armonika.trust.keys.providers.openbao import OpenBao

        return OpenBao.from_environment()
    raise RootKeyError(f"ARMONIKA_ROOT is {name!r}: it must be one of {', '.join(NAMES)}.")


__all__ = ["NAMES", "RootKeyError", "RootProvider", "choose"]
