"""Keys, envelopes and addresses: everything opens with exactly its own key and place; errors say what to do and change nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika.store.turn import MigrationError
from armonika.trust import crypto
from armonika.trust.keys import Keyring, RootKeyError
from armonika.trust.keys.keyring import DOORS
from armonika.trust.keys.provision import provision
from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import Invalid, Tampered
from armonika.trust.vault.text import clean
from tests.doors import Doors


@given(st.binary(max_size=200), st.binary(max_size=60), st.integers(0, 10_000), st.integers(0, 7))
def test_a_ciphertext_opens_in_its_place_only(plaintext: bytes, aad: bytes, at: int, bit: int) -> None:
    key = crypto.random_bytes(32)
    sealed = crypto.seal(key, plaintext, aad)
    assert crypto.unseal(key, sealed, aad) == plaintext
    for wrong_key, wrong_aad in ((crypto.random_bytes(32), aad), (key, aad + b"x")):
        with pytest.raises(crypto.Unauthentic):
            crypto.unseal(wrong_key, sealed, wrong_aad)
    altered = bytearray(sealed)
    altered[at % len(altered)] ^= 1 << bit
    with pytest.raises(crypto.Unauthentic):
        crypto.unseal(key, bytes(altered), aad)


def test_nonces_do_not_repeat_in_a_hundred_thousand_writes() -> None:
    key = crypto.random_bytes(32)
    assert len({crypto.seal(key, b"", b"")[1:13] for _ in range(100_000)}) == 100_000


def test_hpke_opens_with_its_private_key_and_place_only() -> None:
    private, public = crypto.hpke_generate()
    other, _ = crypto.hpke_generate()
    sealed = crypto.hpke_seal(public, b"k" * 32, b"place")
    assert crypto.hpke_open(private, sealed, b"place") == b"k" * 32
    for key, place, blob in (
        (other, b"place", sealed),
        (private, b"elsewhere", sealed),
        (private, b"place", sealed[:-1] + b"\0"),
        (private, b"place", sealed[:30]),
    ):
        with pytest.raises(crypto.Unauthentic):
            crypto.hpke_open(key, blob, place)


def _open(envelope: Envelope, arguments: list[Any]) -> dict[str, str]:
    dataset, subject, record, kind, epoch, wrapped, mask, versions, ciphertexts = arguments
    return envelope.open(Layout(dataset, mask), subject, record, kind, epoch, wrapped, versions, ciphertexts)[0]


@pytest.mark.parametrize("part", ["subject", "record", "field", "version", "wrapped"])
def test_values_and_keys_moved_to_another_place_do_not_open(doors: Doors, part: str) -> None:
    credentials = doors.server.provisioned.credentials("api")  # type: ignore[attr-defined]
    envelope, dataset = Envelope(credentials), doors.api.catalogue.dataset("account")
    subject, record = uuid4(), uuid4()
    sealed = envelope.seal(dataset, subject, record, {"name": "N", "company": "C"})
    versions, ciphertexts = [1, None, 1], list(sealed.ciphertexts)
    arguments = [dataset, subject, record, sealed.kind, sealed.epoch, sealed.wrapped, sealed.mask, versions, ciphertexts]
    assert _open(envelope, arguments) == {"name": "N", "company": "C"}
    if part == "subject":
        arguments[1] = uuid4()
    elif part == "record":
        arguments[2] = uuid4()
    elif part == "field":
        ciphertexts[0], ciphertexts[2] = ciphertexts[2], ciphertexts[0]
    elif part == "version":
        versions[0] = 2
    else:
        arguments[5] = envelope.seal(dataset, uuid4(), uuid4(), {"name": "N"}).wrapped
    with pytest.raises(Tampered):
        _open(envelope, arguments)


def test_a_missing_wrong_or_open_root_key_says_what_to_do_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ring = Keyring.open_or_create(folder)
    ring.ensure(["account"])
    whole = (folder / "keyring.json").read_bytes()
    root = (folder / "root.key").read_bytes()
    Keyring.open_or_create(tmp_path / "other")
    (folder / "root.key").unlink()
    with pytest.raises(RootKeyError, match="restore it from your backup"):
        Keyring.open_or_create(folder)
    shutil.copy(tmp_path / "other" / "root.key", folder / "root.key")
    with pytest.raises(RootKeyError, match="is not the root key of"):
        Keyring.open_or_create(folder)
    for damaged in (root[:-20], b"", b"{}", root.replace(b'"key": "', b'"key": "AAAA')):
        (folder / "root.key").write_bytes(damaged)
        with pytest.raises(RootKeyError, match="damaged"):
            Keyring.open_or_create(folder)
    (folder / "root.key").write_bytes(root)
    (folder / "root.key").chmod(0o644)
    with pytest.raises(RootKeyError, match="chmod 600"):
        Keyring.open_or_create(folder)
    (folder / "root.key").chmod(0o600)
    assert Keyring.open_or_create(folder).database_passwords() == ring.database_passwords()
    assert (folder / "keyring.json").read_bytes() == whole


def test_a_passphrase_seals_the_root_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("first")
    secret.chmod(0o600)
    monkeypatch.setenv("ARMONIKA_ROOT_PASSPHRASE_FILE", str(secret))
    Keyring.open_or_create(tmp_path / "keys")
    Keyring.open(tmp_path / "keys")
    secret.write_text("second")
    with pytest.raises(RootKeyError, match="passphrase is wrong"):
        Keyring.open(tmp_path / "keys")
    monkeypatch.delenv("ARMONIKA_ROOT_PASSPHRASE_FILE")
    with pytest.raises(RootKeyError, match="sealed with a passphrase"):
        Keyring.open(tmp_path / "keys")


def test_the_keys_of_another_installation_are_refused_by_the_database(doors: Doors, tmp_path: Path) -> None:
    """And every door that runs still signs in: a start under the wrong home must not end what serves."""
    from armonika import policy
    from armonika.policy.compile import catalogue

    before = doors.api.catalogue.sha256
    with pytest.raises(MigrationError, match="do not belong to this database"):
        provision(tmp_path / "keys", doors.server.admin_dsn, catalogue(policy.load()))  # type: ignore[attr-defined]
    for door in DOORS:
        doors.raw(door).close()
    provision(doors.server.home / "keys", doors.server.admin_dsn, catalogue(policy.load()))  # type: ignore[attr-defined]
    assert doors.api.catalogue.sha256 == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Nour@Example.DZ", "nour@example.dz"),
        ("نور@موقع.example", "نور@xn--4gbrim.example"),
        ("ÉLISE@x.dz", "élise@x.dz"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("ｎour@x.dz", "nour@x.dz"),
    ],
)
def test_forms_of_one_address_have_one_canonical_form(one: str, other: str) -> None:
    assert canonical_email(one) == canonical_email(other)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_invalid_and_canonical_forms_are_stable(text: str) -> None:
    try:
        form = canonical_email(text)
    except Invalid:
        return
    assert canonical_email(form) == form


@given(st.text(max_size=200))
def test_any_text_is_clean_or_invalid_and_clean_text_stays_so(text: str) -> None:
    try:
        value = clean(text)
    except Invalid:
        return
    assert clean(value) == value
    value.encode()
