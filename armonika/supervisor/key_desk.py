"""What an administrator does with keys: rotate, pause, mark, destroy, tend. Keyring first, then the credentials of running doors, then the database.

Each step is durable before the next begins, and each may be repeated: a crash in between is mended by the next start or the next command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict

from armonika.policy.model import Policy
from armonika.rules.key_states import KeyState
from armonika.settings import Settings
from armonika.supervisor import certificates
from armonika.supervisor.backup.create import catalogue_of
from armonika.trust.keys import Keyring, credentials
from armonika.trust.keys.epochs import now
from armonika.trust.keys.keyring import alone
from armonika.trust.keys.tell import tell

MOST_APART = timedelta(minutes=10)
"""Between this machine's clock and that of the database: more, and one of them is wrong."""
AUTHORITY_LIFE = timedelta(days=365)
"""A key that issues certificates is changed once a year (NIST SP 800-57 part 1 §5.3.6: one to two years)."""


class KeyDeskError(Exception):
    """The command cannot be done now; the message says why and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Tended:
    """What `tend` did."""

    rotated: list[str]
    destroyed: list[tuple[str, int]]
    authority: Literal["kept", "renewed", "due"] = "kept"


def check_clock(admin_dsn: str) -> None:
    """Raises KeyDeskError while no clock may end a backup or an epoch: the database does not trust its own, or this machine has another."""
    with psycopg.connect(admin_dsn, autocommit=True) as database:
        row = database.execute("SELECT fault, clock_timestamp() FROM vault.retention_clock()").fetchone()
    assert row is not None
    if row[0]:
        raise KeyDeskError(
            f"{row[0]}: no backup and no epoch ends until somebody looked. When the clock is right: `armonika retention confirm-clock`."
        )
    if abs(row[1] - now()) > MOST_APART:
        raise KeyDeskError(
            f"The clock of this machine and that of the database are {abs(row[1] - now())} apart: no backup and no epoch ends. Set the wrong one right (NTP)."
        )


class KeyDesk:
    """The keys of one installation and its database. `admin_dsn` is the administrator's."""

    def __init__(self, config: Settings, policy: Policy, admin_dsn: str, clock: Callable[[], datetime] = now) -> None:
        self._config, self._policy, self._dsn, self._clock = config, policy, admin_dsn, clock

    def prepare(self, compartments: Sequence[str], reason: str) -> dict[str, int]:
        """Makes the next epoch of each compartment and gives it to the running doors. Returns the numbers."""
        unknown = set(compartments) - set(self._policy.compartments)
        if unknown:
            raise KeyDeskError(f"No compartment {sorted(unknown)[0]}. There are: {', '.join(self._policy.compartments)}.")
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            made = {name: ring.epochs.prepare(name, reason) for name in compartments}
            ring.save()
        self.refresh(ring)
        return made

    def activate(self, prepared: dict[str, int], reason: str) -> None:
        """Begins to write under the prepared epochs; the keeper then moves what is under the older ones."""
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            for name, number in prepared.items():
                ring.epochs.activate(name, number, reason)
            ring.save()
        with self._database() as database:
            for name, number in prepared.items():
                database.execute("SELECT vault.activate_epoch(%s, %s)", (name, number))

    def rotate(self, compartments: Sequence[str], reason: str) -> dict[str, int]:
        """`prepare` and `activate`. With services in units of their own, which read credentials at their start, do the two apart."""
        self.sync()
        prepared = self.prepare(compartments, reason)
        self.activate(prepared, reason)
        return prepared

    def pause(self, stop: bool) -> None:
        """Holds the keeper, or lets it go on."""
        with self._database() as database:
            database.execute("SELECT vault.pause_rotation(%s)", (stop,))

    def mark(self, name: str, number: int, state: KeyState, reason: str) -> None:
        """Suspends an active epoch, makes a suspended one active again, or marks one as compromised: then rotate at once.

        Raises IllegalTransition, KeyDeskError.
        """
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            line = self._known(ring, name, number)
            if line.state is KeyState.PRE_ACTIVATION and state is KeyState.ACTIVE:
                # It would leave two active epochs in the keyring: only a rotation retires the one before.
                raise KeyDeskError(
                    f"Epoch {number} of {name} was never active. `armonika keys rotate {name}` begins to write it."
                )
            if line.state is state and self._tell(name, number, state):
                # kill -9 came between the keyring and the database: the same command ends what it began.
                return
            ring.epochs.move(name, number, state, reason)
            ring.save()
        self._tell(name, number, state)

    def _tell(self, name: str, number: int, state: KeyState) -> bool:
        """Lets the database write an epoch, or write it no more. Returns whether that was new to it."""
        with self._database() as database:
            row = database.execute(
                "SELECT state FROM vault.epochs() WHERE compartment = %s AND epoch = %s", (name, number)
            ).fetchone()
            if row is None or row[0] != ("suspended" if state is KeyState.ACTIVE else "active"):
                return False
            call = "activate_epoch" if state is KeyState.ACTIVE else "suspend_epoch"
            database.execute(f"SELECT vault.{call}(%s, %s)".encode(), (name, number))
            return True

    def destroy(self, name: str, number: int, reason: str, *, early: bool = False) -> None:
        """Destroys an epoch for good, renews the keyring key and the root, and leaves an entry in the log.

        Refused while living data is under it, and before the last backup that needs it has ended, unless `early`: such backups then lose that part.
        """
        self.sync()
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            line = self._known(ring, name, number)
            if ring.epochs.used(name, number) and line.retired_at is None:
                raise KeyDeskError(f"Living data is under epoch {number} of {name}. Rotate first: `armonika keys rotate {name}`.")
            kept = timedelta(days=self._policy.copies.keep_days)
            if line.retired_at is not None and not early and self._clock() - line.retired_at < kept:
                last = (line.retired_at + kept).date().isoformat()
                raise KeyDeskError(
                    f"Backups until {last} still need epoch {number} of {name}. It is destroyed then, or now with --early."
                )
            needing = [backup.backup_id for backup in catalogue_of(self._config).all() if f"{name}/{number}" in backup.epochs]
            if needing and not early:
                raise KeyDeskError(
                    f"Backup {needing[-1]} still needs epoch {number} of {name}. `armonika backup expire` first, or --early."
                )
            with self._database() as database:
                if line.state is not KeyState.PRE_ACTIVATION:
                    database.execute("SELECT vault.note_destruction(%s, %s)", (name, number))
            ring.epochs.move(name, number, KeyState.DESTROYED, reason)
            ring.renew()
        self.refresh(ring)

    def sync(self) -> Keyring:
        """Takes into the keyring what the database finished: retired epochs, which doors then no longer hold."""
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            with self._database() as database:
                rows = database.execute(
                    "SELECT compartment, epoch, changed_at FROM vault.epochs() WHERE state = 'retired'"
                ).fetchall()
            news = [ring.epochs.retired(name, number, at) for name, number, at in rows]
            if any(news):
                ring.save()
        if any(news):
            self.refresh(ring)
        return ring

    def tend(self) -> Tended:
        """What is due: notes in the log what was done with the keys' files while the database did not answer; and by the policy removes backups, rotates epochs
        that are older than `epoch_days`, destroys those whose last backup ended.

        Raises KeyDeskError while the database does not trust the clock: a jump would remove every backup and the keys of what is still kept.
        """
        tell(Keyring.open(self._config.keys), self._dsn)
        check_clock(self._dsn)
        ring = self.sync()
        copies = self._policy.copies
        self._expire()
        rotate, destroy = ring.epochs.due(self._clock(), timedelta(days=copies.epoch_days), timedelta(days=copies.keep_days))
        for name, number in destroy:
            self.destroy(name, number, "the last backup that needed it ended")
        if rotate:
            self.rotate(rotate, f"older than {copies.epoch_days} days")
        return Tended(rotate, destroy, self._tend_authority(ring))

    def expire(self) -> list[str]:
        """Removes backups that the policy no longer keeps. Returns what is gone. Raises KeyDeskError as `tend` does."""
        check_clock(self._dsn)
        return self._expire()

    def _expire(self) -> list[str]:
        return catalogue_of(self._config).expire(self._clock(), timedelta(days=self._policy.copies.keep_days))

    def _tend_authority(self, ring: Keyring) -> Literal["kept", "renewed", "due"]:
        """Units read their certificates at their start, and a server that asks for certificates must know the authority: there it is done by hand."""
        since = ring.authority_since()
        if since is None or self._clock() - since < AUTHORITY_LIFE:
            return "kept"
        if conninfo_to_dict(self._dsn).get("sslcert") or not certificates.held(self._config):
            return "due"
        self.renew_authority()
        tell(Keyring.open(self._config.keys), self._dsn)
        return "renewed"

    def renew_authority(self) -> list[str]:
        """A new authority of certificates, and certificates of it for every running process, which takes them for its next connections. Units read
        theirs at their start: write them again and restart those that speak to each other together. Returns the running processes."""
        with alone(self._config.keys):
            ring = Keyring.open(self._config.keys)
            ring.renew_authority()
        return certificates.renew(self._config, ring)

    def refresh(self, ring: Keyring) -> None:
        """Writes the credentials of every running door anew, for the same owner. Doors that find a new epoch in the database read them again."""
        held: dict[str, dict[str, str]] = {door: dict(compartments) for door, compartments in self._policy.doors.items()}
        for path in sorted(self._config.credentials.glob("*/*.json")):
            door = path.stem
            if door == path.parent.name:
                there = path.stat()
                owner = (there.st_uid, there.st_gid) if os.geteuid() == 0 else None
                credentials.write(ring.credentials(door, held.get(door, {})), path.parent, owner)

    def _known(self, ring: Keyring, name: str, number: int) -> Any:
        for line in ring.epochs.inventory():
            if (line.compartment, line.epoch) == (name, number):
                return line
        raise KeyDeskError(f"There is no epoch {number} of {name}. `armonika keys list` shows those that are.")

    def _database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True)
