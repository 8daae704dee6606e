"""A full disk under the database: what was acknowledged is there when there is room again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from armonika.store.embedded import DatabaseError, Embedded
from armonika.store.users import user_for
from armonika.supervisor.ballast import Ballast


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_on_a_full_disk(tmp_path: Path) -> None:
    small = Path("/var/tmp") / f"armonika-full-{os.getpid()}"
    small.mkdir()
    if (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200m,mode=0755", "tmpfs", str(small)], check=False, capture_output=True
        ).returncode
        != 0
    ):
        small.rmdir()
        pytest.skip("no file system can be mounted here")
    embedded = Embedded(small / "postgres", tmp_path / "keys", user_for("postgres"))
    ballast = Ballast(small / "ballast", size=40 * 1024 * 1024)
    acknowledged = 0
    try:
        embedded.prepare()
        ballast.make()
        embedded.start(tmp_path / "postgres.log")
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE fill (n int, t text)")
            connection.execute("ALTER TABLE fill ALTER t SET STORAGE EXTERNAL")
            with pytest.raises(psycopg.Error):
                for number in range(10_000):
                    connection.execute(
                        "INSERT INTO fill SELECT %s, string_agg(md5(random()::text), '') FROM generate_series(1, 3000)", (number,)
                    )
                    acknowledged = number + 1
        assert 100 < acknowledged < 10_000
        embedded.stop()
        ballast.release()
        try:
            embedded.start(tmp_path / "postgres.log")
        except DatabaseError as error:  # pragma: no cover
            pytest.fail(str(error))
        with psycopg.connect(embedded.admin_dsn) as connection:
            row = connection.execute("SELECT count(*) FROM fill").fetchone()
        assert row is not None
        assert row[0] >= acknowledged
    finally:
        embedded.stop()
        subprocess.run(["umount", "-l", str(small)], check=False)
        small.rmdir()
