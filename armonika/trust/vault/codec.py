"""What the synchronous and the asynchronous vault share: statements, their parameters, their rows, their errors. No I/O.

Statements are written with `$n`; psycopg's `%s` form is derived. Every parameter is bound: no value stands in a statement's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from armonika.trust.vault.catalogue import Catalogue, Dataset
from armonika.trust.vault.envelope import Envelope, Layout
from armonika.trust.vault.errors import (
    ClockUntrusted,
    Duplicate,
    Forbidden,
    Invalid,
    KeysChanged,
    Refused,
    Restricted,
    SessionEnded,
    Tampered,
    Unavailable,
    Undeclared,
    VaultError,
    VersionConflict,
)
from armonika.trust.vault.types import Ask, Created, Find, NewRecord, Origin, Outcome, Record

ASK = (
    "SELECT ticket, verdict FROM vault.ask($1::bytea[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[], "
    "$8::smallint[], $9::bigint[], $10::int[])"
)
ASK_FIND = "SELECT item, ticket FROM vault.ask_find($1::bytea, $2::smallint, $3::smallint, $4::text, $5::smallint, $6::smallint, $7::int[], $8::bytea[], $9::bigint, $10::int[])"
TAKE = "SELECT item, subject, record, dataset, kind, epoch, wrapped, fields, versions, ciphertexts FROM vault.take($1::bytea[], $2::bigint[], $3::int[])"
READ_AT_ONCE = "CALL vault.read($1::bytea[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[], $6::uuid[], $7::uuid[], $8::smallint[], $9::bigint[], $10::int[])"
FIND_AT_ONCE = "CALL vault.find($1::bytea, $2::smallint, $3::smallint, $4::text, $5::smallint, $6::smallint, $7::int[], $8::bytea[], $9::bigint, $10::int[])"
CONSULT = "SELECT vault.consult($1::bytea, $2::smallint, $3::smallint, $4::smallint, $5::text, $6::uuid)"
DESCRIBE = "SELECT record, dataset, ordinal, version, origin, written_at, event FROM vault.describe($1::bytea, $2::bigint)"
ACCESSES = (
    "SELECT audit_id, at, operation, granted, reader, role, dataset, fields, purpose, reason, reference, leaf_no "
    "FROM vault.accesses($1::bytea, $2::bigint, $3::int, $4::bigint)"
)
CREATE = (
    "SELECT vault.create($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid[], $6::text[], $7::uuid[], $8::uuid[], $9::smallint[], $10::bigint[], "
    "$11::smallint[], $12::smallint[], $13::int[], $14::bytea[], $15::int[], $16::bytea[], $17::int[], $18::smallint[], $19::int[], $20::bytea[], $21::text[])"
)
CORRECT = (
    "SELECT vault.correct($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid, $6::uuid, $7::smallint, $8::smallint[], $9::int[], $10::bytea[], "
    "$11::smallint[], $12::int[], $13::bytea[])"
)
ERASE = "SELECT subject, audit_id, erased, kept FROM vault.erase($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid[])"
ERASE_RECORDS = (
    "SELECT record, audit_id FROM vault.erase_records($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid[], $6::uuid[])"
)
EVENT = "SELECT vault.event($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid, $6::uuid)"
WITHDRAW_EVENT = "SELECT vault.withdraw_event($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid, $6::uuid)"
RESTRICT = "SELECT vault.restrict($1::bytea, $2::smallint, $3::smallint, $4::text, $5::uuid, $6::boolean)"
NOTE_REFUSAL = "SELECT vault.note_refusal($1::bytea, $2::smallint, $3::smallint, $4::smallint, $5::uuid, $6::smallint)"
WHOAMI = "SELECT actor, role, org_id, kind, expires_at, auth_at, usable, second_at FROM vault.whoami($1::bytea)"
CATALOGUE = "SELECT vault.catalogue()"

READ, RELEASE = 1, 8
FORBIDDEN = 2
"""The verdict of an ask that the policy does not allow."""
_NOTHING = Outcome()
ORIGINS: Mapping[Origin, int] = {"subject": 1, "organisation": 2, "operator": 3, "system": 4}
ORIGIN_NAMES: Mapping[int, Origin] = {number: name for name, number in ORIGINS.items()}

_BY_STATE: Mapping[str, type[VaultError]] = {
    "AR401": SessionEnded, "AR403": Refused, "AR409": Duplicate, "AR412": VersionConflict, "AR422": Undeclared, "AR423": Restricted,
    "AR425": ClockUntrusted, "AR426": ClockUntrusted, "AR428": KeysChanged,
}  # fmt: skip
_MESSAGES: Mapping[type[VaultError], str] = {
    SessionEnded: "sign in again: the session or token is not valid here",
    Refused: "there is nothing here for this actor and purpose",
    Duplicate: "a value that must be unique is taken",
    VersionConflict: "the value changed since it was read: read it again",
    Undeclared: "a field, dataset, purpose, reason or reference is not declared in the policy in force",
    Restricted: "processing of this person is restricted",
    ClockUntrusted: "the clock is behind the log, or more than a week ahead of the last run: look at it, then `armonika retention confirm-clock`",
    KeysChanged: "the keys are being renewed; try again in a moment",
}


def percent(statement: str) -> str:
    """The statement in psycopg's form. Parameters stand once each and in order."""
    return re.sub(r"\$\d+", "%s", statement)


