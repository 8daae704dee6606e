"""A copy that lost the end of the log: who was signed out, locked or ended in what it lost is so in the copy too, and a crash in its replay is mended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from uuid import UUID

import pytest

from armonika import policy
from armonika.policy.compile import catalogue
from armonika.supervisor.backup import replay
from armonika.supervisor.backup.catalogue import BackupError
from armonika.supervisor.backup.replay import Replayed
from armonika.trust import crypto
from armonika.trust.audit import note, register
from armonika.trust.audit.tiles import tile_name
from armonika.trust.audit.tree import leaf_hash
from armonika.trust.audit.verify import entries as read_entries
from armonika.trust.audit.verify import read_checkpoint
from armonika.trust.keys import Keyring
from armonika.trust.keys import provision as provision_module
from armonika.trust.keys.provision import end_token, issue_token, provision
from armonika.trust.vault import secret_hash
from armonika.trust.vault.types import Created, SecretHash
from tests.keys.house import House, house
from tests.keys.test_backup import seal

POLICY = policy.load()
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        yield made


def put_back(home: House, saved: str) -> None:
    """The files of before under the running home, as an operator puts them there by hand."""
    home.embedded.stop()
    shutil.rmtree(home.embedded.data)
    (home.config.home / saved).rename(home.embedded.data)
    if home.embedded.user:
        for path in (home.embedded.data, *home.embedded.data.rglob("*")):
            os.chown(path, home.embedded.user.uid, home.embedded.user.gid)
    home.embedded.start(home.config.logs / "postgres.log")


def save(home: House, name: str) -> None:
    home.embedded.stop()
    shutil.copytree(home.embedded.data, home.config.home / name, symlinks=True)
    home.embedded.start(home.config.logs / "postgres.log")


def came_back(home: House) -> tuple[Replayed, Keyring]:
    """What each start does: the log is replayed before anything is written."""
    done: list[Replayed] = []

    def recover(ring: Keyring) -> None:
        done.append(replay.replay(home.config.audit_log, home.embedded.admin_dsn, crypto.ed25519_public(ring.log_key())))

    ring = provision(home.config.keys, home.embedded.admin_dsn, catalogue(POLICY), recover).keyring
    return done[0], ring


def signed_in(home: House, whom: UUID, role: str) -> bytes:
    """A session, a password and a letter's token of somebody."""
    secret = crypto.random_bytes(32)
    with home.admin() as admin:
        admin.execute(
            "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) "
            "SELECT %s, id, %s, 'p', %s, clock_timestamp() FROM vault.role WHERE name = %s",
            (whom, b"s" * 16, b"c" * 32, role),
        )
        admin.execute(
            "INSERT INTO vault.session (secret_hash, actor, role, door, kind, expires_at) SELECT %s, %s, id, 'site', 'session', clock_timestamp() + interval '1 hour' "
            "FROM vault.role WHERE name = %s",
            (secret, whom, role),
        )
        admin.execute(
            "INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at) VALUES (%s, %s, 'reset-password', clock_timestamp() + interval '1 hour')",
            (secret, whom),
        )
    return secret


def said(home: House, operation: int, door: str, whom: UUID) -> None:
    """An entry as a door writes it."""
    with home.admin() as admin:
        admin.execute(
            "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, purpose, reason, policy_id) "
            "SELECT nextval('vault.audit_number'), clock_timestamp(), pg_current_xact_id(), %s, true, %s, s.actor, s.role, %s, 0, 0, vault.policy_in_force() "
            "FROM vault.session s WHERE s.kind = 'service' AND s.door = 'console' LIMIT 1",
            (operation, door, whom),
        )


def factor(home: House, whom: UUID) -> None:
    with home.admin() as admin:
        admin.execute("INSERT INTO vault.second_factor (subject_id, check_hash, last_step) VALUES (%s, %s, 1)", (whom, b"f" * 32))
        admin.execute("INSERT INTO vault.recovery_code (code_hash, subject_id) VALUES (%s, %s)", (crypto.random_bytes(32), whom))


def state(home: House, whom: UUID) -> tuple[object, ...]:
    """Whether the password of before opens, factors, recovery codes."""
    with home.admin() as admin:
        found = admin.execute(
            "SELECT (SELECT check_hash FROM vault.credential WHERE subject_id = %s) = %s, (SELECT count(*) FROM vault.second_factor WHERE subject_id = %s), "
            "(SELECT count(*) FROM vault.recovery_code WHERE subject_id = %s)",
            (whom, b"c" * 32, whom, whom),
        ).fetchone()
    assert found is not None
    return found


