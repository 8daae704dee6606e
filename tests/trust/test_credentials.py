"""The credentials file of one door: its form, its mode, and that what is read is what was written."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from armonika.store import private_files
from armonika.store.private_files import KeyFileError
from armonika.trust.keys.credentials import CompartmentKeys, Credentials, EpochKeys, load, write

FULL = CompartmentKeys("full", {1: EpochKeys(b"public", b"index", b"kek", b"private"), 12: EpochKeys(b"p2", b"i2", b"k2", b"r2")})
SEAL = CompartmentKeys("seal", {1: EpochKeys(b"sp", b"si")})
HELD = Credentials(
    "api", "word", UUID(int=5), b"service", b"web", b"throttle", b"pepper", b"log", {"account": FULL, "prospects": SEAL}
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_the_file_is_its_owners_and_says_what_the_door_holds(tmp_path: Path) -> None:
    path = write(HELD, tmp_path)
    assert path == tmp_path / "api.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    epoch = {"public": b64(b"public"), "index": b64(b"index"), "kek": b64(b"kek"), "private": b64(b"private")}
    second = {"public": b64(b"p2"), "index": b64(b"i2"), "kek": b64(b"k2"), "private": b64(b"r2")}
    assert json.loads(path.read_bytes()) == {
        "door": "api", "database_password": "word", "service_actor": str(UUID(int=5)), "service_secret": b64(b"service"), "web_key": b64(b"web"),
        "throttle_key": b64(b"throttle"), "pepper": b64(b"pepper"), "log_key": b64(b"log"),
        "compartments": {
            "account": {"mode": "full", "epochs": {"1": epoch, "12": second}},
            "prospects": {"mode": "seal", "epochs": {"1": {"public": b64(b"sp"), "index": b64(b"si"), "kek": None, "private": None}}},
        },
    }  # fmt: skip


def test_what_is_read_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for held in (HELD, Credentials("site", "w", UUID(int=6), b"s", b"w")):
        write(held, tmp_path)
        found = load(held.door, tmp_path)
        assert found.source == tmp_path
        for name in (
            "door",
            "database_password",
            "service_actor",
            "service_secret",
            "web_key",
            "throttle_key",
            "pepper",
            "log_key",
            "compartments",
        ):
            assert getattr(found, name) == getattr(held, name)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        assert load(held.door).compartments == held.compartments
    assert HELD.database_user == "armonika_api"
    assert HELD.source is None
    assert Credentials("site", "w", UUID(int=6), b"s", b"w").compartments == {}


def test_an_owner_is_set_when_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(private_files.os, "fchown", lambda _, *owner: given.append(owner))
    write(HELD, tmp_path)
    assert given == []
    write(HELD, tmp_path, (3, 4))
    assert given == [(3, 4)]


def test_nothing_of_it_is_shown_or_changed(tmp_path: Path) -> None:
    for one in (HELD, FULL, FULL.epochs[1]):
        assert "object at 0x" in repr(one)
        with pytest.raises(AttributeError):
            setattr(one, next(iter(one.__dataclass_fields__)), None)
        assert not hasattr(one, "__dict__")


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(KeyFileError, match="CREDENTIALS_DIRECTORY is not set"):
        load("api")
    with pytest.raises(KeyFileError, match="is missing"):
        load("api", tmp_path)
    path = write(HELD, tmp_path)
    whole = path.read_text()
    for damaged in (
        "",
        "{",
        "[]",
        "{}",
        whole[:-5],
        whole.replace(str(UUID(int=5)), "x"),
        whole.replace('"epochs": {"1"', '"epochs": {"x"'),
        whole.replace('"kek"', '"kekk"'),
    ):
        path.chmod(0o600)
        path.write_text(damaged)
        with pytest.raises(KeyFileError, match="damaged"):
            load("api", tmp_path)
    path.write_text(whole)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="open to others"):
        load("api", tmp_path)
    if os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(KeyFileError, match="cannot be read"):
            load("api", tmp_path)
