"""The keeper destroys what is left of erased people, and moves the data from a retiring epoch of keys to the active one, page by page, while reads
and writes go on.

Data keys are re-wrapped without a look at what they open. Look-up digests need the value, which the keeper reads as everybody does: by ask and
take, with purpose `legal`, reason `key-rotation` and an entry in the log. Every page is one transaction; kill -9 loses at most one page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armonika.trust.vault.envelope import Envelope
from armonika.trust.vault.errors import KeyUnavailable, Tampered, VaultError
from armonika.trust.vault.reader import VaultReader
from armonika.trust.vault.types import Ask

PAGE = 4000
SWEEP_PAGE = 500
DIGEST_PAGE = 500
_START = (0, 0, 0, b"")


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far the rotation is: `moved` of about `total` data keys, `redigested` look-ups; `retiring` epochs are not done yet."""

    paused: bool
    moved: int
    total: int
    redigested: int
    retiring: int


class Keeper(VaultReader):
    """One keeper at the database. Two at once do no harm: each row moves once."""

    _after: tuple[int, int, int, bytes] = _START

    def rotation(self) -> Rotation:
        """The present state."""
        return Rotation(*self._store.rows("SELECT paused, moved, total, redigested, retiring FROM vault.rotation_state()")[0])

    def step(self) -> bool:
        """One page of work. Returns whether there may be more at once. Raises Tampered naming a record that does not open, Unavailable."""
        if self._store.value("SELECT vault.sweep($1::bytea, $2::int)", [self.service, SWEEP_PAGE]):
            return True
        state = self.rotation()
        if state.paused or not state.retiring:
            return False
        if self._rewrap() or self._redigest():
            return True
        self._after = _START
        return bool(self._store.value("SELECT vault.settle_epochs($1::bytea)", [self.service]))

    def _rewrap(self) -> bool:
        rows = self._store.rows(
            "SELECT subject, record, compartment, old_epoch, new_epoch, kind, wrapped FROM vault.stale_keys($1::bytea, $2::int)",
            [self.service, PAGE],
        )
        if rows:
            done = [_rewrapped(self._envelope, row) for row in rows]
            subjects, records, _, old_epochs, new_epochs, *_ = _columns(rows)
            self._store.rows(
                "SELECT vault.rewrap($1::bytea, $2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::bytea[])",
                [self.service, subjects, records, old_epochs, new_epochs, done],
            )
        return bool(rows)

    def _redigest(self) -> bool:
        rows = self._store.rows(
            "SELECT dataset, ordinal, old_epoch, digest, subject, record, new_epoch FROM vault.stale_lookups($1::bytea, $2::smallint, $3::smallint, $4::int, $5::bytea, $6::int)",
            [self.service, *self._after, DIGEST_PAGE],
        )
        if rows:
            dataset, ordinal, old_epoch, digest, *_ = rows[-1]
            self._after = (dataset, ordinal, old_epoch, digest)
            self._redigest_page(rows)
        return bool(rows)

    def _redigest_page(self, rows: list[tuple[Any, ...]]) -> None:
        catalogue = self.catalogue
        asks = []
        for dataset_id, ordinal, _, _, subject, record, _ in rows:
            dataset = catalogue.by_id[dataset_id]
            asks.append(Ask(self.service, subject, dataset.name, [dataset.names[ordinal]], "legal", "key-rotation", None, record))
        made: list[tuple[Any, ...]] = []
        for row, outcome in zip(rows, self.read_many(asks), strict=True):
            # Somebody erased or ended meanwhile has no look-up left either; anything else must be seen.
            if isinstance(outcome.error, (KeyUnavailable, Tampered)):
                raise outcome.error
            dataset_id, ordinal, old_epoch, _, subject, record, new_epoch = row
            dataset = catalogue.by_id[dataset_id]
            field = dataset.names[ordinal]
            for found in outcome.records:
                if (value := found.values.get(field)) is not None:
                    old, new = (self._envelope.digest(dataset, field, value, epoch) for epoch in (old_epoch, new_epoch))
                    made.append((dataset_id, ordinal, subject, record, old_epoch, old, new_epoch, new))
        if made:
            self._store.rows(
                "SELECT vault.redigest($1::bytea, $2::smallint[], $3::smallint[], $4::uuid[], $5::uuid[], $6::int[], $7::bytea[], $8::int[], $9::bytea[])",
                [self.service, *_columns(made)],
            )


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _rewrapped(envelope: Envelope, row: tuple[Any, ...]) -> bytes:
    subject, record, compartment, old_epoch, new_epoch, kind, wrapped = row
    try:
        return envelope.rewrap(compartment, subject, record, kind, old_epoch, wrapped, new_epoch)
    except VaultError as error:
        raise type(error)(f"record {record} of epoch {old_epoch} cannot be re-wrapped: {error}") from None