def error_of(sqlstate: str | None) -> VaultError:
    """The typed error of a SQLSTATE. The server's own message is left behind: it may repeat what was sent."""
    kind = _BY_STATE.get(sqlstate or "")
    if kind is None:
        return Unavailable("the store does not answer now; try again in a moment")
    return kind(_MESSAGES[kind])


def verdict_error(verdict: int) -> VaultError:
    """The error of a verdict of `vault.ask` (docs/data-model.md)."""
    if verdict == 1:
        return SessionEnded(_MESSAGES[SessionEnded])
    if verdict == FORBIDDEN:
        return Forbidden("the policy does not allow this actor this purpose, dataset or field")
    if verdict == 4:
        return Restricted(_MESSAGES[Restricted])
    return Refused(_MESSAGES[Refused])


def ask_parameters(
    catalogue: Catalogue, asks: Sequence[Ask], what: int = READ
) -> tuple[list[Any], list[int], dict[int, VaultError]]:
    """Parameters of `ASK`, the positions that its items stand for, and the errors of asks that name what is not declared.

    Who asks for what and why is sent once for all asks that agree in it.
    """
    shapes: dict[tuple[Any, ...], int] = {}
    rows: list[tuple[Any, ...]] = []
    subjects, records, of, positions = [], [], [], []
    errors: dict[int, VaultError] = {}
    for position, ask in enumerate(asks):
        key = (ask.secret, ask.dataset, ask.purpose, ask.reason, ask.reference, *ask.fields)
        shape = shapes.get(key)
        if shape is None:
            try:
                dataset = catalogue.dataset(ask.dataset)
                rows.append(
                    (ask.secret, what, catalogue.purpose(ask.purpose), catalogue.reason(ask.reason), ask.reference, dataset.id, dataset.mask(ask.fields))
                )  # fmt: skip
            except VaultError as error:
                errors[position] = error
                continue
            shape = shapes[key] = len(rows)
        subjects.append(ask.subject)
        records.append(ask.record)
        of.append(shape)
        positions.append(position)
    secrets, whats, purposes, reasons, references, datasets, masks = (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(7)]
    )
    return [secrets, whats, purposes, reasons, references, subjects, records, datasets, masks, of], positions, errors


def find_parameters(
    catalogue: Catalogue, envelope: Envelope, finds: Sequence[Find]
) -> tuple[list[Any], list[int], dict[int, VaultError]]:
    """Parameters of `ASK_FIND` for look-ups that differ in their value alone, the positions that its items stand for, and the errors of values that
    cannot be one. Raises Undeclared, Forbidden, KeyUnavailable."""
    first = finds[0]
    dataset = catalogue.dataset(first.dataset)
    if first.field not in dataset.indexed:
        raise Undeclared("the field is not declared for look-up")
    items: list[int] = []
    epochs: list[int] = []
    digests: list[bytes] = []
    positions: list[int] = []
    errors: dict[int, VaultError] = {}
    for position, find in enumerate(finds):
        try:
            searched, made = envelope.digests(dataset, find.field, find.value)
        except Invalid as error:
            errors[position] = error
            continue
        positions.append(position)
        items += [len(positions)] * len(made)
        epochs += searched
        digests += made
    parameters = [
        first.secret, catalogue.purpose(first.purpose), catalogue.reason(first.reason), first.reference, dataset.id, dataset.ordinals[first.field],
        epochs, digests, dataset.mask(first.fields), items,
    ]  # fmt: skip
    return parameters, positions, errors


