"""What an installation does by the calendar beside its services: room for the audit log, keys, a backup a day and a restore drill a month."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from armonika import policy
from armonika.settings import CHECKOUT
from armonika.store import partitions, watch
from armonika.store.private_files import KeyFileError
from armonika.store.turn import MigrationError
from armonika.supervisor.backup import drill
from armonika.supervisor.backup.catalogue import Backup, BackupError
from armonika.supervisor.backup.create import MARK, archive_command, archive_on, catalogue_of, key_pair
from armonika.supervisor.installation import Installation
from armonika.supervisor.key_desk import KeyDesk, KeyDeskError

TEND_SECONDS = 300.0
SAY_AGAIN_SECONDS = 3600.0
FIRST_BACKUP_SECONDS = 600.0
"""A start is not slowed down by a backup, and one that lasts a minute makes none."""
DAY, MONTH = timedelta(days=1), timedelta(days=30)


def due(kept: Sequence[Backup], at: datetime) -> str | None:
    """What is due of the backups: `create` daily, then `drill` monthly (claim 3a.3). A clock that went back makes nothing due twice in a row."""
    newest = max((backup.created for backup in kept), default=None)
    if newest is None or at - newest >= DAY:
        return "create"
    drilled = max((datetime.fromisoformat(backup.restored_at) for backup in kept if backup.restored_at), default=None)
    return "drill" if drilled is None or at - drilled >= MONTH else None


def expired(admin_dsn: str) -> str | None:
    """What the retention job has left undone for more than a day, or why it stands still; None when all is well. No id, no value."""
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            late = connection.execute(
                "SELECT coalesce(sum(overdue), 0), min(oldest) FILTER (WHERE overdue > 0) FROM vault.retention_progress()"
            ).fetchone()
            clock = connection.execute("SELECT fault FROM vault.retention_clock()").fetchone()
    except psycopg.Error:
        return None
    if clock and clock[0]:
        return f"nothing that expired is ended: {clock[0]}. Look at the clock, then `armonika retention confirm-clock`."
    if late and late[0]:
        return f"{late[0]} records are kept longer than the policy allows, since {late[1]:%Y-%m-%d}: `armonika retention run`. Log of the job: logs/worker.log"
    return None


@dataclass
class Rounds:
    """`tick` is called often and returns at once; what takes long runs as a process of its own, one at a time."""

    installation: Installation
    say: Callable[[str], None] = print
    began: float = field(default_factory=time.monotonic)
    _tended: float = float("-inf")
    _working: subprocess.Popen[bytes] | None = None
    _again_at: float = 0.0
    _said_at: float = float("-inf")
    _queue: list[str] = field(default_factory=list)
    _bare: bool | None = None
    _failed: str = ""
    _lacking: list[str] = field(default_factory=list)

    def tick(self) -> None:
        """Does what is due. A disk of backups that is gone, a manifest that is damaged or a root provider that does not answer must not end what serves."""
        try:
            self._tick()
            self._failed = ""
        except (BackupError, KeyFileError, OSError, psycopg.Error) as error:
            if str(error) != self._failed:
                self._failed = str(error)
                self.say(f"armonika: {error} Tried again all the time; said once.")

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._tended > TEND_SECONDS:
            self._tended = now
            self._tend()
            self._expired(now)
        if self._working is not None:
            if self._working.poll() is None:
                return
            if self._working.returncode:
                self.say(
                    f"armonika: a backup or drill failed; tried again in an hour. Log: {self.installation.settings.logs / 'backup.log'}"
                )
                self._again_at, self._queue = now + 3600, []
            elif self._bare:
                self._bare = False
                self.say("The backup is made, and the log of the database is archived from here on.")
            self._working = None
        # A server of its own is backed up by its own calendar: its archive is set there (docs/operate.md).
        if not self._queue and not self.installation.settings.database_url and now >= self._again_at:
            if self._bare is None and (reason := self._unarchived()):
                self.say(reason)
            wanted = "create" if self._bare else None
            if not wanted and now - self.began > FIRST_BACKUP_SECONDS:
                wanted = due(catalogue_of(self.installation.settings).look()[0], datetime.now(UTC))
            self._queue = {"create": ["create", "expire"], "drill": ["drill"], None: []}[wanted]
        if self._queue:
            self._run(self._queue.pop(0))

    def _unarchived(self) -> str:
        """Once a start: why a backup cannot wait. A restored copy archives nothing until its first one, so that it never mixes with what it came from."""
        config = self.installation.settings
        with psycopg.connect(self.installation.admin_dsn, autocommit=True) as connection:
            row = connection.execute("SELECT current_setting('archive_command')").fetchone()
        command = str(row[0]) if row else ""
        if "armonika.entry.archive_wal" in command and command != archive_command(config):
            # The home, the checkout or the folder of backups was moved: until this is set anew every segment waits.
            archive_on(config, self.installation.admin_dsn, key_pair(config)[1])
            self.say("The archive of the database's log was set to its new place.")
        restored = (config.home / MARK).exists()
        self._bare = restored or (command == "/bin/true" and bool(catalogue_of(config).look()[0]))
        if not self._bare:
            return ""
        what = "was restored" if restored else "does not archive the log of its database"
        return f"This home {what}: a backup is made now. Until it is there, a fault loses what was written since the start."

    def stop(self) -> None:
        """Ends what runs; a backup that is not finished counts for nothing."""
        if self._working is not None and self._working.poll() is None:
            self._working.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._working.wait(10)

    def _run(self, action: str) -> None:
        with (self.installation.settings.logs / "backup.log").open("ab") as output:
            self._working = subprocess.Popen(
                [sys.executable, "-m", "armonika.doors.cli.main", "backup", action], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def _room(self, connection: psycopg.Connection[Any]) -> None:
        """Room for the next entries, and what is missing of the log: said when it comes, and when it is another."""
        try:
            partitions.extend(connection)
            words = [f"{gap.words()}." for gap in partitions.gaps(connection)]
        except MigrationError as error:
            words = [str(error)]
        if words != self._lacking:
            for one in words or ["The audit log is in its partitions again."]:
                self.say(f"armonika: {one}")
            self._lacking = words

    def _expired(self, now: float) -> None:
        """Says when the retention job falls behind by more than a day, or stands still because of the clock (claim 6a.9). Once an hour."""
        if now - self._said_at < SAY_AGAIN_SECONDS:
            return
        words = expired(self.installation.admin_dsn)
        if words:
            self._said_at = now
            self.say(f"armonika: {words}")

    def _tend(self) -> None:
        """A root provider that does not answer holds nothing up: the doors have their keys."""
        if drill.sweep(self.installation.settings):
            self.say("The copy of a drill that was killed is removed.")
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(self.installation.admin_dsn, autocommit=True) as connection,
        ):
            # First: what is held could hold up the next.
            for name in watch.end_held(connection):
                self.say(f"armonika: {name} held a transaction open for minutes; its session was ended.")
            self._room(connection)
        desk = KeyDesk(self.installation.settings, policy.load(), self.installation.admin_dsn)
        try:
            done = desk.tend()
        except (KeyFileError, KeyDeskError, BackupError, psycopg.Error) as error:
            self.say(f"armonika: keys were not tended: {type(error).__name__}: {error}")
            return
        for name in done.rotated:
            self.say(f"A new epoch of {name} is written.")
        for name, number in done.destroyed:
            self.say(f"Epoch {number} of {name} is destroyed.")
        if done.authority == "renewed":
            self.say("The authority of our own processes' certificates is new.")
