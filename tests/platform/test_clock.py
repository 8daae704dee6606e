"""The server's clock is set back and forth while it runs (libfaketime): nothing opens that was closed, and the log stays whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika.rules.retention import cutoff
from armonika.store.embedded import Embedded
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.verify import verify
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault import codec, secret_hash
from armonika.trust.vault.errors import ClockUntrusted, SessionEnded, Unavailable
from armonika.trust.vault.retention import Expirer
from tests.folders import folder
from tests.keys.house import House, house

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(LIBRARY is None, reason="needs Debian's libfaketime")]


class Clock:
    """What the server believes: `set("-1h")` moves its clock at once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set("+0")

    def set(self, offset: str) -> None:
        self.file.write_text(f"{offset}\n")
        self.file.chmod(0o644)


@pytest.fixture
def clock() -> Iterator[tuple[House, Clock]]:
    plain = Embedded._command
    with folder("clock") as place, pytest.MonkeyPatch.context() as patch:
        made = Clock(place / "offset")
        words = [
            f"LD_PRELOAD={LIBRARY}",
            f"FAKETIME_TIMESTAMP_FILE={made.file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        ]
        # Behind the change of user: the library keeps a semaphore that its first process owns.
        patch.setattr(Embedded, "_command", lambda self, *arguments: plain(self, "env", *words, *arguments))
        with house() as home:
            yield home, made


def hours_ahead(home: House) -> float:
    """How far the server's clock is from this machine's."""
    with home.admin() as admin:
        row = admin.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    assert row is not None
    return (float(row[0]) - time.time()) / 3600


def test_a_clock_that_is_set_back_or_forth_opens_nothing_and_leaves_the_log_whole(
    clock: tuple[House, Clock], tmp_path: Path
) -> None:
    home, moved = clock
    vault = home.vault()
    (made,) = home.people(vault)
    assert home.read(vault, made)["name"] == "N"
    assert abs(hours_ahead(home)) < 0.01

    moved.set("-2h")
    assert -2.1 < hours_ahead(home) < -1.9, "positive control: the server sees the other time"
    with pytest.raises(SessionEnded):
        home.read(vault, made)
    later, home.token = home.token, secret_hash(issue_token(home.embedded.admin_dsn, label="earlier"))
    assert home.read(vault, made)["name"] == "N", "who signs in again goes on"

    # A ticket that was given before the clock went back is of the future now: it opens nothing.
    moved.set("+0")
    secret, catalogue = later, vault.catalogue
    dataset = catalogue.dataset("account")
    credentials = home.provisioned.credentials("api")
    dsn = make_conninfo(home.embedded.dsn, user=credentials.database_user, password=credentials.database_password)
    with psycopg.connect(dsn, autocommit=True) as raw:
        ask = codec.percent(codec.ASK)
        row = [
            [secret],
            [1],
            [catalogue.purpose("provide")],
            [catalogue.reason("integration")],
            [None],
            [made.subject],
            [None],
            [dataset.id],
            [dataset.mask(["name"])],
            [1],
        ]
        (ticket, _) = raw.execute(ask, row).fetchone() or (None, None)
        assert ticket is not None
        assert raw.execute(codec.percent(codec.TAKE), [[secret], [ticket], [1]]).fetchall(), "positive control: at once it opens"
        (ticket, _) = raw.execute(ask, row).fetchone() or (None, None)
        moved.set("-1h")
        assert raw.execute(codec.percent(codec.TAKE), [[secret], [ticket], [1]]).fetchall() == []
        moved.set("+1h")
        assert raw.execute(codec.percent(codec.TAKE), [[secret], [ticket], [1]]).fetchall() == [], "nor does an old one later"

    moved.set("+800d")
    with pytest.raises(SessionEnded):
        home.read(vault, made)
    moved.set("-3650d")
    fresh = home.vault()
    with pytest.raises((Unavailable, SessionEnded)):
        home.read(fresh, made)

    moved.set("+0")
    home.token = later
    assert home.read(vault, made)["name"] == "N"
    sealing = home.provisioned.credentials("sealer")
    assert sealing.log_key is not None
    with psycopg.connect(make_conninfo(home.embedded.dsn, user=sealing.database_user, password=sealing.database_password), autocommit=True) as connection:  # fmt: skip
        sealer = Sealer(connection, tmp_path / "log", "armonika.test/audit", sealing.log_key)
        sealer.load()
        while sealer.seal():
            continue
    report = verify(tmp_path / "log", (tmp_path / "log" / "log.vkey").read_text())
    assert report.findings == []
    assert report.entries == home.value("SELECT count(*) FROM vault.audit"), "entries of every time are in the log"


def test_no_clock_ends_a_record_before_its_time_and_three_days_of_downtime_are_caught_up(clock: tuple[House, Clock]) -> None:
    home, moved = clock
    vault = home.vault()
    (made,) = home.people(vault)
    vault.event(home.token, made.subject, made.record, "provide", "period-begins")
    with home.admin() as admin:
        # Thirty days are over with the second midnight from now.
        began = cutoff(datetime.now(UTC), 30) + timedelta(days=1, hours=12)
        admin.execute("UPDATE vault.retention SET began_at = %s", (began,))
    job = Expirer(home.provisioned.credentials("retention"), home.embedded.dsn)
    try:
        assert job.expire() == []
        for back in ("-2h", "-3650d"):
            moved.set(back)
            with pytest.raises((ClockUntrusted, SessionEnded)):
                job.expire()
        for ahead in ("+8d", "+400d"):
            moved.set(ahead)
            with pytest.raises(ClockUntrusted):
                job.expire()
        moved.set("+1d")
        assert job.expire() == [], "the last day is whole"
        moved.set("+0")
        with pytest.raises(ClockUntrusted):
            job.expire()
        assert home.value("SELECT count(*) FROM vault.data_key") == 1
        moved.set("+3d")
        assert [row.record for row in job.expire()] == [made.record]
        assert job.expire() == []
    finally:
        job.close()
        moved.set("+0")
