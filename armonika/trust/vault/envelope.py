"""Envelope encryption of records with the keys that one door holds (docs/data-model.md "Envelope")."""

from __future__ import annotations

import contextlib
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from armonika.store.private_files import KeyFileError
from armonika.trust import crypto
from armonika.trust.keys.credentials import CompartmentKeys, Credentials, EpochKeys, load
from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.catalogue import Dataset
from armonika.trust.vault.errors import Forbidden, KeyUnavailable, Tampered
from armonika.trust.vault.text import clean

KIND_WRAPPED, KIND_SEALED = 1, 2
_VALUE = b"armonika/value/1\0"
_KEY = b"armonika/key/1\0"
_FIRST = (1).to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record ready for `vault.create`: ciphertexts by ordinal from 1 (None where left out), look-ups as (ordinal, epoch, digest)."""

    mask: int
    kind: int
    epoch: int
    wrapped: bytes
    ciphertexts: Sequence[bytes | None]
    lookups: Sequence[tuple[int, int, bytes]]


class Layout:
    """Where the fields of a set (a bit mask) stand in a record of a dataset, and what their values are bound to: worked out once for many records."""

    __slots__ = ("dataset", "fields", "place")

    def __init__(self, dataset: Dataset, mask: int) -> None:
        self.dataset, self.place = dataset, _labelled(dataset.compartment.encode())
        self.fields = [
            (ordinal - 1, name, label := _labelled(dataset.labels[name]), label + _FIRST)
            for ordinal, name in dataset.names.items()
            if mask >> (ordinal - 1) & 1
        ]


def _labelled(name: bytes) -> bytes:
    return bytes((len(name),)) + name


def _place(subject: UUID, record: UUID, compartment: str) -> bytes:
    return subject.bytes + record.bytes + _labelled(compartment.encode())


class Envelope:
    """Encrypts and opens records. Values never leave the caller's hands in clear, nor do keys leave this object."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials, self._held = credentials, credentials.compartments
        self._seen = 0
        self._loading = threading.Lock()

    def seal(self, dataset: Dataset, subject: UUID, record: UUID, values: Mapping[str, str]) -> Sealed:
        """Encrypts a new record under a data key of its own. Raises Undeclared, Invalid, Forbidden, KeyUnavailable."""
        self._take_part(dataset)
        mask = dataset.mask(values)
        number, epoch = self._written(dataset)
        data_key = crypto.random_bytes(crypto.KEY_BYTES)
        place = _place(subject, record, dataset.compartment)
        bound = _KEY + place + number.to_bytes(4, "big")
        if epoch.kek is not None:
            kind, wrapped = KIND_WRAPPED, crypto.wrap(epoch.kek, data_key, bound)
        else:
            kind, wrapped = KIND_SEALED, crypto.hpke_seal(epoch.public, data_key, bound)
        ciphertexts: list[bytes | None] = [None] * mask.bit_length()
        lookups: list[tuple[int, int, bytes]] = []
        for field, value in values.items():
            ordinal = dataset.ordinals[field]
            ciphertexts[ordinal - 1] = self._value(data_key, place, dataset, field, 1, value)
            if field in dataset.indexed:
                lookups += self._lookups(dataset, field, value)
        return Sealed(mask, kind, number, wrapped, ciphertexts, lookups)

    def open(
        self, layout: Layout, subject: UUID, record: UUID, kind: int, epoch: int, wrapped: bytes, versions: Sequence[int | None],
        ciphertexts: Sequence[bytes | None],
    ) -> tuple[dict[str, str], dict[str, int]]:  # fmt: skip
        """Values and versions by field name. Raises Tampered when anything is not in its place, KeyUnavailable without the key."""
        place = subject.bytes + record.bytes + layout.place
        data_key = self._data_key(layout.dataset.compartment, place, kind, epoch, wrapped)
        seen: dict[str, int] = {}
        sealed: list[bytes] = []
        places: list[bytes] = []
        try:
            for index, name, label, first in layout.fields:
                version, ciphertext = versions[index], ciphertexts[index]
                if version is None or ciphertext is None:
                    raise Tampered("a value is missing from its record")
                seen[name] = version
                sealed.append(ciphertext)
                places.append(first if version == 1 else label + version.to_bytes(4, "big"))
            opened = crypto.unseal_all(data_key, sealed, _VALUE + place, places)
        except (crypto.Unauthentic, IndexError):
            raise Tampered("a value does not belong to its person, record, field and version") from None
        return {name: value.decode() for name, value in zip(seen, opened, strict=True)}, seen

    def reseal(
        self,
        dataset: Dataset,
        subject: UUID,
        record: UUID,
        kind: int,
        epoch: int,
        wrapped: bytes,
        changes: Mapping[str, tuple[int, str]],
    ) -> tuple[list[int], list[int], list[bytes], list[tuple[int, int, bytes]]]:
        """New ciphertexts for a correction: `changes` maps field to (present version, new value). Returns ordinals, expected versions,
        ciphertexts and look-ups."""
        place = _place(subject, record, dataset.compartment)
        data_key = self._data_key(dataset.compartment, place, kind, epoch, wrapped)
        ordinals, expected, ciphertexts, lookups = [], [], [], []
        for field, (version, value) in changes.items():
            ordinals.append(dataset.ordinals[field])
            expected.append(version)
            ciphertexts.append(self._value(data_key, place, dataset, field, version + 1, value))
            if field in dataset.indexed:
                lookups += self._lookups(dataset, field, value)
        return ordinals, expected, ciphertexts, lookups

    def digests(self, dataset: Dataset, field: str, value: str) -> tuple[list[int], list[bytes]]:
        """Blind-index digests of a value under every epoch that is searched now. Raises Invalid, Forbidden, KeyUnavailable."""
        self._take_part(dataset)
        return list(dataset.indexing), [self.digest(dataset, field, value, epoch) for epoch in dataset.indexing]

    def takes_part(self, dataset: Dataset) -> bool:
        """Whether this door holds anything of the dataset's compartment."""
        return dataset.compartment in self._held

    def _take_part(self, dataset: Dataset) -> None:
        """Raises Forbidden where the door takes no part: no waiting changes it, as it does where an epoch's keys are still to come."""
        if not self.takes_part(dataset):
            raise Forbidden("the policy gives this door no part in the compartment of that dataset")

    def _value(self, data_key: bytes, place: bytes, dataset: Dataset, field: str, version: int, value: str) -> bytes:
        aad = _VALUE + place + _labelled(dataset.labels[field]) + version.to_bytes(4, "big")
        return crypto.seal(data_key, clean(value).encode(), aad)

    def _digest(self, dataset: Dataset, field: str, value: str, index_key: bytes) -> bytes:
        canonical = canonical_email(value) if field == "email" else unicodedata.normalize("NFKC", clean(value)).casefold()
        return crypto.hmac_sha256(index_key, b"armonika/index/1\0" + dataset.labels[field] + b"\0" + canonical.encode())

    def _data_key(self, compartment: str, place: bytes, kind: int, epoch: int, wrapped: bytes) -> bytes:
        keys = self._epoch(compartment, epoch)
        if keys is None or keys.kek is None or keys.private is None:
            raise KeyUnavailable("this door holds no key that opens the record")
        bound = _KEY + place + epoch.to_bytes(4, "big")
        try:
            if kind == KIND_WRAPPED:
                return crypto.unwrap(keys.kek, wrapped, bound)
            return crypto.hpke_open(keys.private, wrapped, bound)
        except crypto.Unauthentic:
            raise Tampered("a data key does not belong to its person, record, compartment and epoch") from None

    def rewrap(
        self, compartment: str, subject: UUID, record: UUID, kind: int, epoch: int, wrapped: bytes, new_epoch: int
    ) -> bytes:
        """The same data key under the key-encryption key of another epoch (kind 1). Raises Tampered, KeyUnavailable."""
        place = _place(subject, record, compartment)
        target = self._epoch(compartment, new_epoch)
        if target is None or target.kek is None:
            raise KeyUnavailable("this door holds no key of the new epoch")
        return crypto.wrap(
            target.kek, self._data_key(compartment, place, kind, epoch, wrapped), _KEY + place + new_epoch.to_bytes(4, "big")
        )

    def digest(self, dataset: Dataset, field: str, value: str, epoch: int) -> bytes:
        """The blind-index digest of a value under one epoch. Raises KeyUnavailable."""
        keys = self._epoch(dataset.compartment, epoch)
        if keys is None:
            raise KeyUnavailable("this door holds no keys of that epoch")
        return self._digest(dataset, field, value, keys.index)

    def _lookups(self, dataset: Dataset, field: str, value: str) -> list[tuple[int, int, bytes]]:
        return [(dataset.ordinals[field], epoch, self.digest(dataset, field, value, epoch)) for epoch in dataset.indexing]

    def _written(self, dataset: Dataset) -> tuple[int, EpochKeys]:
        keys = self._epoch(dataset.compartment, dataset.epoch) if dataset.epoch is not None else None
        if keys is None or dataset.epoch is None:
            raise KeyUnavailable(
                "the keys of this compartment are suspended, or this door has not got the new ones yet: restart it"
            )
        return dataset.epoch, keys

    def _epoch(self, compartment: str, number: int) -> EpochKeys | None:
        """Keys of one epoch. Those of one that began after the start are read from the credentials folder when its file has changed."""
        found = self._compartment(compartment).epochs.get(number)
        source = self._credentials.source
        if found is not None or source is None:
            return found
        with self._loading, contextlib.suppress(KeyFileError, OSError):
            written = (source / f"{self._credentials.door}.json").stat().st_mtime_ns
            if written != self._seen:
                self._held = load(self._credentials.door, source).compartments
                self._seen = written
        return self._compartment(compartment).epochs.get(number)

    def _compartment(self, name: str) -> CompartmentKeys:
        try:
            return self._held[name]
        except KeyError:
            raise KeyUnavailable("this door holds no keys of that compartment") from None
