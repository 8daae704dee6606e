"""The keyring in its file: what it makes and for whom, that each wrapped key opens in its own place alone, and that what is wrong changes nothing."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from armonika.store.private_files import write_private
from armonika.trust import crypto
from armonika.trust.keys import Keyring, RootKeyError
from armonika.trust.keys.epochs import now
from armonika.trust.keys.keyring import DOORS, alone, read_file
from armonika.trust.keys.providers import choose
from armonika.trust.keys.providers.sealed_file import SealedFile

NAMES = ["account", "support"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Keyring.open_or_create(tmp_path / "keys").ensure(NAMES)
    return tmp_path / "keys"


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "keyring.json").read_bytes())
    return found


def changed(folder: Path, new: dict[str, Any]) -> None:
    write_private(folder / "keyring.json", json.dumps(new).encode())


def everything(ring: Keyring) -> dict[str, object]:
    """All that a keyring gives out."""
    held: dict[str, object] = {"passwords": ring.database_passwords(), "log": ring.log_key()}
    for door in DOORS:
        given = ring.credentials(door, {"account": "full", "support": "seal"})
        held[door] = tuple(getattr(given, name) for name in given.__dataclass_fields__)
    return held


def test_the_first_start_makes_everything_once(tmp_path: Path) -> None:
    keys = tmp_path / "a" / "keys"
    ring = Keyring.open_or_create(keys)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {
        "root.key": 0o600,
        "keyring.json": 0o600,
        ".lock": 0o600,
    }
    empty = content(keys)
    assert empty["format"] == "armonika-keyring/2"
    assert (empty["compartments"], empty["doors"], empty["secrets"], empty["recovery"]) == ({}, {}, {}, None)
    assert empty["root"]["provider"] == "file"
    assert len(empty["id"]) == 32
    assert ring.keyring_id == empty["id"]
    assert ring.folder == keys
    ring.ensure(NAMES)
    made = content(keys)
    assert set(made["compartments"]) == set(NAMES)
    assert (
        set(made["doors"])
        == set(DOORS)
        == {"site", "console", "api", "worker", "mailin", "sealer", "timpani", "verifier", "keeper", "retention"}
    )
    assert set(made["secrets"]) == {"pepper", "throttle", "log", "authority"}
    assert all(set(parts) == {"actor", "service", "password", "web"} for parts in made["doors"].values())
    whole = (keys / "keyring.json").read_bytes()
    again = Keyring.open_or_create(keys)
    before = (keys / "keyring.json").stat().st_mtime_ns
    again.ensure(NAMES)
    assert (keys / "keyring.json").read_bytes() == whole
    assert (keys / "keyring.json").stat().st_mtime_ns == before, "nothing to write"
    assert everything(again) == everything(ring)
    again.ensure([*NAMES, "rights"])
    assert set(content(keys)["compartments"]) == {*NAMES, "rights"}
    assert everything(Keyring.open(keys)) == everything(ring)
    assert whole.decode().splitlines()[1].startswith(' "'), "a line a key, for those who compare copies"


def test_each_door_gets_what_its_duty_needs(folder: Path) -> None:
    ring = Keyring.open(folder)
    secrets = set()
    for door in DOORS:
        held = ring.credentials(door, {"account": "full", "support": "seal"})
        actor, service = ring.service(door)
        assert (held.door, held.service_actor, held.service_secret) == (door, actor, service)
        assert isinstance(actor, UUID)
        assert held.database_password == ring.database_passwords()[door]
        assert (held.pepper is not None) == (door in ("site", "console", "verifier"))
        assert (held.throttle_key is not None) == (door in ("site", "console", "verifier", "api"))
        assert (held.log_key is not None) == (door == "sealer")
        full, seal = held.compartments["account"], held.compartments["support"]
        assert (full.mode, seal.mode) == ("full", "seal")
        assert set(full.epochs) == set(seal.epochs) == {1}
        one = full.epochs[1]
        assert crypto.hpke_open(one.private, crypto.hpke_seal(one.public, b"k", b"p"), b"p") == b"k"  # type: ignore[arg-type]
        assert len(one.kek or b"") == len(one.index) == 32
        assert (seal.epochs[1].kek, seal.epochs[1].private) == (None, None)
        assert len(seal.epochs[1].index) == 32
        secrets |= {held.service_secret, held.web_key, bytes.fromhex(held.database_password)}
    assert len(secrets) == 3 * len(DOORS), "no two doors share a secret"
    assert all(len(secret) == 32 for secret in secrets)
    site, console = (ring.credentials(door, {}) for door in ("site", "console"))
    assert site.pepper == console.pepper
    assert len(site.pepper or b"") == len(site.throttle_key or b"") == 32
    assert site.pepper != site.throttle_key == console.throttle_key
    assert len(ring.log_key()) == 32
    crypto.ed25519_public(ring.log_key())
    assert len({ring.service(door)[0] for door in DOORS}) == len(DOORS)


def test_a_wrapped_key_opens_in_its_own_place_alone(folder: Path) -> None:
    """Swapped between two doors, parts, compartments, epochs or names, it is refused."""
    ring = Keyring.open(folder)
    ring.epochs.prepare("account", "age")
    ring.save()
    places = ring._wrapped()
    assert len(places) == 4 + 3 * len(DOORS) + 3 * 3
    for place, other in permutations(places, 2):
        with pytest.raises(crypto.Unauthentic):
            ring._unwrap(place, places[other])
    assert all(ring._unwrap(place, wrapped) for place, wrapped in places.items())
    for one, other in ((("doors", "site", "password"), ("doors", "api", "password")), (("doors", "site", "password"), ("doors", "site", "web")), (("secrets", "pepper"), ("secrets", "throttle")),
                       (("compartments", "account", "epochs", "1", "kek"), ("compartments", "support", "epochs", "1", "kek")),
                       (("compartments", "account", "epochs", "1", "kek"), ("compartments", "account", "epochs", "2", "kek"))):  # fmt: skip
        whole = content(folder)
        new = content(folder)
        for path, source in ((one, other), (other, one)):
            into, value = new, whole
            for step in path[:-1]:
                into = into[step]
            for step in source:
                value = value[step]
            into[path[-1]] = value
        changed(folder, new)
        with pytest.raises(crypto.Unauthentic):
            everything(Keyring.open(folder))
        changed(folder, whole)
    everything(Keyring.open(folder))


def test_the_keyring_of_another_installation_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Keyring.open_or_create(other).ensure(NAMES)
    whole = content(folder)
    for part in ("check", "id", "root"):
        changed(folder, {**whole, part: content(other)[part]})
        with pytest.raises(RootKeyError, match="root key"):
            Keyring.open(folder)
    changed(folder, {name: part for name, part in whole.items() if name != "check"})
    with pytest.raises(RootKeyError, match="not the root key of"):
        Keyring.open(folder)
    changed(folder, {**whole, "root": {**whole["root"], "wrapped": content(other)["root"]["wrapped"]}})
    with pytest.raises(RootKeyError):
        Keyring.open(folder)
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, choose(other), whole)


def test_a_damaged_keyring_says_so_and_stays(folder: Path) -> None:
    whole = (folder / "keyring.json").read_bytes()
    for damaged in (
        b"",
        whole[: len(whole) // 2],
        b"[]",
        b"1",
        b"{}",
        whole.replace(b"armonika-keyring/2", b"armonika-keyring/9"),
        b"\xff",
    ):
        write_private(folder / "keyring.json", damaged)
        for opened in (Keyring.open, Keyring.open_or_create, read_file):
            with pytest.raises(RootKeyError, match="is damaged"):
                opened(folder)
        assert (folder / "keyring.json").read_bytes() == damaged
    write_private(folder / "keyring.json", whole)
    (folder / "keyring.json").chmod(0o644)
    with pytest.raises(RootKeyError, match="open to others"):
        Keyring.open_or_create(folder)
    (folder / "keyring.json").chmod(0o600)
    assert everything(Keyring.open(folder))


def test_a_renewal_changes_every_wrapping_and_no_key(folder: Path) -> None:
    ring = Keyring.open(folder)
    ring.epochs.prepare("account", "age")
    ring.secret("backup", make=True)
    ring.save()
    before, held, root = content(folder), everything(ring), (folder / "root.key").read_bytes()
    ring.renew()
    after = content(folder)
    assert everything(ring) == everything(Keyring.open(folder)) == held
    assert set(ring._wrapped()) == {f"door/{door}/{part}" for door in DOORS for part in ("service", "password", "web")} | {
        "pepper",
        "throttle",
        "log",
        "authority",
        "backup",
    } | {
        f"compartment/{name}/{number}/{part}"
        for name, number in (("account", 1), ("account", 2), ("support", 1))
        for part in ("kek", "index", "private")
    }
    old, new = json.dumps(before), json.dumps(after)
    for value in Keyring(folder, choose(folder), b"", before)._wrapped().values():
        assert value in old
        assert value not in new
    assert before["check"] != after["check"]
    assert before["root"]["wrapped"].startswith("1:")
    assert after["root"]["wrapped"].startswith("2:")
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, choose(folder), before)
    assert json.loads((folder / "root.key").read_bytes())["version"] == 2, "one version is left"
    assert "unfinished" not in after
    write_private(folder / "root.key", root)
    with pytest.raises(RootKeyError, match="not the root key"):
        Keyring.open(folder)


def test_a_root_moves_to_another_provider_and_the_old_one_is_void(folder: Path, tmp_path: Path) -> None:
    ring, held, before = Keyring.open(folder), everything(Keyring.open(folder)), content(folder)
    other = SealedFile(tmp_path)
    ring.renew(other)
    assert everything(ring) == held
    assert everything(Keyring.open_with(folder, other, content(folder))) == held
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, choose(folder), content(folder))
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, choose(folder), before)
    assert ring.root()["place"] == str(tmp_path / "root.key")
    ring.renew(other)
    assert everything(ring) == held


class Elsewhere(SealedFile):
    """A provider of another kind, which keeps its root elsewhere."""

    name = "openbao"


def _cut_off(ring: Keyring, monkeypatch: pytest.MonkeyPatch, provider: SealedFile | None = None) -> None:
    """A renewal whose process ends before older versions of the root are destroyed."""

    def killed(_: SealedFile) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(SealedFile, "destroy_older", killed)
        with pytest.raises(KeyboardInterrupt):
            ring.renew(provider)


def test_a_renewal_that_was_cut_off_is_finished_by_the_next_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, held, old = Keyring.open(folder), everything(Keyring.open(folder)), content(folder)
    _cut_off(ring, monkeypatch)
    root = (folder / "root.key").read_bytes()
    assert Keyring.open_with(folder, choose(folder), old), "an older copy of the file opens still"
    for _ in range(2):
        again = Keyring.open_or_create(folder)
        again.ensure(NAMES)
        assert everything(again) == held
        assert "unfinished" not in content(folder)
        assert json.loads((folder / "root.key").read_bytes())["version"] == 3, "once"
    write_private(folder / "root.key", root)
    with pytest.raises(RootKeyError):
        Keyring.open(folder)


def test_a_move_that_was_cut_off_is_finished_when_the_provider_of_before_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, held, old = Keyring.open(folder), everything(Keyring.open(folder)), content(folder)
    (tmp_path / "elsewhere").mkdir()
    _cut_off(ring, monkeypatch, Elsewhere(tmp_path / "elsewhere"))
    gone = True

    def chosen(where: Path, name: str | None = None) -> SealedFile:
        if name == "file" and gone:
            raise RootKeyError("it does not answer")
        return SealedFile(where) if name == "file" else Elsewhere(tmp_path / "elsewhere")

    monkeypatch.setattr("armonika.trust.keys.keyring.choose", chosen)
    monkeypatch.setenv("ARMONIKA_ROOT", "openbao")
    for gone in (True, False):
        again = Keyring.open_or_create(folder)
        again.ensure(NAMES)
        assert everything(again) == held
        assert ("unfinished" in content(folder)) is gone
        assert json.loads((folder / "root.key").read_bytes())["version"] == (1 if gone else 2)
    with pytest.raises(RootKeyError):
        Keyring.open_with(folder, SealedFile(folder), old)


def test_where_the_root_is_must_be_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMONIKA_ROOT", "openbao")
    with pytest.raises(
        RootKeyError, match=r"is in `file`, but ARMONIKA_ROOT says `openbao`.*ARMONIKA_ROOT=file.*move-root openbao"
    ):
        Keyring.open(folder)
    monkeypatch.setenv("ARMONIKA_ROOT", "")
    assert Keyring.open(folder).root()["provider"] == "file"
    whole = content(folder)
    changed(folder, {name: part for name, part in whole.items() if name != "root"})
    with pytest.raises((RootKeyError, KeyError)):
        Keyring.open(folder)
    changed(folder, {**whole, "root": {"provider": "pkcs11", "wrapped": ""}})
    monkeypatch.delenv("ARMONIKA_ROOT")
    with pytest.raises(RootKeyError, match="is in `pkcs11`"):
        Keyring.open(folder)


def test_secrets_by_name(folder: Path) -> None:
    ring = Keyring.open(folder)
    with pytest.raises(RootKeyError, match="no backup key"):
        ring.secret("backup")
    made = ring.secret("backup", make=True)
    assert len(made) == 32
    assert ring.secret("backup") == ring.secret("backup", make=True) == Keyring.open(folder).secret("backup") == made


def test_the_authority_is_made_at_the_first_start_and_anew_when_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    unfinished = Keyring.open_or_create(tmp_path / "other")
    assert unfinished.authority_since() is None
    with pytest.raises(RootKeyError, match="holds no authority"):
        unfinished.authority()
    ring = Keyring.open(folder)
    since = ring.authority_since()
    assert since is not None
    assert abs(now() - since).total_seconds() < 600
    before = ring.secret("authority")
    assert before is not None
    assert len(before) == 32
    with alone(folder):
        ring.renew_authority()
    again = Keyring.open(folder)
    assert again.secret("authority") == ring.secret("authority") == again.authority().secret != before
    assert (again.authority_since() or since) >= since


def test_a_recovery_key_is_recorded_and_sealed_anew_at_each_renewal(folder: Path) -> None:
    ring = Keyring.open(folder)
    assert ring.recovery() is None
    private, public = crypto.hpke_generate()
    ring.set_recovery(public, "2026-11-25T00:00:00+00:00", 3, 5)
    assert ring.recovery() == Keyring.open(folder).recovery() == {"at": "2026-11-25T00:00:00+00:00", "needed": 3, "of": 5}
    held = everything(ring)
    for renewed in (False, True):
        if renewed:
            ring.renew()
        recovery = content(folder)["recovery"]
        assert base64.b64decode(recovery["public"]) == public
        place = f"armonika-keyring/1/{ring.keyring_id}/recovery".encode()
        master = crypto.hpke_open(private, base64.b64decode(recovery["sealed"]), place)
        assert master == ring._master
    (folder / "root.key").unlink()
    root = choose(folder)
    root.create()
    with pytest.raises(RootKeyError, match="not of this keyring"):
        Keyring.adopt(folder, root, bytes(32), content(folder))
    assert everything(Keyring.adopt(folder, root, master, content(folder))) == held
    assert everything(Keyring.open(folder)) == held


def test_one_process_changes_keys_at_a_time(folder: Path) -> None:
    import fcntl
    import os

    with alone(folder):
        descriptor = os.open(folder / ".lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_what_another_process_changed_meanwhile_is_taken_before_anything_is_written(folder: Path) -> None:
    """What was opened before a renewal is wrapped by a root that is gone: written, nothing would open any more."""
    held = everything(Keyring.open(folder))

    def after(change: Callable[[Keyring], object]) -> dict[str, Any]:
        before = Keyring.open(folder)
        Keyring.open(folder).renew()
        change(before)
        assert everything(Keyring.open(folder)) == held
        return content(folder)

    assert "traffic" in after(lambda ring: ring.ensure([*NAMES, "traffic"]))["compartments"]
    ring = Keyring.open(folder)
    ring.epochs.retired("traffic", 1, now())
    ring.save()
    assert "retired_at" not in after(lambda ring: ring.hold([("traffic", 1)]))["compartments"]["traffic"]["epochs"]["1"]
    written = (folder / "keyring.json").stat().st_mtime_ns
    Keyring.open(folder).hold([("traffic", 1), ("account", 9)])
    Keyring.open(folder).ensure(NAMES)
    assert (folder / "keyring.json").stat().st_mtime_ns == written, "nothing to change, nothing written"


def test_a_retired_or_destroyed_epoch_is_not_given_to_doors(folder: Path) -> None:
    from armonika.rules.key_states import KeyState
    from armonika.trust.keys.epochs import now

    ring = Keyring.open(folder)
    ring.epochs.activate("account", ring.epochs.prepare("account", "age"), "age")
    assert set(ring.credentials("api", {"account": "full"}).compartments["account"].epochs) == {1, 2}
    ring.epochs.retired("account", 1, now())
    assert set(ring.credentials("api", {"account": "full"}).compartments["account"].epochs) == {2}
    ring.epochs.move("account", 1, KeyState.DESTROYED, "due")
    ring.save()
    assert set(Keyring.open(folder).credentials("api", {"account": "full"}).compartments["account"].epochs) == {2}
    assert "compartment/account/1/kek" not in ring._wrapped()
