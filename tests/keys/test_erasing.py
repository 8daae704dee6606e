"""A restore and a certificate between an erasure and the destruction of its keys."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from armonika.supervisor.backup.create import catalogue_of, create
from armonika.supervisor.backup.replay import replay
from armonika.supervisor.backup.restore import restore
from armonika.trust.audit import certificate
from armonika.trust.audit.verify_proof import ProofRefused
from armonika.trust.crypto import ed25519_public
from armonika.trust.keys import Keyring
from armonika.trust.vault.errors import Refused
from armonika.trust.vault.types import NewRecord
from tests.keys.house import House, house
from tests.keys.test_backup import POLICY, archived, opened, seal


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        yield made


def test_who_is_erased_but_not_yet_destroyed_does_not_come_back_by_a_restore(home: House, folder: Path) -> None:
    """The register has the person's line and none of the records': the restored copy destroys them all the same, and the certificate waits."""
    api, keeper = home.vault("api"), home.keeper()
    person = home.people(api)[0]
    more = [NewRecord("account", {"name": f"N{n}"}, "organisation", subject=person.subject) for n in range(49)]
    api.create(home.token, "provide", "integration", more)
    backup = create(home.config, POLICY, home.embedded.admin_dsn)
    archived(home, catalogue_of(home.config))
    middle = datetime.now(UTC)
    time.sleep(1.1)
    api.erase(home.token, [person.subject], "provide", "integration")
    seal(home)
    archived(home, catalogue_of(home.config))
    keys = f"SELECT count(*) FROM vault.data_key WHERE subject_id = '{person.subject}'"
    assert home.value(keys) == 50
    with pytest.raises(certificate.NoErasure, match="0 of 50"):
        certificate.make(home.config.audit_log, person.subject, {})
    for until in (middle, None):
        place_ = folder / "restored"
        restore(home.config, POLICY, catalogue_of(home.config), backup, place_, until, say=lambda _: None)
        embedded, _config = opened(place_)
        try:
            with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
                # Restored to the end it is as the running system is: erased, and waiting for its keeper.
                assert connection.execute(keys.encode()).fetchone() == (0 if until else 50,)
                state = connection.execute("SELECT state FROM vault.subject WHERE subject_id = %s", (person.subject,)).fetchone()
                assert state == ("erased",)
        finally:
            embedded.stop()
            shutil.rmtree(place_, ignore_errors=True)
    while keeper.step():
        continue
    assert home.value(keys) == 0
    seal(home)
    vkey = (home.config.audit_log / "log.vkey").read_text()
    text = certificate.make(home.config.audit_log, person.subject, {})
    assert len(certificate.verify(text, vkey).keys) == 50
    content = json.loads(text)
    short = [line for line in content["register"] if line["record"] != str(person.record)]
    assert len(short) == 50
    with pytest.raises(ProofRefused, match="49 records, and 50"):
        certificate.verify(json.dumps(content | {"register": short}), vkey)


def test_who_was_put_back_from_a_copy_ends_again_at_the_next_start(home: House) -> None:
    """A superuser kept the rows of somebody who is erased since, and of a record that ended: as long as their epoch lives, the doors would open them."""
    api = home.vault("api")
    gone, stays = home.people(api, 2)
    second = api.create(
        home.token, "provide", "integration", [NewRecord("account", {"name": "second"}, "organisation", subject=stays.subject)]
    )[0]
    tables, ids = ("record", "data_key", "lookup"), [gone.record, second.record]
    with home.admin() as admin:
        kept = {table: admin.execute(f"SELECT * FROM vault.{table} WHERE record_id = ANY (%s)".encode(), (ids,)).fetchall() for table in tables}  # fmt: skip
    api.erase(home.token, [gone.subject], "provide", "integration")
    api.erase_records(home.token, [(stays.subject, second.record)], "provide", "integration")
    seal(home)
    with home.admin() as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("UPDATE vault.subject SET state = 'active' WHERE subject_id = %s", (gone.subject,))
        admin.execute("DELETE FROM vault.tombstone WHERE subject_id = %s", (gone.subject,))
        for table, found in kept.items():
            for row in found:
                admin.execute(f"INSERT INTO vault.{table} VALUES ({', '.join(['%s'] * len(row))})".encode(), row)
    assert home.read(api, gone)["name"] == "N", "the attack works"
    public = ed25519_public(Keyring.open(home.config.keys).log_key())
    assert replay(home.config.audit_log, home.embedded.admin_dsn, public).ended == 3
    with pytest.raises(Refused):
        home.read(api, gone)
    assert {row.record for row in api.read(home.token, stays.subject, "account", ["name"], "provide", "integration")} == {
        stays.record
    }
    assert home.value(f"SELECT count(*) FROM vault.tombstone WHERE subject_id = '{gone.subject}'") == 1
    assert home.read(api, stays)["name"] == "N"
    assert replay(home.config.audit_log, home.embedded.admin_dsn, public).ended == 0
