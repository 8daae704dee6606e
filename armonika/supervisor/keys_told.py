"""Tells a running database at once what was done with the keys' files; one that does not answer is told by its next start."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from armonika.settings import Settings
from armonika.store.private_files import KeyFileError
from armonika.supervisor.database import admin_dsn
from armonika.trust.keys import Keyring
from armonika.trust.keys.tell import tell

_WAIT_SECONDS = 3


def tell_now(config: Settings, ring: Keyring, say: Callable[[str], None]) -> None:
    """Notes what `ring`'s journal holds, or says that the next start does. What was done is done: nothing is raised."""
    try:
        tell(ring, admin_dsn(config), _WAIT_SECONDS)
    except (psycopg.Error, KeyFileError):
        say("The database does not answer: the entry in its log is made by the next start (`armonika serve`).")
