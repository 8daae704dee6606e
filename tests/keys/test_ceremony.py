"""The ceremony: any three of five shares restore the root, two tell nothing, and shares of an earlier ceremony are void."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armonika.trust import crypto
from armonika.trust.keys import Keyring, RootKeyError
from armonika.trust.keys.ceremony import Ceremony, CeremonyError, combine, restore
from armonika.trust.keys.providers import choose


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ring = Keyring.open_or_create(tmp_path / "keys")
    ring.ensure(["account"])
    return tmp_path / "keys"


def test_any_three_shares_restore_a_lost_root_key(folder: Path) -> None:
    ceremony = Ceremony()
    assert len(ceremony.shares) == 5
    ceremony.finish(folder, ceremony.shares[:3])
    assert Keyring.open(folder).recovery() == {"at": (Keyring.open(folder).recovery() or {})["at"], "needed": 3, "of": 5}
    before = Keyring.open(folder).database_passwords()
    for three in combinations(ceremony.shares, 3):
        (folder / "root.key").unlink()
        with pytest.raises(RootKeyError, match="missing"):
            Keyring.open(folder)
        restore(folder, three, choose(folder))
        assert Keyring.open(folder).database_passwords() == before


def test_shares_go_on_to_work_after_the_root_was_renewed_and_a_new_ceremony_voids_them(folder: Path) -> None:
    first, second = Ceremony(), Ceremony()
    first.finish(folder, first.shares[:3])
    Keyring.open(folder).renew()
    (folder / "root.key").unlink()
    restore(folder, first.shares[1:4], choose(folder))
    second.finish(folder, second.shares[2:])
    (folder / "root.key").unlink()
    with pytest.raises(CeremonyError, match="earlier ceremony"):
        restore(folder, first.shares[:3], choose(folder))
    assert not (folder / "root.key").exists()
    restore(folder, second.shares[:3], choose(folder))


def test_what_cannot_work_says_so_and_changes_nothing(folder: Path) -> None:
    ceremony, other = Ceremony(), Ceremony()
    whole = (folder / "keyring.json").read_bytes()
    for typed, problem in (
        (ceremony.shares[:2], "3 different shares"),
        ((ceremony.shares[0],) * 3, "3 different shares"),
        ((*ceremony.shares[:2], other.shares[0]), "not of one ceremony"),
        ((*ceremony.shares[:2], ceremony.shares[2].rsplit(" ", 1)[0] + " academic"), "Share 3 is mistyped"),
        (other.shares[:3], "another key"),
    ):
        with pytest.raises(CeremonyError, match=problem):
            ceremony.finish(folder, typed)
    assert (folder / "keyring.json").read_bytes() == whole
    with pytest.raises(CeremonyError, match="knows no ceremony"):
        restore(folder, ceremony.shares[:3], choose(folder))
    ceremony.finish(folder, [share.upper() for share in ceremony.shares[:3]])
    with pytest.raises(RootKeyError, match="already"):
        restore(folder, ceremony.shares[:3], choose(folder))


def test_two_shares_and_the_file_open_nothing(folder: Path) -> None:
    ceremony = Ceremony()
    ceremony.finish(folder, ceremony.shares[:3])
    for pair in combinations(ceremony.shares, 2):
        with pytest.raises(CeremonyError):
            combine(pair)
    text = (folder / "keyring.json").read_text()
    assert not any(
        " ".join(pair) in text for share in ceremony.shares for pair in zip(share.split(), share.split()[1:], strict=False)
    )


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32))
def test_a_recovery_secret_stands_for_one_key_pair(secret: bytes) -> None:
    private, public = crypto.hpke_from_secret(secret)
    assert (private, public) == crypto.hpke_from_secret(secret)
    assert crypto.hpke_open(private, crypto.hpke_seal(public, b"k" * 32, b"p"), b"p") == b"k" * 32
