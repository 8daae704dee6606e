"""Certificates change while everything runs: those of our own processes by their age, those of the listeners when their files change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from armonika.store.private_files import KeyFileError
from armonika.supervisor import certificates, tls
from armonika.supervisor.installation import Installation
from armonika.supervisor.supervisor import Supervisor
from armonika.trust.keys import Keyring


@dataclass
class Renewal:
    """`tick` is called every few seconds and returns at once. One door a tick takes a new certificate, so that never two of them change over together."""

    installation: Installation
    supervisor: Supervisor
    say: Callable[[str], None] = print
    _served: str = ""
    _refused: str = ""
    _failed: str = ""
    _waiting: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._served = self._mark()

    def tick(self) -> None:
        """Does what is due."""
        config = self.installation.settings
        try:
            if certificates.due(config):
                certificates.renew(config, Keyring.open(config.keys))
            self._failed = ""
        except (KeyFileError, OSError) as error:
            # Half a certificate's life is left for trying again; it is said once.
            if str(error) != self._failed:
                self._failed = str(error)
                self.say(f"armonika: certificates of our own processes were not renewed: {error}")
        if self._waiting:
            self.supervisor.reload(self._waiting.pop(0))
            return
        mark = self._mark()
        if mark not in (self._served, self._refused, ""):
            self._take(mark)

    def _take(self, mark: str) -> None:
        config = self.installation.settings
        try:
            tls.check(config)
            for door in tls.LISTENERS:
                tls.hand_out(config, door, config.credentials / door, self.installation.user(door))
        except (tls.TlsError, OSError) as error:
            # Certificate and key are two files: between the two they do not belong together. The old pair is served on.
            self._refused = mark
            self.say(f"armonika: the new certificate is not served: {error}")
            return
        self._served, self._waiting = mark, list(tls.LISTENERS)
        self.say("A new certificate is served by site, console and API.")

    def _mark(self) -> str:
        """A digest of the listeners' files; empty without TLS, or while one of them is missing."""
        config = self.installation.settings
        if config.tls is None:
            return ""
        paths = [config.tls / "cert.pem", config.tls / "key.pem", *([config.api_clients] if config.api_clients else [])]
        try:
            return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()
        except OSError:
            return ""