def take_parameters(asked: Sequence[Any], answers: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Parameters of `TAKE` from those of `ASK` and its rows: secrets, the granted tickets, and which secret each is of."""
    granted = [(row[0], shape) for row, shape in zip(answers, asked[9], strict=True) if row[0] is not None]
    return [asked[0], [ticket for ticket, _ in granted], [shape for _, shape in granted]]


def open_rows(
    catalogue: Catalogue, envelope: Envelope, rows: Sequence[Sequence[Any]], tickets: Sequence[int]
) -> dict[int, list[Record] | VaultError]:
    """Decrypted records by item number (from 0) of the take. A record that does not open is that item's error (Tampered, KeyUnavailable) alone."""
    opened: dict[int, list[Record] | VaultError] = {}
    layouts: dict[tuple[int, int], Layout] = {}
    for item, subject, record, dataset_id, kind, epoch, wrapped, fields, versions, ciphertexts in rows:
        index = item - 1
        so_far = opened.get(index)
        if so_far is None:
            so_far = opened[index] = []
        elif isinstance(so_far, VaultError):
            continue
        try:
            layout = layouts.get((dataset_id, fields))
            if layout is None:
                dataset = catalogue.by_id.get(dataset_id)
                if dataset is None:
                    raise Tampered("a record is of no declared dataset")
                layout = layouts[dataset_id, fields] = Layout(dataset, fields)
            values, seen = envelope.open(layout, subject, record, kind, epoch, wrapped, versions, ciphertexts)
        except VaultError as error:
            opened[index] = error
            continue
        so_far.append(Record(subject, record, layout.dataset.name, values, seen, tickets[index]))
    return opened


def outcomes(count: int, positions: Sequence[int], answers: Sequence[Sequence[Any]], granted: Mapping[int, list[Record] | VaultError],
    errors: Mapping[int, VaultError]) -> list[Outcome]:  # fmt: skip
    """Per-item results in the order of the asks. `granted` is by position among the granted tickets."""
    result = [_NOTHING] * count
    for position, error in errors.items():
        result[position] = Outcome(error=error)
    number = 0
    for position, (ticket, verdict) in zip(positions, answers, strict=True):
        if ticket is None:
            result[position] = Outcome(error=verdict_error(verdict))
            continue
        found = granted.get(number)
        if found is not None:
            result[position] = Outcome(error=found) if isinstance(found, VaultError) else Outcome(found)
        number += 1
    return result


def create_parameters(catalogue: Catalogue, envelope: Envelope, secret: bytes, purpose: str, reason: str, reference: str | None,
    records: Sequence[NewRecord], jobs: Sequence[str]) -> tuple[list[Any], list[tuple[UUID, UUID]]]:  # fmt: skip
    """Parameters of `CREATE` and the (subject, record) ids that were made. Raises Undeclared, Invalid, Forbidden, KeyUnavailable."""
    columns: list[list[Any]] = [[] for _ in range(10)]
    value_items: list[int] = []
    value_ciphertexts: list[bytes | None] = []
    lookups: list[list[Any]] = [[], [], [], []]
    made: list[tuple[UUID, UUID]] = []
    for number, new in enumerate(records, start=1):
        dataset = catalogue.dataset(new.dataset)
        subject, record = new.subject or new.new_subject or uuid4(), new.new_record or uuid4()
        if new.subject is None and new.kind is None:
            raise Undeclared("a new person needs a kind")
        sealed = envelope.seal(dataset, subject, record, new.values)
        row: tuple[Any, ...] = (
            subject, new.kind if new.subject is None else None, new.org, record, dataset.id, sealed.mask, ORIGINS[new.origin], sealed.kind, sealed.epoch,
            sealed.wrapped,
        )  # fmt: skip
        for column, value in zip(columns, row, strict=True):
            column.append(value)
        value_items += [number] * len(sealed.ciphertexts)
        value_ciphertexts += sealed.ciphertexts
        for ordinal, epoch, digest in sealed.lookups:
            for column, part in zip(lookups, (number, ordinal, epoch, digest), strict=True):
                column.append(part)
        made.append((subject, record))
    parameters = [
        secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, *columns, value_items, value_ciphertexts, *lookups, list(jobs),
    ]  # fmt: skip
    return parameters, made


def versions_taken(dataset: Dataset, taken: Sequence[Any], changes: Mapping[str, str]) -> dict[str, int]:
    """The versions that the changed fields have in the row that the release of the key gave; 0 for what is absent."""
    fields, versions = taken[7], taken[8]
    return {name: versions[o - 1] if fields >> (o - 1) & 1 else 0 for name, o in dataset.ordinals.items() if name in changes}


def correct_parameters(catalogue: Catalogue, envelope: Envelope, dataset: Dataset, taken: Sequence[Any], secret: bytes, subject: UUID, record: UUID,
    changes: Mapping[str, str], purpose: str, reason: str, reference: str | None, expected: Mapping[str, int] | None, origin: Origin) -> list[Any]:  # fmt: skip
    """Parameters of `CORRECT`, from the row that the release of the key gave. Without `expected` the versions just taken are expected."""
    _, _, _, _, kind, epoch, wrapped, _, _, _ = taken
    wanted = versions_taken(dataset, taken, changes) if expected is None else expected
    changed = {name: (wanted.get(name, 0), value) for name, value in changes.items()}
    ordinals, seen, ciphertexts, lookups = envelope.reseal(dataset, subject, record, kind, epoch, wrapped, changed)
    columns: list[list[Any]] = [list(column) for column in zip(*lookups, strict=True)] if lookups else [[], [], []]
    return [
        secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, subject, record, ORIGINS[origin], ordinals, seen, ciphertexts, *columns,
    ]  # fmt: skip


def created(made: Sequence[tuple[UUID, UUID]], audit_ids: Sequence[int]) -> list[Created]:
    """Pairs what was made with the audit rows' numbers."""
    return [Created(subject, record, audit_id) for (subject, record), audit_id in zip(made, audit_ids, strict=True)]
