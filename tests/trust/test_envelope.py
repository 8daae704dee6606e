"""Envelopes in memory: the bytes are those of docs/data-model.md, each opens in its place alone, and a door without the key says so."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.trust import crypto
from armonika.trust.keys.credentials import CompartmentKeys, Credentials, EpochKeys, write
from armonika.trust.vault.catalogue import Catalogue
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import Forbidden, Invalid, KeyUnavailable, Tampered, Undeclared
from tests.trust.test_catalogue import CONTENT

KEYS = {}
for number in (2, 3, 4):
    private, public = crypto.hpke_generate()
    KEYS[number] = EpochKeys(public, bytes([number]) * 32, bytes([16 + number]) * 32, private)
FULL = Credentials(
    "api", "w", UUID(int=1), b"s", b"w", compartments={"account": CompartmentKeys("full", {2: KEYS[2], 3: KEYS[3]})}
)
SEAL = replace(
    FULL, compartments={"account": CompartmentKeys("seal", {n: EpochKeys(KEYS[n].public, KEYS[n].index) for n in (2, 3)})}
)
DATASET = Catalogue(
    {**CONTENT, "datasets": {"account": {**CONTENT["datasets"]["account"], "indexed": ["email", "phone"]}}}
).dataset("account")
WHOM, RECORD = UUID(int=10), UUID(int=11)
PLACE = WHOM.bytes + RECORD.bytes + b"\7account"
VALUES = {"name": "Nour", "email": "Nour@Example.DZ", "phone": "\uff15"}


def labelled(name: bytes) -> bytes:
    return bytes([len(name)]) + name


def digest(field: str, canonical: str, epoch: int) -> bytes:
    return crypto.hmac_sha256(KEYS[epoch].index, b"armonika/index/1\0account." + field.encode() + b"\0" + canonical.encode())


def open_(envelope: Envelope, sealed: Any, mask: int | None = None, **changed: Any) -> tuple[dict[str, str], dict[str, int]]:
    given = {"subject": WHOM, "record": RECORD, "kind": sealed.kind, "epoch": sealed.epoch, "wrapped": sealed.wrapped, "versions": [None if c is None else 1 for c in sealed.ciphertexts],
             "ciphertexts": sealed.ciphertexts} | changed  # fmt: skip
    return envelope.open(Layout(DATASET, sealed.mask if mask is None else mask), *given.values())


@pytest.mark.parametrize(("held", "kind"), [(FULL, 1), (SEAL, 2)])
def test_a_sealed_record_is_of_the_documented_bytes(held: Credentials, kind: int) -> None:
    sealed = Envelope(held).seal(DATASET, WHOM, RECORD, VALUES)
    assert (sealed.mask, sealed.kind, sealed.epoch) == (11, kind, 3)
    bound = b"armonika/key/1\0" + PLACE + (3).to_bytes(4, "big")
    key = (
        crypto.unwrap(KEYS[3].kek, sealed.wrapped, bound)
        if kind == 1
        else crypto.hpke_open(KEYS[3].private, sealed.wrapped, bound)
    )  # type: ignore[arg-type]
    assert len(key) == 32
    assert len(sealed.ciphertexts) == 4
    assert sealed.ciphertexts[2] is None
    for field, ordinal in (("name", 1), ("email", 2), ("phone", 4)):
        aad = b"armonika/value/1\0" + PLACE + labelled(f"account.{field}".encode()) + (1).to_bytes(4, "big")
        assert crypto.unseal(key, sealed.ciphertexts[ordinal - 1], aad).decode() == {"phone": "\uff15"}.get(field, VALUES[field])  # type: ignore[arg-type]
    assert list(sealed.lookups) == [
        (2, 2, digest("email", "nour@example.dz", 2)),
        (2, 3, digest("email", "nour@example.dz", 3)),
        (4, 2, digest("phone", "5", 2)),
        (4, 3, digest("phone", "5", 3)),
    ]
    again = Envelope(held).seal(DATASET, WHOM, RECORD, VALUES)
    assert again.wrapped != sealed.wrapped
    assert not set(again.ciphertexts[:2]) & set(sealed.ciphertexts)
    values, versions = open_(Envelope(FULL), sealed)
    assert values == VALUES
    assert versions == {"name": 1, "email": 1, "phone": 1}
    assert open_(Envelope(FULL), sealed, 2) == ({"email": VALUES["email"]}, {"email": 1})


def test_what_is_moved_does_not_open() -> None:
    envelope = Envelope(FULL)
    sealed, other = envelope.seal(DATASET, WHOM, RECORD, VALUES), envelope.seal(DATASET, WHOM, RECORD, VALUES)
    first, second, _, fourth = sealed.ciphertexts
    for changed in (
        {"subject": uuid4()}, {"record": uuid4()}, {"wrapped": other.wrapped}, {"epoch": 2}, {"kind": 2}, {"versions": [2, 1, None, 1]}, {"versions": [1, 1, None, None]},
        {"versions": [0, 1, None, 1]},
        {"ciphertexts": [second, first, None, fourth]}, {"ciphertexts": [first, second, None, None]}, {"ciphertexts": [first, second, None]}, {"versions": [1]},
        {"ciphertexts": [first, second, None, b""]}, {"wrapped": b""},
    ):  # fmt: skip
        with pytest.raises(Tampered):
            open_(envelope, sealed, **changed)
    with pytest.raises(Tampered):
        open_(envelope, sealed, 4 | 1 << 2 | 8, versions=[1, 1, None, 2])


def test_a_correction_is_bound_to_the_version_after() -> None:
    envelope = Envelope(FULL)
    for held in (FULL, SEAL):
        sealed = Envelope(held).seal(DATASET, WHOM, RECORD, {"name": "N"})
        ordinals, expected, ciphertexts, lookups = envelope.reseal(
            DATASET, WHOM, RECORD, sealed.kind, sealed.epoch, sealed.wrapped, {"email": (0, "A@b.dz"), "name": (7, "M")}
        )
        assert (ordinals, expected) == ([2, 1], [0, 7])
        assert lookups == [(2, 2, digest("email", "a@b.dz", 2)), (2, 3, digest("email", "a@b.dz", 3))]
        values, versions = open_(envelope, sealed, 3, versions=[8, 1], ciphertexts=[ciphertexts[1], ciphertexts[0]])
        assert values == {"name": "M", "email": "A@b.dz"}
        assert versions == {"name": 8, "email": 1}
        with pytest.raises(Tampered):
            open_(envelope, sealed, 1, versions=[7], ciphertexts=[ciphertexts[1]])
    with pytest.raises(Tampered):
        envelope.reseal(DATASET, uuid4(), RECORD, sealed.kind, sealed.epoch, sealed.wrapped, {"name": (1, "M")})


def test_a_key_moves_to_another_epoch_and_opens_the_same() -> None:
    envelope = Envelope(FULL)
    for held in (FULL, SEAL):
        sealed = Envelope(held).seal(DATASET, WHOM, RECORD, VALUES)
        wrapped = envelope.rewrap("account", WHOM, RECORD, sealed.kind, 3, sealed.wrapped, 2)
        assert crypto.unwrap(KEYS[2].kek, wrapped, b"armonika/key/1\0" + PLACE + (2).to_bytes(4, "big"))  # type: ignore[arg-type]
        assert open_(envelope, sealed, kind=1, epoch=2, wrapped=wrapped)[0] == VALUES
        with pytest.raises(Tampered):
            envelope.rewrap("account", uuid4(), RECORD, sealed.kind, 3, sealed.wrapped, 2)
        for target in (envelope, Envelope(SEAL)):
            with pytest.raises(KeyUnavailable):
                target.rewrap("account", WHOM, RECORD, sealed.kind, 3, sealed.wrapped, 9 if target is envelope else 2)


def test_digests_are_exact_and_under_every_epoch_that_is_searched() -> None:
    envelope = Envelope(SEAL)
    assert envelope.digests(DATASET, "email", "NOUR@example.dz") == (
        [2, 3],
        [digest("email", "nour@example.dz", n) for n in (2, 3)],
    )
    assert envelope.digests(DATASET, "phone", "Ab\u212b") == (
        [2, 3],
        [digest("phone", unicodedata.normalize("NFKC", "Ab\u212b").casefold(), n) for n in (2, 3)],
    )
    assert envelope.digest(DATASET, "phone", "1", 2) == digest("phone", "1", 2)
    assert envelope.digest(DATASET, "phone", "1", 2) != envelope.digest(DATASET, "email", "1@b.dz", 2)
    with pytest.raises(KeyUnavailable):
        envelope.digest(DATASET, "phone", "1", 9)
    with pytest.raises(Invalid):
        envelope.digests(DATASET, "email", "no address")


def test_a_door_without_the_key_says_so() -> None:
    sealed = Envelope(FULL).seal(DATASET, WHOM, RECORD, VALUES)
    half = replace(FULL, compartments={"account": CompartmentKeys("full", {3: replace(KEYS[3], private=None)})})
    without = replace(FULL, compartments={"account": CompartmentKeys("full", {3: replace(KEYS[3], kek=None)})})
    for held in (
        SEAL,
        half,
        without,
        replace(FULL, compartments={}),
        replace(FULL, compartments={"account": CompartmentKeys("full", {})}),
    ):
        with pytest.raises(KeyUnavailable):
            open_(Envelope(held), sealed)
    for epoch in (None, 9):
        with pytest.raises(KeyUnavailable):
            Envelope(FULL).seal(replace(DATASET, epoch=epoch), WHOM, RECORD, VALUES)
    with pytest.raises(Undeclared):
        Envelope(FULL).seal(DATASET, WHOM, RECORD, {"salary": "1"})
    for value in ("", "\0"):
        with pytest.raises(Invalid):
            Envelope(FULL).seal(DATASET, WHOM, RECORD, {"name": value})


def test_a_door_without_a_part_in_the_compartment_is_told_so_and_not_to_wait() -> None:
    """Keys that are still to come are another error: whoever meets that one tries again."""
    outside = Envelope(replace(FULL, compartments={}))
    assert not outside.takes_part(DATASET)
    assert Envelope(SEAL).takes_part(DATASET)
    for call in (
        lambda: outside.seal(DATASET, WHOM, RECORD, VALUES),
        lambda: outside.digests(DATASET, "email", VALUES["email"]),
        lambda: outside.digests(replace(DATASET, indexing=()), "email", VALUES["email"]),
    ):
        with pytest.raises(Forbidden):
            call()


def test_an_epoch_that_begins_after_the_start_is_read_from_the_file(tmp_path: Path) -> None:
    """Only when its file has changed, and what was there stays when it cannot be read."""
    held = replace(FULL, source=tmp_path)
    envelope = Envelope(held)
    later = replace(DATASET, epoch=4)
    with pytest.raises(KeyUnavailable):
        envelope.seal(later, WHOM, RECORD, {"name": "N"})
    write(FULL, tmp_path)
    with pytest.raises(KeyUnavailable):
        envelope.seal(later, WHOM, RECORD, {"name": "N"})
    write(replace(FULL, compartments={"account": CompartmentKeys("full", KEYS)}), tmp_path)
    assert envelope.seal(later, WHOM, RECORD, {"name": "N"}).epoch == 4
    path = tmp_path / "api.json"
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"{")
    with pytest.raises(KeyUnavailable):
        envelope.seal(replace(DATASET, epoch=5), WHOM, RECORD, {"name": "N"})
    assert envelope.seal(later, WHOM, RECORD, {"name": "N"}).epoch == 4
    path.write_bytes(whole)
    read = Path.read_bytes
    assert read(path) == whole
    fixed = Envelope(replace(FULL, source=None))
    with pytest.raises(KeyUnavailable):
        fixed.seal(later, WHOM, RECORD, {"name": "N"})
    seen = envelope._seen
    with pytest.raises(KeyUnavailable):
        envelope.seal(replace(DATASET, epoch=6), WHOM, RECORD, {"name": "N"})
    first = envelope._held
    with pytest.raises(KeyUnavailable):
        envelope.seal(replace(DATASET, epoch=6), WHOM, RECORD, {"name": "N"})
    assert envelope._held is first, "not read again without a change"
    assert envelope._seen >= seen