def test_what_ended_in_what_a_copy_lost_has_ended_in_the_copy(home: House) -> None:
    api = home.vault("api")
    left, locked, member, changed, reset, used, asked = home.people(api, 7)
    roles = {left: "dpo", member: "admin", changed: "admin", reset: "support", used: "support", asked: "admin"}
    for one, role in roles.items():
        signed_in(home, one.subject, role)
    for one in (reset, used):
        factor(home, one.subject)
    tokens = {label: issue_token(home.embedded.admin_dsn, label=label) for label in ("lost", "kept")}
    seal(home)
    save(home, "saved")
    with home.admin() as admin:
        admin.execute("SELECT vault.staff_end(%s)", (left.subject,))
        admin.execute("UPDATE vault.session SET revoked_at = clock_timestamp() WHERE actor = %s", (member.subject,))
        admin.execute("UPDATE vault.challenge SET used_at = clock_timestamp() WHERE subject_id = %s", (member.subject,))
    for one, operation, door in (
        (changed, 11, "site"),
        (asked, 11, "worker"),
        (reset, 40, "administrator"),
        (used, 40, "console"),
    ):
        said(home, operation, door, one.subject)
    (named,) = (one.name for one in provision_module.tokens(home.embedded.admin_dsn) if one.label == "lost")
    end_token(home.embedded.admin_dsn, named)
    home.vault("api").restrict(SecretHash(home.token), locked.subject, True, "provide", "integration")
    seal(home)
    put_back(home, "saved")
    assert home.value(f"SELECT count(*) FROM vault.credential WHERE subject_id = '{left.subject}'") == 1
    assert came_back(home)[0].entries
    assert home.value(f"SELECT count(*) FROM vault.credential WHERE subject_id = '{left.subject}'") == 0
    assert home.value(f"SELECT count(*) FROM vault.staff_end WHERE subject_id = '{left.subject}'") == 1
    assert home.value(f"SELECT state FROM vault.subject WHERE subject_id = '{locked.subject}'") == "restricted"
    assert home.value("SELECT count(*) FROM vault.session WHERE kind = 'session' AND revoked_at IS NULL") == 0
    assert home.value("SELECT count(*) FROM vault.challenge WHERE used_at IS NULL") == 0
    assert [state(home, one.subject) for one in (changed, reset, used, asked)] == [
        (False, 0, 0), (False, 0, 0), (True, 1, 0), (True, 0, 0),
    ]  # fmt: skip
    living = {
        label: home.value(f"SELECT revoked_at IS NULL FROM vault.session WHERE secret_hash = '\\x{secret_hash(token).hex()}'")
        for label, token in tokens.items()
    }
    assert living == {"lost": False, "kept": True}
    assert home.read(home.vault("api"), member)["name"] == "N"


def test_a_crash_after_the_entries_came_back_leaves_no_number_twice(home: House) -> None:
    seal(home)
    save(home, "again")
    for _ in range(3):
        home.people(home.vault("api"), 20)
    seal(home)
    put_back(home, "again")
    ring = provision(home.config.keys, home.embedded.admin_dsn, catalogue(POLICY)).keyring
    with home.admin() as admin:
        assert replay._entries(admin, home.config.audit_log, crypto.ed25519_public(ring.log_key())) >= 60
    # The next start finds every entry there already.
    assert not replay.replay(home.config.audit_log, home.embedded.admin_dsn, crypto.ed25519_public(ring.log_key())).entries
    home.people(home.vault("api"))


