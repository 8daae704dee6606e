"""Called by PostgreSQL for each finished segment of its log (`archive_command`): seals it with the public key, which is all it has.

`python -m armonika.entry.archive_wal PATH NAME FOLDER`. Status 0 only when the sealed segment is durable; the server tries again otherwise.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from armonika.supervisor.backup.create import PUBLIC, wal_place
from armonika.trust import archive


def main(path: str, name: str, folder: str) -> int:
    """0 archived (or archived before, with the same content), 1 not."""
    target = Path(folder)
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    sealed = target / f"{name}.{digest}.sealed"
    if sealed.exists():
        return 0
    if list(target.glob(f"{name}.*.sealed")):
        print(f"archive: another {name} is archived already; nothing was overwritten", file=sys.stderr)
        return 1
    temporary = target / f".{name}.new"
    with temporary.open("wb") as file:
        archive.seal([content], file, (target / PUBLIC).read_bytes(), wal_place(name))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(sealed)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
