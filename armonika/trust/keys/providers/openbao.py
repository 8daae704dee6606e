"""The root key in the transit engine of OpenBao (or Vault): it never leaves that server; wrapping and unwrapping are calls to it.

`ARMONIKA_OPENBAO_ADDRESS`, `ARMONIKA_OPENBAO_TOKEN_FILE` (owner-only), `ARMONIKA_OPENBAO_KEY` (default `armonika-root`) and
`ARMONIKA_OPENBAO_MOUNT` (default `transit`) say where. The token's policy: docs/operate.md.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from armonika.store.private_files import read_private
from armonika.trust.keys.providers.provider import RootKeyError

SECONDS = 5.0
RENEW_BELOW = 0.5
"""The token is renewed when less than this part of its life is left."""


class _NotFound(RootKeyError):
    """The server has no such key."""


class OpenBao:
    """The provider `openbao`; see `RootProvider`. Versions are those of the transit key."""

    name = "openbao"

    def __init__(self, address: str, token_file: Path, key: str = "armonika-root", mount: str = "transit") -> None:
        self._address, self._token_file, self._key, self._mount = address.rstrip("/"), token_file, key, mount

    @classmethod
    def from_environment(cls) -> OpenBao:
        """As the environment names it. Raises RootKeyError for what is missing."""
        address, token = os.environ.get("ARMONIKA_OPENBAO_ADDRESS"), os.environ.get("ARMONIKA_OPENBAO_TOKEN_FILE")
        if not address or not token:
            raise RootKeyError(
                "ARMONIKA_OPENBAO_ADDRESS and ARMONIKA_OPENBAO_TOKEN_FILE must be set: the root key is in OpenBao (docs/operate.md)."
            )
        if not address.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:")):
            raise RootKeyError("ARMONIKA_OPENBAO_ADDRESS must begin with https:// (plain http only on this machine).")
        return cls(
            address,
            Path(token),
            os.environ.get("ARMONIKA_OPENBAO_KEY") or "armonika-root",
            os.environ.get("ARMONIKA_OPENBAO_MOUNT") or "transit",
        )

    def exists(self) -> bool:
        """Whether the server has the key."""
        try:
            self._key_state()
        except _NotFound:
            return False
        return True

    def create(self) -> None:
        """Makes the key: AES-256-GCM, not exportable. Raises RootKeyError where there is one."""
        if self.exists():
            raise RootKeyError(f"OpenBao has a key {self._key} already; it is not replaced.")
        self._call("POST", f"keys/{self._key}", {"type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False})

    def wrap(self, key: bytes, place: bytes) -> str:
        """Under the newest version. The place is the associated data."""
        answer = self._call("POST", f"encrypt/{self._key}", {"plaintext": _b64(key), "associated_data": _b64(place)})
        return str(answer["data"]["ciphertext"])

    def unwrap(self, wrapped: str, place: bytes) -> bytes:
        """Opens what `wrap` made. Renews the token on the way when it is due."""
        self.renew_token()
        answer = self._call("POST", f"decrypt/{self._key}", {"ciphertext": wrapped, "associated_data": _b64(place)})
        return base64.b64decode(answer["data"]["plaintext"])

    def renew(self) -> None:
        """A new version of the transit key."""
        self._call("POST", f"keys/{self._key}/rotate")

    def destroy_older(self) -> None:
        """Raises the least version that may decrypt and encrypt, then trims what is before it: those versions are gone for good."""
        newest = self._latest()
        self._call("POST", f"keys/{self._key}/config", {"min_decryption_version": newest, "min_encryption_version": newest})
        self._call("POST", f"keys/{self._key}/trim", {"min_available_version": newest})

    def describe(self) -> dict[str, str]:
        """Address, key and version."""
        return {
            "provider": self.name,
            "place": f"{self._address} {self._mount}/{self._key}",
            "version": str(self._latest()),
            "protection": "not exportable",
        }

    def renew_token(self) -> bool:
        """Renews the token when less than half of its life is left. Returns whether it was renewed; a token without an end needs none."""
        data = self._call("GET", "auth/token/lookup-self", mounted=False)["data"]
        if not data.get("renewable") or not data.get("ttl") or data["ttl"] > data.get("creation_ttl", 0) * RENEW_BELOW:
            return False
        self._call("POST", "auth/token/renew-self", {}, mounted=False)
        return True

    def _latest(self) -> int:
        return int(self._key_state()["latest_version"])

    def _key_state(self) -> dict[str, Any]:
        data: dict[str, Any] = self._call("GET", f"keys/{self._key}")["data"]
        return data

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, mounted: bool = True) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._address}/v1/{self._mount + '/' if mounted else ''}{path}",
            data=None if body is None and method == "GET" else json.dumps(body or {}).encode(), method=method,
            headers={"X-Vault-Token": read_private(self._token_file).decode().strip(), "Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                raw = response.read()
                answer: dict[str, Any] = json.loads(raw) if raw else {}
                return answer
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise _NotFound(
                    f"OpenBao has no {path} in {self._mount}. Correct ARMONIKA_OPENBAO_KEY or _MOUNT; nothing was changed."
                ) from None
            if error.code == 403:
                raise RootKeyError(
                    f"OpenBao refuses the token in {self._token_file}: it ended or lacks a right (docs/operate.md). Nothing was changed."
                ) from None
            if error.code == 503:
                raise RootKeyError("OpenBao is sealed or not ready. Unseal it, then try again; nothing was changed.") from None
            if error.code == 400 and path.startswith("decrypt/"):
                raise RootKeyError(
                    f"The key {self._key} in OpenBao is not the root key of the keyring. Use the key that belongs to it; nothing was changed."
                ) from None
            raise RootKeyError(f"OpenBao answers {error.code} to {method} {path}. Nothing was changed.") from None
        except (urllib.error.URLError, OSError, ValueError):
            raise RootKeyError(
                f"OpenBao at {self._address} does not answer. Running services go on; try again when it is back."
            ) from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
