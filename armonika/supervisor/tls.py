"""Certificate and key of the listeners, checked before anything starts and handed to each door for its own user alone."""

from __future__ import annotations

import ssl
import stat
import time
from pathlib import Path

from armonika.settings import Settings
from armonika.store.private_files import write_private
from armonika.store.users import User

LISTENERS = ("site", "console", "api")
LEAST_SECONDS = 3600


class TlsError(Exception):
    """Certificate or key cannot be used; the message says what to do. Nothing was started."""


def check(config: Settings) -> None:
    """Raises TlsError unless certificate and key belong together, the key is the owner's alone, and the certificate is not about to end."""
    if config.tls is None:
        return
    cert, key = config.tls / "cert.pem", config.tls / "key.pem"
    for path in (cert, key):
        _readable(path, "ARMONIKA_TLS names a folder with cert.pem (the chain, the leaf first) and key.pem.")
    if stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise TlsError(f"{key} is open to others: `chmod 600 {key}`.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(
            f"{cert} and {key} cannot be used together ({getattr(error, 'reason', None) or 'unreadable'}). Name a matching pair, the key without a passphrase."
        ) from None
    if config.api_clients:
        names = "ARMONIKA_API_CLIENTS names a file with the certificates (PEM) of the authorities whose clients the API admits."
        _readable(config.api_clients, names)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(config.api_clients)
        except ssl.SSLError:
            raise TlsError(f"{config.api_clients} holds no certificate. {names}") from None
    if lasts(cert)[1] < time.time() + LEAST_SECONDS:
        raise TlsError(f"{cert} has ended, or ends within the hour. Renew it.")


def _readable(path: Path, names: str) -> None:
    """Raises TlsError for a file that is not there or is another user's: OpenSSL's own words name none."""
    try:
        path.open("rb").close()
    except PermissionError:
        raise TlsError(f"{path} cannot be read by this user. Start as the user that owns it.") from None
    except OSError:
        raise TlsError(f"{path} is missing. {names}") from None


def lasts(cert: Path) -> tuple[float, float]:
    """From when to when the first certificate of a file is valid, in POSIX seconds."""
    # The one decoder that the standard library has; what it reads is our own file.
    decoded = ssl._ssl._test_decode_cert(str(cert))  # type: ignore[attr-defined]
    return ssl.cert_time_to_seconds(decoded["notBefore"]), ssl.cert_time_to_seconds(decoded["notAfter"])


def hand_out(config: Settings, door: str, folder: Path, user: User | None) -> None:
    """Copies what the door needs into its credentials folder."""
    assert config.tls is not None
    files = {"cert.pem": config.tls / "cert.pem", "key.pem": config.tls / "key.pem"}
    if door == "api" and config.api_clients:
        files["clients.pem"] = config.api_clients
    for name, source in files.items():
        write_private(folder / name, source.read_bytes(), owner=(user.uid, user.gid) if user else None)