def test_a_folder_that_somebody_else_wrote_is_not_replayed(home: House) -> None:
    """Who can write the folder, and has no key, would otherwise write history: the sealer would sign it at the next start."""
    seal(home)
    save(home, "shorter")
    home.people(home.vault("api"), 20)
    seal(home)
    put_back(home, "shorter")
    ring = provision(home.config.keys, home.embedded.admin_dsn, catalogue(POLICY)).keyring
    log, public = home.config.audit_log, crypto.ed25519_public(ring.log_key())
    genuine = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    before = home.value("SELECT size FROM vault.seal_state")

    def refused(word: str) -> None:
        with pytest.raises(BackupError, match=word):
            replay.replay(log, home.embedded.admin_dsn, public)
        assert home.value("SELECT size FROM vault.seal_state") == before
        for path, content in genuine.items():
            path.write_bytes(content)

    _, size, root = read_checkpoint((log / "checkpoint").read_bytes(), (log / "log.vkey").read_text())
    forger, its_public = crypto.ed25519_generate()
    (log / "log.vkey").write_text(note.vkey("armonika.dz/audit", its_public))
    (log / "checkpoint").write_bytes(note.sign(note.checkpoint("armonika.dz/audit", size, root), "armonika.dz/audit", forger))
    refused("no signature of the log")
    name = f"{tile_name(size // 256)}.p/{size % 256}"
    entries = genuine[log / "tile/entries" / name]
    kept, _, rest = entries.rpartition(b'"outcome":"granted"')
    altered = kept + b'"outcome":"refused"' + rest
    (log / "tile/entries" / name).write_bytes(altered)
    refused("altered")
    (log / "tile/entries" / name).write_bytes(altered)
    made = [leaf_hash(one) for one in read_entries(log, size, size // 256 * 256)]
    (log / "tile/0" / name).write_bytes(b"".join(made))
    refused("do not make the root")
    assert replay.replay(log, home.embedded.admin_dsn, public).entries == size - int(str(before))


def test_files_from_before_a_rotation_open_and_are_rotated_again(home: House) -> None:
    person = home.people(home.vault("api"))[0]
    seal(home)
    save(home, "older")
    home.desk.rotate(["account"], "test")
    home.finish_rotation()
    home.desk.sync()
    seal(home)
    put_back(home, "older")
    _, ring = came_back(home)
    home.desk.refresh(ring)
    seal(home)
    assert home.read(home.vault("api"), person)["name"] == "N"
    home.finish_rotation()
    assert home.value("SELECT count(*) FROM vault.epoch WHERE state = 'retired'") == 1
    home.desk.sync()
    assert home.read(home.vault("api"), person)["name"] == "N"


@pytest.fixture
def another() -> Iterator[House]:
    with house() as made:
        yield made


def test_a_register_that_was_cut_off_is_written_again(another: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are gone from its end are missed by nothing that follows: a copy restored after that would bring their people back. Line by line here: it is
    compared in pages."""
    monkeypatch.setattr(replay, "_PAGE", 1)
    person = another.people(another.vault("api"))[0]
    another.vault("api").erase(another.token, [person.subject], "provide", "integration")
    seal(another)
    path = another.config.audit_log / "ended.jsonl"
    whole = path.read_bytes()
    assert str(person.subject).encode() in whole
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-2]))
    public = crypto.ed25519_public(Keyring.open(another.config.keys).log_key())
    replay.replay(another.config.audit_log, another.embedded.admin_dsn, public)
    seal(another)
    again = {line["n"] for line in register.lines(path, public)}
    assert again >= {json.loads(line)["n"] for line in whole.splitlines()}
    assert replay.replay(another.config.audit_log, another.embedded.admin_dsn, public).ended == 0


def enrolled(home: House, whom: Created) -> None:
    """The entry of a correction that writes a second factor, as setting one up leaves it."""
    with home.admin() as admin:
        admin.execute(
            "INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, policy_id) "
            "SELECT nextval('vault.audit_number'), clock_timestamp(), pg_current_xact_id(), 5, true, 'console', s.actor, s.role, %s, %s, d.id, 1::bigint << (f.ordinal - 1), "
            "p.id, 0, vault.policy_in_force() FROM vault.session s, vault.dataset d JOIN vault.field f ON f.dataset = d.id AND f.name = 'second_factor', vault.purpose p "
            "WHERE s.kind = 'service' AND s.door = 'console' AND d.name = 'staff' AND p.name = 'provide' LIMIT 1",
            (whom.subject, whom.record),
        )


def test_a_factor_that_was_set_up_anew_in_what_a_copy_lost_is_not_the_old_one_again(home: House) -> None:
    again, first, reset, same = home.people(home.vault("api"), 4)
    for one in (again, first, reset, same):
        signed_in(home, one.subject, "support")
    for one in (again, reset, same):
        factor(home, one.subject)
    seal(home)
    save(home, "factors")
    for one in (again, first, reset):
        enrolled(home, one)
    said(home, 40, "administrator", reset.subject)
    seal(home)
    put_back(home, "factors")
    done, ring = came_back(home)
    assert set(done.factors) == {str(again.subject), str(first.subject)}
    words = " ".join(done.words())
    assert "armonika staff reset" in words
    assert str(again.subject) in words
    old = "SELECT count(*) FROM vault.second_factor WHERE subject_id = '{}' AND check_hash = '\\x" + (b"f" * 32).hex() + "'"
    assert [home.value(old.format(one.subject)) for one in (again, first, same)] == [0, 0, 1], "the old value proves nothing"
    assert [state(home, one.subject) for one in (again, first, reset, same)] == [
        (True, 1, 0), (True, 1, 0), (False, 0, 0), (True, 1, 1),
    ], "nobody enrols over it either: who has no factor may set one up, who has one must prove it"  # fmt: skip
    assert replay.replay(home.config.audit_log, home.embedded.admin_dsn, crypto.ed25519_public(ring.log_key())).words() == []


def test_a_copy_that_was_written_to_before_its_log_came_back_is_refused(home: House) -> None:
    """An entry under the number of a lost one: imported over it, the log would hold a leaf that no row has, and the sealer would stand still for good."""
    seal(home)
    save(home, "written")
    home.people(home.vault("api"), 3)
    seal(home)
    put_back(home, "written")
    save(home, "clean")
    home.desk.rotate(["account"], "test")
    with pytest.raises(BackupError, match="went different ways"):
        came_back(home)
    put_back(home, "clean")
    assert came_back(home)[0].entries
    home.people(home.vault("api"))
    seal(home)
