"""What the retention job ended, against who holds every copy: the IP address of day 366 and the drug test of day 91 open for nobody, and no restore
brings them back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from armonika import policy
from armonika.flows import retention
from armonika.rules.retention import cutoff
from armonika.supervisor.backup.create import catalogue_of, create
from armonika.supervisor.backup.restore import restore
from armonika.trust.audit import certificate
from armonika.trust.keys import Keyring, credentials
from armonika.trust.keys.epochs import now
from armonika.trust.vault import Vault
from armonika.trust.vault.retention import Expirer
from armonika.trust.vault.types import Created, NewRecord
from tests.keys.house import House, house
from tests.keys.test_backup import Attacker, archived, opened, plunder, seal

POLICY = policy.load()
MOMENT = timedelta(microseconds=1)
HELD = {"account": "full", "traffic": "full", "applicants": "full"}
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        # No flow writes these yet: a machine with the policy's word for it does here.
        with made.admin() as admin:
            admin.execute(
                "INSERT INTO vault.door_compartment SELECT vault.policy_in_force(), 'api', id, 'full' FROM vault.compartment WHERE name IN ('traffic', 'applicants')"
            )
            admin.execute(
                "INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, o.id, 'all', 63 FROM vault.role r, vault.purpose p, vault.dataset d, vault.operation o "
                "WHERE r.name = 'integration' AND p.name = 'provide' AND d.name IN ('traffic', 'drug_test') AND o.name IN ('read', 'create')"
            )
        yield made


def api(home: House) -> Vault:
    made = Vault.open(Keyring.open(home.config.keys).credentials("api", HELD), home.embedded.dsn, size=4)
    home.opened.append(made)
    return made


def kept(vault: Vault, home: House, subject: UUID, dataset: str) -> Created:
    values = {"traffic": {"ip_address": "198.51.100.7"}, "drug_test": {"result": "negative", "certificate_date": "2026-08-01"}}[
        dataset
    ]
    return vault.create(home.token, "provide", "integration", [NewRecord(dataset, values, "subject", subject=subject)])[0]


def begun(home: House, record: UUID, dataset: str, *, over: bool) -> None:
    """The period of a record is over since this moment, or ends at the next midnight."""
    days = POLICY.retention_of(POLICY.dataset(dataset).fields[0]).days
    at = cutoff(datetime.now(UTC), days) - (MOMENT if over else timedelta(0))
    with home.admin() as admin:
        admin.execute("UPDATE vault.record SET created_at = %s WHERE record_id = %s", (at, record))
        admin.execute("UPDATE vault.retention SET began_at = %s WHERE record_id = %s", (at, record))


def job(home: House) -> int:
    expirer = Expirer(credentials.load("retention", home.config.credentials / "retention"), home.embedded.dsn)
    try:
        return retention.run(expirer).ended
    finally:
        expirer.close()


def test_a_restore_from_before_the_end_does_not_bring_it_back(home: House, folder: Path) -> None:
    vault = api(home)
    stays, closes = home.people(vault, 2)
    ip, test = kept(vault, home, stays.subject, "traffic"), kept(vault, home, stays.subject, "drug_test")
    young = kept(vault, home, stays.subject, "traffic")
    seal(home)
    backup = create(home.config, POLICY, home.embedded.admin_dsn)
    archived(home, catalogue_of(home.config))
    middle = datetime.now(UTC)
    time.sleep(1.1)
    for record, dataset in ((ip.record, "traffic"), (test.record, "drug_test")):
        begun(home, record, dataset, over=True)
    begun(home, young.record, "traffic", over=False)
    vault.event(home.token, closes.subject, closes.record, "provide", "period-begins")
    assert job(home) == 2
    assert job(home) == 0
    seal(home)
    archived(home, catalogue_of(home.config))
    text = certificate.make(home.config.audit_log, stays.subject, {}, ip.record)
    certified = certificate.verify(text, (home.config.audit_log / "log.vkey").read_text())
    assert [(key["record"], key["compartment"]) for key in certified.keys] == [(str(ip.record), "traffic")]
    assert certified.proven.entry["reason"] == "retention"
    assert certified.record == str(ip.record), "the person is still there: it certifies the end of this record alone"

    place = folder / "restored"
    done = restore(home.config, POLICY, catalogue_of(home.config), backup, place, middle, say=lambda _: None)
    assert done.replayed.ended >= 2
    embedded, config = opened(place)
    try:
        ring = Keyring.open(config.keys)
        with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
            found = {record for (record,) in connection.execute("SELECT record_id FROM vault.data_key").fetchall()}
            told = connection.execute(
                "SELECT began_at = a.at FROM vault.retention r JOIN vault.audit a ON a.audit_id = r.audit_id WHERE r.record_id = %s",
                (closes.record,),
            ).fetchall()
        assert not {ip.record, test.record} & found, "what ended stays ended"
        assert {young.record, stays.record, closes.record} <= found
        assert len(told) == 1, "an event that the copy had lost is told again"
        restored = Vault.open(ring.credentials("api", HELD), embedded.dsn, size=2)
        expirer = Expirer(ring.credentials("retention", {}), embedded.dsn)
        try:
            assert (
                restored.read(home.token, stays.subject, "traffic", ["ip_address"], "provide", "integration")[0].record
                == young.record
            )
            assert expirer.clock().fault is None, "the entries of the log prove the time that passed"
            assert retention.run(expirer).ended == 0
        finally:
            expirer.close()
            restored.close()
    finally:
        embedded.stop()


def test_day_366_and_day_91_open_for_nobody_when_their_epoch_has_ended(home: House, folder: Path) -> None:
    """Claim 6a.6 against who has every old backup, keyring and file, the present ones, and the root key of today."""
    vault = api(home)
    (folder / "old").mkdir()
    (person,) = home.people(vault)
    ended = {"traffic": kept(vault, home, person.subject, "traffic"), "drug_test": kept(vault, home, person.subject, "drug_test")}
    young = kept(vault, home, person.subject, "traffic")
    seal(home)
    old = create(home.config, POLICY, home.embedded.admin_dsn)
    shutil.copy(home.config.keys / "keyring.json", folder / "old" / "keyring.json")

    def opens(attacker: Attacker, rings: list[Keyring], row: tuple[Any, ...]) -> bool:
        return any(attacker.opens(ring, vault.catalogue.dataset(row[2]), row) for ring in rings)

    plunder(home, folder, old, "old")
    attacker = Attacker(folder, home.config.keys)
    rows = attacker.rows({person.subject})[person.subject]
    assert len(rows) == 4
    assert all(opens(attacker, attacker.keyrings(), row) for row in rows), "the attack works before anything ends"

    for dataset, made in ended.items():
        begun(home, made.record, dataset, over=True)
    begun(home, young.record, "traffic", over=False)
    assert job(home) == 2
    seal(home)
    home.desk.rotate(["traffic", "applicants"], "by the calendar")
    home.finish_rotation()
    epochs = {name: home.desk.sync().epochs.active(name) for name in ("traffic", "applicants")}
    gone = [row for row in rows if row[1] in {made.record for made in ended.values()}]
    assert len(gone) == 2
    assert all(opens(attacker, attacker.keyrings(), row) for row in gone), (
        "as long as its epoch is needed by backups, an old copy opens"
    )
    home.later = now() + timedelta(days=36)
    assert catalogue_of(home.config).expire(home.later, timedelta(days=35))
    done = home.desk.tend()
    home.later = None
    assert {(name, (number or 0) - 1) for name, number in epochs.items()} <= set(done.destroyed)
    home.finish_rotation()

    plunder(home, folder, create(home.config, POLICY, home.embedded.admin_dsn), "fresh")
    shutil.copy(home.config.keys / "keyring.json", folder / "keyring.json")
    rings = attacker.keyrings()
    assert rings, "the keyring of today opens with the root of today"
    assert not [row for row in gone if opens(attacker, rings, row)]
    today = attacker.rows({person.subject})[person.subject]
    fresh = [row for row in today if row[1] == young.record]
    assert any(opens(attacker, rings, row) for row in fresh), "positive control: what is not due opens with today's keys"
