"""The root key in a PKCS#11 token (OASIS PKCS#11 v2.40): made there, never extractable; the token itself wraps and unwraps.

`ARMONIKA_PKCS11_MODULE` is the token's library, `ARMONIKA_PKCS11_TOKEN` its label, `ARMONIKA_PKCS11_PIN_FILE` a file with the user's PIN.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from armonika.store.private_files import read_private
from armonika.trust import crypto
from armonika.trust.keys.providers.provider import RootKeyError

_LABEL = "armonika-root-"


class Pkcs11:
    """The provider `pkcs11`; see `RootProvider`. A session is opened for each use, so that a token taken out is noticed and put back is enough."""

    name = "pkcs11"

    def __init__(self, module: str, token: str, pin_file: Path) -> None:
        self._module, self._token, self._pin_file = module, token, pin_file

    @classmethod
    def from_environment(cls) -> Pkcs11:
        """As the environment names it. Raises RootKeyError for what is missing."""
        found = {name: os.environ.get(f"ARMONIKA_PKCS11_{name}") for name in ("MODULE", "TOKEN", "PIN_FILE")}
        for name, value in found.items():
            if not value:
                raise RootKeyError(f"ARMONIKA_PKCS11_{name} is not set: the root key is in a PKCS#11 token (docs/operate.md).")
        return cls(str(found["MODULE"]), str(found["TOKEN"]), Path(str(found["PIN_FILE"])))

    def exists(self) -> bool:
        """Whether the token holds a version."""
        with self._session() as session:
            return bool(self._versions(session))

    def create(self) -> None:
        """Makes version 1 in the token. Raises RootKeyError where there is one."""
        with self._session() as session:
            if self._versions(session):
                raise RootKeyError(f"The token {self._token} holds a root key already; it is not replaced.")
            self._generate(session, 1)

    def wrap(self, key: bytes, place: bytes) -> str:
        """AES-256-GCM in the token (CKM_AES_GCM) under the newest version."""
        with self._session() as session:
            versions = self._versions(session)
            newest = self._newest(versions)
            nonce = crypto.random_bytes(crypto.NONCE_BYTES)
            sealed = versions[newest].encrypt(
                key, mechanism=Mechanism.AES_GCM, mechanism_param=pkcs11.GCMParams(nonce, place, 128)
            )
            return f"{newest}:{base64.b64encode(nonce + bytes(sealed)).decode()}"

    def unwrap(self, wrapped: str, place: bytes) -> bytes:
        """Opens what `wrap` made, in the token. Raises RootKeyError for what another key made."""
        number, _, text = wrapped.partition(":")
        with self._session() as session:
            versions = self._versions(session)
            try:
                raw = base64.b64decode(text, validate=True)
                parameters = pkcs11.GCMParams(raw[: crypto.NONCE_BYTES], place, 128)
                return bytes(
                    versions[int(number)].decrypt(
                        raw[crypto.NONCE_BYTES :], mechanism=Mechanism.AES_GCM, mechanism_param=parameters
                    )
                )
            except (KeyError, ValueError, pkcs11.PKCS11Error):
                raise RootKeyError(
                    f"The token {self._token} does not hold the root key of the keyring. Use the token that belongs to it; nothing was changed."
                ) from None

    def renew(self) -> None:
        """Makes a new version in the token."""
        with self._session() as session:
            self._generate(session, self._newest(self._versions(session)) + 1)

    def destroy_older(self) -> None:
        """C_DestroyObject of every version but the newest."""
        with self._session() as session:
            versions = self._versions(session)
            for number in sorted(versions)[:-1]:
                versions[number].destroy()

    def describe(self) -> dict[str, str]:
        """Token and version."""
        with self._session() as session:
            return {"provider": self.name, "place": f"token {self._token}", "version": str(self._newest(self._versions(session))),
                    "protection": "not extractable"}  # fmt: skip

    def _newest(self, versions: dict[int, Any]) -> int:
        if not versions:
            raise RootKeyError(
                f"The token {self._token} holds no root key. Use the token that was set up with this keyring; nothing was changed."
            )
        return max(versions)

    def _generate(self, session: Any, number: int) -> None:
        session.generate_key(
            KeyType.AES, 256, label=f"{_LABEL}{number}", id=number.to_bytes(4, "big"), store=True,
            template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True, Attribute.ENCRYPT: True, Attribute.DECRYPT: True,
                      Attribute.WRAP: False, Attribute.UNWRAP: False},
        )  # fmt: skip

    def _versions(self, session: Any) -> dict[int, Any]:
        found = {}
        for key in session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}):
            label = str(key.label)
            if label.startswith(_LABEL) and label[len(_LABEL) :].isdigit():
                found[int(label[len(_LABEL) :])] = key
        return found

    @contextmanager
    def _session(self) -> Iterator[Any]:
        pin = read_private(self._pin_file).decode().strip()
        try:
            library = pkcs11.lib(self._module)
            library.reinitialize()
            with library.get_token(token_label=self._token).open(user_pin=pin, rw=True) as session:
                yield session
        except pkcs11.PinIncorrect:
            raise RootKeyError(
                f"The PIN in {self._pin_file} is not that of the token {self._token}. Correct it before it locks; nothing was changed."
            ) from None
        except pkcs11.PinLocked:
            raise RootKeyError(f"The PIN of the token {self._token} is locked. Its security officer must reset it.") from None
        except (pkcs11.NoSuchToken, pkcs11.TokenNotPresent, pkcs11.DeviceRemoved):
            raise RootKeyError(
                f"There is no token {self._token}. Put it in, or correct ARMONIKA_PKCS11_TOKEN; nothing was changed."
            ) from None
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            raise RootKeyError(
                f"The PKCS#11 library {self._module} does not work ({type(error).__name__}). Correct ARMONIKA_PKCS11_MODULE; nothing was changed."
            ) from None
