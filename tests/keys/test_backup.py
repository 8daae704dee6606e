"""Backups, restores, and the attacker who holds every copy: what ended opens for nobody, what stays by law opens for who may."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from armonika import policy
from armonika.flows import jobs
from armonika.policy.compile import catalogue
from armonika.settings import Settings
from armonika.store.embedded import Embedded
from armonika.store.users import user_for
from armonika.supervisor.backup.catalogue import BASE, LOG, Backup, BackupError, Catalogue
from armonika.supervisor.backup.create import Pipe, catalogue_of, create, key_pair, place, verify, wal_place
from armonika.supervisor.backup.replay import replay
from armonika.supervisor.backup.restore import extract, restore
from armonika.trust import archive, crypto
from armonika.trust.audit import certificate, register
from armonika.trust.audit.register import Register, RegisterBroken
from armonika.trust.audit.sealer import Sealer
from armonika.trust.audit.verify import verify as verify_log
from armonika.trust.audit.verify_proof import ProofRefused
from armonika.trust.keys import Keyring, credentials
from armonika.trust.keys.epochs import now
from armonika.trust.keys.provision import provision
from armonika.trust.vault import Vault
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import Refused, VaultError
from armonika.trust.vault.types import NewRecord
from tests.keys.house import House, house

POLICY = policy.load()


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        yield made


def seal(home: House, log: Path | None = None) -> None:
    """One turn of the sealer and the register."""
    held = credentials.load("sealer", home.config.credentials / "sealer")
    assert held.log_key
    folder = log or home.config.audit_log
    folder.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(
        make_conninfo(home.embedded.dsn, user=held.database_user, password=held.database_password), autocommit=True
    ) as connection:
        sealer, written = (
            Sealer(connection, folder, "armonika.dz/audit", held.log_key),
            Register(connection, folder, held.log_key),
        )
        sealer.load()
        written.load()
        while written.write() or sealer.seal():
            continue


def archived(home: House, kept: Catalogue) -> None:
    """Waits until everything written so far is in the archive."""
    name = home.value("SELECT pg_walfile_name(pg_create_restore_point('test'))")
    home.value("SELECT pg_switch_wal()")
    end = time.monotonic() + 30
    while str(name) not in kept.segments():
        assert time.monotonic() < end, (home.config.logs / "postgres.log").read_text()[-2000:]
        time.sleep(0.1)


def opened(restored: Path) -> tuple[Embedded, Settings]:
    config = Settings(home=restored, port=8000, database_url=None)
    embedded = Embedded(config.postgres, config.keys, user_for("postgres") if os.geteuid() == 0 else None)
    embedded.prepare()
    embedded.start(config.logs / "postgres.log")
    return embedded, config


@pytest.mark.timeout(240)
def test_a_restore_brings_back_what_lived_and_not_what_ended(home: House, folder: Path) -> None:
    api = home.vault("api")
    gone, stays, corrected = home.people(api, 3)
    ip = api.create(
        home.token, "provide", "integration", [NewRecord("account", {"name": "second"}, "organisation", subject=stays.subject)]
    )[0]
    before = home.read(api, corrected)
    seal(home)
    backup = create(home.config, POLICY, home.embedded.admin_dsn)
    late = home.people(api)[0]
    archived(home, catalogue_of(home.config))
    middle = datetime.now(UTC)
    time.sleep(1.1)
    api.correct(home.token, corrected.subject, corrected.record, {"name": "after"}, "provide", "integration")
    api.erase(home.token, [gone.subject], "provide", "integration")
    api.erase_records(home.token, [(stays.subject, ip.record)], "provide", "integration")
    seal(home)
    archived(home, catalogue_of(home.config))
    kept = catalogue_of(home.config)
    assert verify(home.config, backup).verified_at

    for until in (middle, None):
        place_ = folder / "restored"
        done = restore(home.config, POLICY, kept, backup, place_, until, say=lambda _: None)
        embedded, config = opened(place_)
        try:
            if until is not None:
                assert done.replayed.ended >= 3
                assert done.replayed.entries > 0
            vault = Vault.open(Keyring.open(config.keys).credentials("api", {"account": "full"}), embedded.dsn, size=2)
            try:
                (record,) = vault.read(home.token, corrected.subject, "account", ["name", "email"], "provide", "integration")
                assert record.values["name"] == ("after" if until is None else before["name"])
                assert vault.read(home.token, late.subject, "account", ["name"], "provide", "integration")
                with pytest.raises(Refused):
                    vault.read(home.token, gone.subject, "account", ["name"], "provide", "integration")
                names = [
                    found.record for found in vault.read(home.token, stays.subject, "account", ["name"], "provide", "integration")
                ]
                assert names == [stays.record]
            finally:
                vault.close()
            with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
                assert connection.execute(
                    "SELECT count(*) FROM vault.data_key WHERE subject_id = %s", (gone.subject,)
                ).fetchone() == (0,)
                assert connection.execute(
                    "SELECT state FROM vault.subject WHERE subject_id = %s", (gone.subject,)
                ).fetchone() == ("erased",)
                assert connection.execute(
                    "SELECT count(*) FROM vault.audit a JOIN vault.operation o ON o.id = a.operation AND o.name = 'restore'"
                ).fetchone() == (1,)
                sealed = connection.execute("SELECT size FROM vault.seal_state").fetchone()
                original = home.value("SELECT size FROM vault.seal_state")
                assert sealed == (original,), "the log goes on where it was, and does not fork"
                again = replay(config.audit_log, embedded.admin_dsn, crypto.ed25519_public(Keyring.open(config.keys).log_key()))
                assert (again.entries, again.ended) == (0, 0)
        finally:
            embedded.stop()
            shutil.rmtree(place_, ignore_errors=True)
    report = verify_log(home.config.audit_log, (home.config.audit_log / "log.vkey").read_text())
    assert not report.findings


class Attacker:
    """Holds every backup, every old and present file of the machine, and the root key of today; knows our formats; is in no hurry."""

    def __init__(self, files: Path, today: Path) -> None:
        self.files, self.today = files, today

    def keyrings(self) -> list[Keyring]:
        """Every keyring file ever, with the root key of today."""
        found = []
        for number, path in enumerate(sorted(self.files.glob("**/keyring.json"))):
            folder = self.files / f"try-{number}"
            folder.mkdir(exist_ok=True)
            for name, source in (("keyring.json", path), ("root.key", self.today / "root.key")):
                shutil.copy(source, folder / name)
                (folder / name).chmod(0o600)
            try:
                found.append(Keyring.open(folder))
            except Exception:
                continue
        return found

    def rows(self, wanted: set[Any]) -> dict[Any, list[tuple[Any, ...]]]:
        """Wrapped keys and ciphertexts of people, from every database copy that opens."""
        held: dict[Any, list[tuple[Any, ...]]] = {subject: [] for subject in wanted}
        for path in sorted(self.files.glob("data-*")):
            embedded = Embedded(path, self.today, user_for("postgres") if os.geteuid() == 0 else None)
            if os.geteuid() == 0 and embedded.user:
                for each in (path, *path.rglob("*")):
                    os.chown(each, embedded.user.uid, embedded.user.gid)
            embedded.prepare()
            embedded.start(self.files / "pg.log", timeout=60)
            try:
                embedded.wait_promoted()
                with psycopg.connect(embedded.admin_dsn, autocommit=True) as connection:
                    found = connection.execute(
                        "SELECT r.subject_id, r.record_id, d.name, k.kind, k.epoch, k.wrapped, r.present, r.versions, r.ciphertexts FROM vault.record r "
                        "JOIN vault.data_key k USING (subject_id, record_id) JOIN vault.dataset d ON d.id = r.dataset WHERE r.subject_id = ANY (%s)",
                        (list(wanted),),
                    ).fetchall()
                    for row in found:
                        held[row[0]].append(row)
            finally:
                embedded.stop()
        return held

    def opens(self, ring: Keyring, dataset: Any, row: tuple[Any, ...]) -> bool:
        """Whether a keyring opens a row: with every epoch that it still holds, retired ones too."""
        subject, record, _, kind, epoch, wrapped, present, versions, ciphertexts = row
        ring.epochs.hold_again()
        held = [bytes(c) if c is not None else None for c in ciphertexts]
        try:
            values, _ = Envelope(ring.credentials("api", {dataset.compartment: "full"})).open(
                Layout(dataset, present), subject, record, kind, epoch, bytes(wrapped), versions, held
            )
        except VaultError:
            return False
        return bool(values)


def plunder(home: House, files: Path, backup: Backup, name: str) -> None:
    """A backup, unsealed and ready to be started by who stole it."""
    private, _ = key_pair(home.config)
    data = files / f"data-{name}" / "data"
    data.mkdir(parents=True)
    with (
        catalogue_of(home.config).path(backup, BASE).open("rb") as source,
        tarfile.open(
            fileobj=cast("IO[bytes]", Pipe(archive.opened(source, private, place(backup.backup_id, BASE)))), mode="r|"
        ) as tar,
    ):
        extract(tar, data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(
            "\nrestore_command = 'false'\nrecovery_target = 'immediate'\nrecovery_target_action = 'promote'\narchive_command = '/bin/true'\n"
        )
    data.chmod(0o700)


def test_who_holds_every_copy_and_todays_root_opens_nothing_that_ended(home: House, tmp_path: Path, folder: Path) -> None:
    """The attack of issue and claim 6a.6: old backups, old keyrings, pages and log segments of the machine, the present files, the root key of today."""
    api = home.vault("api")
    (folder / "old").mkdir()
    gone, stays = home.people(api, 2, name="Needle Haystack")
    ended = api.create(
        home.token, "provide", "integration", [NewRecord("account", {"name": "Day 366"}, "organisation", subject=stays.subject)]
    )[0]
    dataset = api.catalogue.dataset("account")
    seal(home)
    kept = catalogue_of(home.config)
    old = create(home.config, POLICY, home.embedded.admin_dsn)
    shutil.copy(home.config.keys / "keyring.json", folder / "old" / "keyring.json")

    plunder(home, folder, old, "old")
    attacker = Attacker(folder, home.config.keys)
    seen = attacker.rows({gone.subject, stays.subject})
    assert len(seen[gone.subject]) == 1
    assert len(seen[stays.subject]) == 2
    before = attacker.keyrings()
    assert all(attacker.opens(before[0], dataset, row) for rows in seen.values() for row in rows), (
        "the attack works before anything ends"
    )

    api.erase(home.token, [gone.subject], "provide", "integration")
    api.erase_records(home.token, [(stays.subject, ended.record)], "provide", "integration")
    shutil.copytree(home.config.keys, folder / "between")
    home.desk.rotate(["account"], "by the calendar")
    home.finish_rotation()
    epoch = home.desk.sync().epochs.active("account")
    assert epoch
    # The backups of before are still kept: the promise is not due yet, and the attack still works. This is why the epoch must end with them.
    assert any(attacker.opens(ring, dataset, seen[gone.subject][0]) for ring in attacker.keyrings())
    home.later = now() + timedelta(days=36)
    assert kept.expire(home.later, timedelta(days=35)), "the policy's backups are gone"
    assert kept.all() == []
    done = home.desk.tend()
    home.later = None
    assert ("account", epoch - 1) in done.destroyed
    home.finish_rotation()

    fresh = create(home.config, POLICY, home.embedded.admin_dsn)
    plunder(home, folder, fresh, "fresh")
    shutil.copy(home.config.keys / "keyring.json", folder / "keyring.json")
    shutil.copytree(home.config.keys, folder / "present")
    rings = attacker.keyrings()
    assert rings, "the keyring of today opens with the root of today"
    today = attacker.rows({gone.subject, stays.subject})
    rows = seen[gone.subject] + [row for row in seen[stays.subject] if row[1] == ended.record]
    assert len(rows) == 2
    for ring in rings:
        assert not any(attacker.opens(ring, dataset, row) for row in rows)
    fresh_rows = [row for row in today[stays.subject] if row[1] == stays.record]
    assert any(attacker.opens(ring, dataset, row) for ring in rings for row in fresh_rows), (
        "positive control: who stays opens with today's keys"
    )
    assert not [row for row in today[stays.subject] if row[1] == ended.record and row[4] != epoch - 1]
    del tmp_path


def test_the_register_shows_every_change_of_itself(home: House, tmp_path: Path) -> None:
    api = home.vault("api")
    for person in home.people(api, 3):
        api.erase(home.token, [person.subject], "provide", "integration")
    seal(home)
    path = home.config.audit_log / register.FILE
    held = credentials.load("sealer", home.config.credentials / "sealer")
    assert held.log_key
    public = crypto.ed25519_public(held.log_key)
    whole = path.read_bytes()
    assert len(list(register.lines(path, public))) == whole.count(b"\n") >= 6
    copy = tmp_path / "ended.jsonl"
    lines = whole.splitlines(keepends=True)
    for damaged in (
        b"".join(lines[1:]), b"".join(lines[:1] + lines[2:]), b"".join([lines[1], lines[0], *lines[2:]]), b"".join([lines[0], lines[0], *lines[1:]]),
        whole.replace(b'"n":', b'"n":1', 1), b"{}\n" + whole,
    ):  # fmt: skip
        copy.write_bytes(damaged)
        with pytest.raises(RegisterBroken):
            list(register.lines(copy, public))
    copy.write_bytes(whole[:-7])
    assert len(list(register.lines(copy, public))) == len(lines) - 1, "a line that a crash cut off is no lie"
    with pytest.raises(RegisterBroken, match="another key"):
        list(register.lines(path, crypto.ed25519_generate()[1]))


def test_a_certificate_verifies_offline_and_every_change_of_it_is_refused(home: House) -> None:
    api = home.vault("api")
    person = home.people(api)[0]
    more = api.create(
        home.token, "provide", "integration", [NewRecord("account", {"name": "two"}, "organisation", subject=person.subject)]
    )[0]
    with pytest.raises(certificate.NoErasure):
        certificate.make(home.config.audit_log, person.subject, {})
    api.erase(home.token, [person.subject], "provide", "integration")
    seal(home)
    vkey = (home.config.audit_log / "log.vkey").read_text()
    text = certificate.make(home.config.audit_log, person.subject, {})
    found = certificate.verify(text, vkey)
    assert found.subject == str(person.subject)
    assert (found.record, found.kept) == (None, 0)
    assert {key["record"] for key in found.keys} == {str(person.record), str(more.record)}
    content = json.loads(text)
    other = home.people(api)[0]
    api.erase(home.token, [other.subject], "provide", "integration")
    seal(home)
    foreign = json.loads(certificate.make(home.config.audit_log, other.subject, {}))
    for change in (
        {"subject": str(uuid4())}, {"register": []}, {"register": foreign["register"]}, {"proof": foreign["proof"]}, {"proof": ""}, {"register": [{}]},
        {"register": [{**content["register"][0], "record": str(uuid4())}, *content["register"][1:]]}, {"register": None},
    ):  # fmt: skip
        with pytest.raises(ProofRefused):
            certificate.verify(json.dumps(content | change), vkey)
    for nonsense in ("", "[]", "null", "{}", text[:100], "[" * 200_000):
        with pytest.raises(ProofRefused):
            certificate.verify(nonsense, vkey)
    # One key named twice in the place of two: the other could be alive.
    named = [line for line in content["register"] if line["record"]]
    rest = [line for line in content["register"] if not line["record"]]
    assert len(named) == 2
    # And without the person's line, which counts them, one of two would look like all there was.
    for padded in ([named[0], named[0], *rest], [named[0], *named, *rest], [*named, *rest, *rest], named[:1], named):
        with pytest.raises(ProofRefused):
            certificate.verify(json.dumps(content | {"register": padded}), vkey)


def test_damaged_backups_and_impossible_restores_say_what_is_wrong(home: House, tmp_path: Path) -> None:
    backup = create(home.config, POLICY, home.embedded.admin_dsn)
    kept = catalogue_of(home.config)
    with pytest.raises(BackupError, match="no backup nonsense"):
        kept.get("nonsense")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BackupError, match="not empty"):
        restore(home.config, POLICY, kept, backup, tmp_path / "full")
    with pytest.raises(BackupError, match="Take an older backup"):
        restore(home.config, POLICY, kept, backup, tmp_path / "new", datetime.now(UTC) - timedelta(days=1))
    base = kept.path(backup, BASE)
    whole = base.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole[:100] + bytes((whole[100] ^ 1,)) + whole[101:]):
        base.write_bytes(damaged)
        with pytest.raises(BackupError, match="altered"):
            verify(home.config, backup)
        with pytest.raises(archive.ArchiveDamaged):
            private, _ = key_pair(home.config)
            with base.open("rb") as source:
                for _ in archive.opened(source, private, place(backup.backup_id, BASE)):
                    continue
    base.write_bytes(whole)
    assert verify(home.config, backup).verified_at
    (kept.path(backup, LOG)).unlink()
    with pytest.raises(BackupError, match="missing"):
        verify(home.config, backup)


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    import io

    for name, kind in (
        ("../outside", tarfile.REGTYPE),
        ("/etc/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd"
            tar.addfile(member)
        packed.seek(0)
        with tarfile.open(fileobj=packed, mode="r|") as tar, pytest.raises(BackupError, match="no file of a database"):
            extract(tar, tmp_path / "in")
    assert not (tmp_path / "outside").exists()


def test_nothing_in_a_backup_is_in_clear_and_no_key_is_in_it(home: House) -> None:
    api = home.vault("api")
    home.people(api, 5, name="Klartext Zzyzx")
    seal(home)
    backup = create(home.config, POLICY, home.embedded.admin_dsn)
    kept = catalogue_of(home.config)
    archived(home, kept)
    private, _ = key_pair(home.config)
    needles = [
        b"Klartext Zzyzx",
        (home.config.keys / "postgres").read_bytes().strip(),
        (home.config.keys / "root.key").read_bytes()[50:90],
    ]
    assert b"Klartext Zzyzx" in b"xx Klartext Zzyzx xx", "positive control"
    with kept.path(backup, BASE).open("rb") as source:
        content = b"".join(archive.opened(source, private, place(backup.backup_id, BASE)))
    for sealed in kept.segments().items():
        with sealed[1].open("rb") as source:
            content += b"".join(archive.opened(source, private, wal_place(sealed[0])))
    assert len(content) > 10_000_000
    for needle in needles:
        assert needle not in content
    with kept.path(backup, BASE).open("rb") as source, pytest.raises(archive.ArchiveDamaged, match="another key"):
        list(archive.opened(source, crypto.hpke_generate()[0], place(backup.backup_id, BASE)))


def test_a_copy_put_in_place_by_hand_is_replayed_by_the_start(home: House) -> None:
    """Somebody puts old files under a running home: the next start replays log and register before it serves."""
    api = home.vault("api")
    person = home.people(api)[0]
    seal(home)
    home.embedded.stop()
    saved = home.config.home / "saved"
    shutil.copytree(home.embedded.data, saved, symlinks=True)
    home.embedded.start(home.config.logs / "postgres.log")
    home.vault("api").erase(home.token, [person.subject], "provide", "integration")
    seal(home)
    size = home.value("SELECT size FROM vault.seal_state")
    home.embedded.stop()
    shutil.rmtree(home.embedded.data)
    saved.rename(home.embedded.data)
    if home.embedded.user:
        for path in (home.embedded.data, *home.embedded.data.rglob("*")):
            os.chown(path, home.embedded.user.uid, home.embedded.user.gid)
    home.embedded.start(home.config.logs / "postgres.log")
    assert home.value(f"SELECT state FROM vault.subject WHERE subject_id = '{person.subject}'") == "active"
    provisioned = provision(home.config.keys, home.embedded.admin_dsn, catalogue(POLICY))
    done = replay(home.config.audit_log, home.embedded.admin_dsn, crypto.ed25519_public(provisioned.keyring.log_key()))
    assert done.ended >= 2
    assert home.value(f"SELECT state FROM vault.subject WHERE subject_id = '{person.subject}'") == "erased"
    assert home.value("SELECT size FROM vault.seal_state") == size
    jobs.install(home.embedded.admin_dsn)
    seal(home)
    assert not verify_log(home.config.audit_log, (home.config.audit_log / "log.vkey").read_text()).findings


def test_the_command_line(home: House) -> None:
    environment = {**os.environ, "ARMONIKA_HOME": str(home.config.home), "ARMONIKA_PORT": "8000"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    made = run("backup", "create")
    if made.returncode:
        # The test before put an older copy in place by hand: names of its log are taken. What is said then helps.
        assert "is archived already" in made.stderr
        for path in catalogue_of(home.config).wal.glob("*.sealed"):
            path.rename(home.config.home / path.name)
        made = run("backup", "create")
    assert made.returncode == 0, made.stderr
    assert "site DZ" in made.stdout
    assert run("backup", "verify").returncode == 0
    assert run("backup", "list").stdout.count("site DZ") >= 1
    assert run("backup", "expire").returncode == 0
    assert run("keys", "list").returncode == 0
    assert "account" in run("keys", "list", "--json").stdout
    missing = run("restore", "nothing", "--to", str(home.config.home / "x"))
    assert missing.returncode == 2
    assert "There is no backup nothing" in missing.stderr
