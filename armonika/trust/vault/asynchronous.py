"""The vault for the machine API: asyncpg, and batches in which requests of different actors share one ask and one take."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg

from armonika.trust.keys.credentials import Credentials
from armonika.trust.vault import codec
from armonika.trust.vault.catalogue import Catalogue
from armonika.trust.vault.envelope import Envelope
from armonika.trust.vault.errors import Forbidden, KeysChanged, KeyUnavailable, Refused, Unavailable, VaultError, VersionConflict
from armonika.trust.vault.reader import CATALOGUE_SECONDS, KEY_CHANGES, secret_hash
from armonika.trust.vault.server import asyncpg_address
from armonika.trust.vault.types import Actor, Ask, Created, Find, NewRecord, Origin, Outcome, Record, SecretHash

OVERTAKEN = 16
"""How often a correction that expects no version may be overtaken by others."""
T = TypeVar("T")
A = TypeVar("A", Ask, Find)


async def _as_it_is(_: Any) -> None:
    """Nothing to undo between two uses of a connection: every statement is one call of a function, committed by itself. Spares a round trip each."""


class AsyncVault:
    """Everything that one asynchronous door may do. The same meaning as `Vault`."""

    def __init__(self, credentials: Credentials, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._envelope = Envelope(credentials)
        self._known: tuple[float, Catalogue] | None = None
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self.service = secret_hash(credentials.service_secret)

    @classmethod
    async def open(cls, credentials: Credentials, dsn: str, size: int = 4) -> AsyncVault:
        """The vault as `credentials.door`; `dsn` names the server, or several of which one takes writes."""
        pool = await asyncpg.create_pool(
            asyncpg_address(dsn), user=credentials.database_user, password=credentials.database_password, min_size=1, max_size=size,
            command_timeout=15, timeout=5, reset=_as_it_is,
            server_settings={"application_name": f"armonika {credentials.door}", "jit": "off"},
        )  # fmt: skip
        return cls(credentials, pool)

    async def close(self) -> None:
        """Closes all connections."""
        await self._pool.close()

    async def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
            return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """One connection, in autocommit, for one or more statements; what goes wrong with it is a typed error."""
        try:
            async with self._pool.acquire() as connection:
                yield connection
        except asyncpg.PostgresError as error:
            raise codec.error_of(error.sqlstate) from None
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise Unavailable("the store does not answer now; try again in a moment") from None

    async def catalogue(self) -> Catalogue:
        """Names of the policy in force, at most `CATALOGUE_SECONDS` old. Raises Unavailable."""
        if self._known is None or time.monotonic() - self._known[0] > CATALOGUE_SECONDS:
            content = (await self._rows(codec.CATALOGUE))[0][0]
            if content is None:
                raise Unavailable("no policy is in force: install one with `armonika serve`")
            self._known = (time.monotonic(), Catalogue(json.loads(content)))
        return self._known[1]

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work`, again with a fresh catalogue when the keys changed under it: it had written nothing. See `VaultReader._again`."""
        for _ in range(KEY_CHANGES):
            try:
                return await work()
            except (KeysChanged, KeyUnavailable):
                self._known = None
        return await work()

    async def takes_part(self, dataset: str) -> bool:
        """Whether this door writes the dataset at all; True for what is not declared, which is told when it is written."""
        catalogue = await self.catalogue()
        return not catalogue.declares(dataset) or self._envelope.takes_part(catalogue.dataset(dataset))

    async def whoami(self, secret: SecretHash) -> Actor:
        """Who the secret proves. Raises SessionEnded."""
        return Actor(*(await self._rows(codec.WHOAMI, [secret]))[0])

    async def living(self, secrets: Sequence[SecretHash]) -> frozenset[SecretHash]:
        """Those of the secrets that prove somebody at this door now."""
        (row,) = await self._rows("SELECT vault.living($1::bytea[])", [list(secrets)])
        return frozenset(row[0])

    async def read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        """One ask and one take for all; actors may differ; each item has its own records or error."""
        return await self._with_late(self._read_many, asks)

    async def _with_late(self, run: Callable[[Sequence[A]], Awaitable[list[Outcome]]], asked: Sequence[A]) -> list[Outcome]:
        """What `run` gives. Items whose keys moved to another epoch between take and opening are asked again: there they are."""
        results = await run(asked)
        late = [number for number, outcome in enumerate(results) if isinstance(outcome.error, KeyUnavailable)]
        if late:
            for number, outcome in zip(late, await run([asked[number] for number in late]), strict=True):
                results[number] = outcome
        return results

    async def _read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        catalogue = await self.catalogue()
        asked, positions, errors = codec.ask_parameters(catalogue, asks)
        if not positions:
            return codec.outcomes(len(asks), positions, [], {}, errors)
        # Ask, commit and take in one round trip: each costs the interpreter as much as opening five people.
        ((tickets, verdicts, rows),) = await self._rows(codec.READ_AT_ONCE, asked)
        taken = [ticket for ticket in tickets if ticket is not None]
        granted = codec.open_rows(catalogue, self._envelope, rows or (), taken)
        return codec.outcomes(len(asks), positions, list(zip(tickets, verdicts, strict=True)), granted, errors)

    async def read(self, secret: SecretHash, subject: UUID, dataset: str, fields: Sequence[str], purpose: str, reason: str,
                   reference: str | None = None, record: UUID | None = None) -> list[Record]:  # fmt: skip
        """Decrypted records of one person. Raises the item's error."""
        outcome = (await self.read_many([Ask(secret, subject, dataset, fields, purpose, reason, reference, record)]))[0]
        if outcome.error is not None:
            raise outcome.error
        return list(outcome.records)

    async def find(self, secret: SecretHash, dataset: str, field: str, value: str, fields: Sequence[str], purpose: str, reason: str,
                   reference: str | None = None) -> list[Record]:  # fmt: skip
        """The person with exactly this look-up value, or an empty list. Audited either way. Raises as `read`."""

        outcome = (await self.find_many([Find(secret, dataset, field, value, fields, purpose, reason, reference)]))[0]
        if outcome.error is not None:
            raise outcome.error
        return list(outcome.records)

    async def find_many(self, finds: Sequence[Find]) -> list[Outcome]:
        """Look-ups that differ in their value alone share one ask and one take; each has its own records (none: nobody) or error."""
        results: list[Outcome | None] = [None] * len(finds)
        shapes: dict[tuple[Any, ...], list[int]] = {}
        for position, one in enumerate(finds):
            key = (one.secret, one.dataset, one.field, one.purpose, one.reason, one.reference, *one.fields)
            shapes.setdefault(key, []).append(position)
        for positions in shapes.values():
            asked = [finds[position] for position in positions]
            try:
                outcomes = await self._with_late(lambda some: self._again(partial(self._find_many, some)), asked)
            except VaultError as error:
                outcomes = [Outcome(error=error)] * len(asked)
            for position, outcome in zip(positions, outcomes, strict=True):
                results[position] = outcome
        return [outcome for outcome in results if outcome is not None]

    async def _find_many(self, finds: Sequence[Find]) -> list[Outcome]:
        catalogue = await self.catalogue()
        try:
            asked, positions, errors = codec.find_parameters(catalogue, self._envelope, finds)
        except Forbidden:
            one = finds[0]
            await self._refused(one.secret, "find", one.purpose, one.reason, None, one.dataset)
            raise
        if not positions:
            return codec.outcomes(len(finds), positions, [], {}, errors)
        ((tickets, rows),) = await self._rows(codec.FIND_AT_ONCE, asked)
        taken = [ticket for ticket in tickets if ticket is not None]
        granted = codec.open_rows(catalogue, self._envelope, rows or (), taken)
        return codec.outcomes(len(finds), positions, [(ticket, codec.FORBIDDEN) for ticket in tickets], granted, errors)

    async def create(
        self, secret: SecretHash, purpose: str, reason: str, records: Sequence[NewRecord], reference: str | None = None
    ) -> list[Created]:
        """Creates records in one transaction. Raises Duplicate, Refused, Restricted, Undeclared, Invalid; nothing is then stored."""

        async def work() -> list[Created]:
            parameters, made = codec.create_parameters(
                await self.catalogue(), self._envelope, secret, purpose, reason, reference, records, ()
            )
            rows = await self._rows(codec.CREATE, parameters)
            return codec.created(made, rows[0][0])

        try:
            return await self._again(work)
        except Refused:
            await self._refused(secret, "create", purpose, reason, records[0].subject, records[0].dataset)
            raise

    async def correct(self, secret: SecretHash, subject: UUID, record: UUID, changes: Mapping[str, str], purpose: str, reason: str,
                      reference: str | None = None, *, dataset: str = "account", expected: Mapping[str, int] | None = None,
                      unlike: Sequence[Mapping[str, int]] = (), origin: Origin = "subject") -> int:  # fmt: skip
        """Corrects fields of a record; see `Vault.correct`. Raises VersionConflict too when all changed fields are still of versions that `unlike` names.

        Who expects nothing is not told of a version: when another correction comes first, this one follows it.
        """
        unchanged = False

        async def work() -> int:
            nonlocal unchanged
            catalogue = await self.catalogue()
            declared = catalogue.dataset(dataset)
            columns, _, errors = codec.ask_parameters(
                catalogue, [Ask(secret, subject, dataset, list(changes), purpose, reason, reference, record)], codec.RELEASE
            )
            if errors:
                raise errors[0]
            answer = (await self._rows(codec.ASK, columns))[0]
            if answer[0] is None:
                raise codec.verdict_error(answer[1])
            rows = await self._rows(codec.TAKE, [[secret], [answer[0]], [1]])
            if len(rows) != 1:
                raise codec.verdict_error(3)
            unchanged = any(codec.versions_taken(declared, rows[0], changes) == dict(one) for one in unlike)
            if unchanged:
                raise VersionConflict("the value is still that of the version named")
            parameters = codec.correct_parameters(
                catalogue,
                self._envelope,
                declared,
                rows[0],
                secret,
                subject,
                record,
                changes,
                purpose,
                reason,
                reference,
                expected,
                origin,
            )
            return int((await self._rows(codec.CORRECT, parameters))[0][0])

        if expected is not None:
            return await self._again(work)
        # One at a time here, so that many do not overtake each other for ever; another process still may.
        async with self._turns.setdefault(record, asyncio.Lock()):
            for _ in range(OVERTAKEN):
                try:
                    return await self._again(work)
                except VersionConflict:
                    if unchanged:
                        raise
        raise Unavailable("others correct the same value again and again; try again in a moment")

    async def made(self, secret: SecretHash, subject: UUID, record: UUID) -> int | None:
        """The entry with which this actor made this record; -1 when it made the person with another record; None when it made neither."""
        found = (await self._rows("SELECT vault.made($1::bytea, $2::uuid, $3::uuid)", [secret, subject, record]))[0][0]
        return None if found is None else int(found)

    async def erase(
        self, secret: SecretHash, subjects: Sequence[UUID], purpose: str, reason: str, reference: str | None = None
    ) -> list[tuple[UUID, int, int, int]]:
        """Erases people; see `Vault.erase`. Raises Refused when there is nobody to erase."""
        catalogue = await self.catalogue()
        rows = await self._rows(
            codec.ERASE, [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, list(subjects)]
        )
        erased = {row[0] for row in rows}
        for subject in subjects:
            if subject not in erased:
                await self._refused(secret, "erase", purpose, reason, subject, None)
        if not rows:
            raise codec.verdict_error(3)
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def erase_records(
        self, secret: SecretHash, records: Sequence[tuple[UUID, UUID]], purpose: str, reason: str, reference: str | None = None
    ) -> list[tuple[UUID, int]]:
        """Ends single records of people who stay; see `Vault.erase_records`. Raises Refused when none may end."""
        catalogue = await self.catalogue()
        rows = await self._rows(
            codec.ERASE_RECORDS,
            [
                secret,
                catalogue.purpose(purpose),
                catalogue.reason(reason),
                reference,
                [s for s, _ in records],
                [r for _, r in records],
            ],
        )
        ended = {row[0] for row in rows}
        for subject, record in records:
            if record not in ended:
                await self._refused(secret, "erase", purpose, reason, subject, None)
        if not rows:
            raise codec.verdict_error(3)
        return [(row[0], row[1]) for row in rows]

    async def restrict(
        self, secret: SecretHash, subject: UUID, on: bool, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Locks or unlocks the processing of a person. Returns the audit row's number."""
        catalogue = await self.catalogue()
        try:
            rows = await self._rows(
                codec.RESTRICT, [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, subject, on]
            )
        except Refused:
            await self._refused(secret, "restrict", purpose, reason, subject, None)
            raise
        return int(rows[0][0])

    async def event(
        self, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Tells the event from which a record is kept; see `Vault.event`."""
        return await self._tell(codec.EVENT, secret, subject, record, purpose, reason, reference)

    async def withdraw_event(
        self, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Tells that the event did not last; see `Vault.withdraw_event`."""
        return await self._tell(codec.WITHDRAW_EVENT, secret, subject, record, purpose, reason, reference)

    async def _tell(self, statement: str, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None) -> int:  # fmt: skip
        catalogue = await self.catalogue()
        given = [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, subject, record]
        try:
            return int((await self._rows(statement, given))[0][0])
        except Refused:
            await self._refused(secret, "event", purpose, reason, subject, None)
            raise

    async def policies(self) -> list[tuple[Any, ...]]:
        """Versions in force until now, newest first: (version, effective_from, sha256, in_force)."""
        return [tuple(row) for row in await self._rows("SELECT version, effective_from, sha256, in_force FROM vault.policies()")]

    async def _refused(
        self, secret: SecretHash, operation: str, purpose: str, reason: str, subject: UUID | None, dataset: str | None
    ) -> None:
        catalogue = await self.catalogue()
        try:
            await self._rows(
                codec.NOTE_REFUSAL,
                [secret, catalogue.operations[operation], catalogue.purpose(purpose), catalogue.reason(reason), subject,
                 catalogue.dataset(dataset).id if dataset else None],
            )  # fmt: skip
        except VaultError:
            return
