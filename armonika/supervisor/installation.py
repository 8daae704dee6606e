"""One installation on one machine: the database, the keys and the credentials of its processes, made ready and taken down."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.settings import CHECKOUT, Settings
from armonika.store.embedded import DatabaseError, Embedded
from armonika.store.private_files import write_private
from armonika.store.users import User, make_reachable, user_for
from armonika.supervisor import certificates, tls
from armonika.supervisor.backup.catalogue import BackupError
from armonika.supervisor.backup.create import BEGUN, LAID_READY, MARK
from armonika.supervisor.backup.replay import replay
from armonika.supervisor.database import check_transport, door_dsn, dsn_of
from armonika.trust import crypto
from armonika.trust.keys import Keyring
from armonika.trust.keys.provision import Provisioned, provision

DOORS = ("site", "console", "api", "worker", "sealer", "keeper", "timpani")
ALSO = {"worker": ("retention",)}
"""Jobs that run in a door's process under a database role of their own."""


class AlreadyRunning(Exception):
    """Another start holds this home; the message names the process."""


@dataclass
class Installation:
    """Use as a context manager: everything that was made for the run is taken down at its end."""

    settings: Settings
    say: Callable[[str], None] = print
    embedded: Embedded | None = None
    provisioned: Provisioned | None = None
    admin_dsn: str = ""
    dsn: str = ""
    page_key: str = ""
    """Opens the mail sink's page: made anew at each start."""
    _lock: int = -1

    def user(self, process: str) -> User | None:
        """The user of a process when started as root; None when everything runs as one ordinary user."""
        return user_for(process) if os.geteuid() == 0 else None

    def lock(self) -> None:
        """One start at a time. Raises AlreadyRunning."""
        self.settings.run.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.settings.run / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 20, 0).decode().strip() or "another process"
            raise AlreadyRunning(
                f"Armonika already runs here (process {holder}, home {self.settings.home}). Stop it, or name another ARMONIKA_HOME and ARMONIKA_PORT."
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def start(self) -> None:
        """Database, keys, schema, policy, job queue. Raises DatabaseError, RootKeyError, MigrationError, PolicyError, BackupError."""
        loaded = policy.load()
        mark = self.settings.home / MARK
        if mark.exists() and mark.read_text().endswith(BEGUN):
            raise BackupError(
                f"{self.settings.home} is a restore that did not come to its end: what it holds is not whole. Remove it and restore again; nothing was changed."
            )
        if self.settings.database_url:
            check_transport(self.settings.database_url)
            self.admin_dsn = self.settings.database_url
            _reach(self.admin_dsn)
        else:
            self.embedded = Embedded(self.settings.postgres, self.settings.keys, self.user("postgres"))
            self.embedded.prepare()
            self.embedded.start(self.settings.logs / "postgres.log")
            self.admin_dsn = self.embedded.admin_dsn
        self.dsn = dsn_of(self.admin_dsn)
        self.provisioned = provision(self.settings.keys, self.admin_dsn, catalogue(loaded), self._recover)
        jobs.install(self.admin_dsn)
        self._note_restore()
        certificates.publish(self.settings, self.provisioned.keyring.authority())

    def _recover(self, ring: Keyring) -> None:
        """Before anything is served: a database that is an older copy takes back what was sealed outside it."""
        replayed = replay(self.settings.audit_log, self.admin_dsn, crypto.ed25519_public(ring.log_key()))
        for words in replayed.words():
            self.say(words)

    def _note_restore(self) -> None:
        """Files that a restore laid ready for a server of one's own, recovered by now: their restore has its entry in the log, as every restore."""
        mark = self.settings.home / MARK
        if self.settings.database_url is None or not mark.exists():
            return
        if mark.read_text().endswith(LAID_READY):
            with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
                connection.execute("SELECT vault.note_restore()")
            write_private(mark, mark.read_bytes().removesuffix(LAID_READY.encode()))
        self.say(
            "This home was restored. Make a backup now: `armonika backup create`. Until it is there, a fault loses what was written since."
        )

    def hand_out(self, door: str) -> tuple[dict[str, str], User | None]:
        """Writes the credentials of `door` for its user alone; returns the environment and user to start it with."""
        assert self.provisioned is not None
        user = self.user(door)
        folder = self.settings.credentials / door
        self.settings.credentials.mkdir(mode=0o711, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = (user.uid, user.gid) if user else None
        if door in DOORS:
            self.provisioned.write_credentials(door, folder, owner)
        authority = self.provisioned.keyring.authority()
        certificates.hand_out(authority, door, folder, owner)
        for also in ALSO.get(door, ()):
            self.provisioned.write_credentials(also, folder, owner)
            certificates.hand_out(authority, also, folder, owner, own=certificates.beside(also))
        if door == "mailsink":
            self.page_key = secrets.token_urlsafe(24)
            write_private(folder / "page.key", self.page_key.encode(), 0o400, owner)
        if self.settings.tls and door in tls.LISTENERS:
            tls.hand_out(self.settings, door, folder, user)
        if user:
            os.chown(folder, user.uid, user.gid)
            make_reachable(CHECKOUT, user)
            make_reachable(self.settings.home, user)
        return environment(self.settings, door_dsn(self.dsn, folder), folder), user

    def close(self) -> None:
        """Takes down what the run needed."""
        shutil.rmtree(self.settings.credentials, ignore_errors=True)
        if self.embedded:
            self.embedded.stop()
        if self._lock >= 0:
            os.close(self._lock)


def _reach(admin_dsn: str) -> None:
    """Raises DatabaseError with the server's words when the database of one's own cannot be reached. Nothing was changed by then."""
    try:
        psycopg.connect(admin_dsn, autocommit=True, connect_timeout=20).close()
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"The database in ARMONIKA_DATABASE_URL cannot be reached. Mend the address or the server, then start again; nothing was changed.\n{error}"
        ) from None


def environment(settings: Settings, dsn: str, credentials: Path) -> dict[str, str]:
    """What a process may know from its environment: paths, ports, the server's address. No secret."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
    return kept | {
        "ARMONIKA_HOME": str(settings.home), "ARMONIKA_PORT": str(settings.port), "ARMONIKA_DSN": dsn, "CREDENTIALS_DIRECTORY": str(credentials),
        "ARMONIKA_API_RATE": str(settings.api_rate), "ARMONIKA_API_CONNECTIONS": str(settings.api_connections),
        "ARMONIKA_API_PEER_CONNECTIONS": str(settings.api_peer_connections), "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(settings.run),
        "ARMONIKA_HOST": settings.host, "ARMONIKA_LISTEN": settings.listen,
    } | ({"ARMONIKA_TLS": str(settings.tls)} if settings.tls else {}) | ({"ARMONIKA_API_CLIENTS": str(settings.api_clients)} if settings.api_clients else {}) | ({"ARMONIKA_MAIL_SERVER": ":".join(map(str, settings.mail_server))} if settings.mail_server else {})  # fmt: skip
