"""The vault for synchronous doors (site, portal, console, jobs): psycopg in autocommit, so that an ask is committed before its take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from armonika.trust import crypto
from armonika.trust.audit import entry
from armonika.trust.keys.credentials import Credentials
from armonika.trust.vault import codec
from armonika.trust.vault.catalogue import Catalogue
from armonika.trust.vault.envelope import Envelope
from armonika.trust.vault.errors import Forbidden, KeysChanged, KeyUnavailable, Refused, Unavailable, VaultError
from armonika.trust.vault.types import Access, Actor, Ask, Find, Held, Outcome, Record, SecretHash

T = TypeVar("T")
CATALOGUE_SECONDS = 5.0
"""How long a door may go on with the names of a policy that was replaced; the decisions themselves are always the database's."""

KEY_CHANGES = 3
"""How many changes of keys one call goes through before its caller hears of them."""


def secret_hash(secret: str | bytes) -> SecretHash:
    """SHA-256 of a session secret or token, as the database knows it."""
    return SecretHash(crypto.sha256(secret.encode() if isinstance(secret, str) else secret))


class Store:
    """Statements of one door, with typed errors. No meaning of its own."""

    def __init__(self, credentials: Credentials, dsn: str, size: int) -> None:
        conninfo = make_conninfo(
            dsn,
            user=credentials.database_user,
            password=credentials.database_password,
            application_name=f"armonika {credentials.door}",
        )
        self._pool = ConnectionPool(
            conninfo, min_size=0, max_size=size, kwargs={"autocommit": True, "prepare_threshold": 2}, timeout=5, open=True
        )

    def rows(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        connection: psycopg.Connection[Any] | None = None,
        *,
        repeat: bool = False,
    ) -> list[tuple[Any, ...]]:
        """Rows of one statement. `repeat` allows a second try on a connection that died while idle: for what may safely run twice.
        Raises the error that the SQLSTATE means, Unavailable where there is no store."""
        try:
            if connection is not None:
                return self._run(connection, statement, parameters)
            try:
                return self._pooled(statement, parameters)
            except psycopg.OperationalError as error:
                lost = error.sqlstate is None or error.sqlstate.startswith(("57P", "08"))
                if not (repeat and lost):
                    raise
            return self._pooled(statement, parameters)
        except PoolTimeout:
            raise Unavailable("the store does not answer now; try again in a moment") from None
        except psycopg.Error as error:
            raise codec.error_of(error.sqlstate) from None

    def _pooled(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._pool.connection() as own:
            return self._run(own, statement, parameters)

    @staticmethod
    def _run(connection: psycopg.Connection[Any], statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with connection.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(statement), parameters)
            return cursor.fetchall()

    def value(
        self,
        statement: str,
        parameters: Sequence[Any] = (),
        connection: psycopg.Connection[Any] | None = None,
        *,
        repeat: bool = False,
    ) -> Any:
        """The single value of one statement."""
        return self.rows(statement, parameters, connection, repeat=repeat)[0][0]

    def connection(self) -> Any:
        """A connection for a transaction of several statements."""
        return self._pool.connection()

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()


class VaultReader:
    """Reading: ask, commit, take."""

    def __init__(self, credentials: Credentials, dsn: str, size: int = 8) -> None:
        self._credentials = credentials
        self._store = Store(credentials, dsn, size)
        self._envelope = Envelope(credentials)
        self._lock = threading.Lock()
        self._known: tuple[float, Catalogue] | None = None
        self.service = secret_hash(credentials.service_secret)
        """Secret hash of the door's own service actor."""

    def close(self) -> None:
        """Closes all connections."""
        self._store.close()

    @property
    def catalogue(self) -> Catalogue:
        """Names of the policy in force, at most `CATALOGUE_SECONDS` old. Raises Unavailable."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > CATALOGUE_SECONDS:
                content = self._store.value(codec.CATALOGUE, repeat=True)
                if content is None:
                    raise Unavailable("no policy is in force: install one with `armonika serve`")
                self._known = (time.monotonic(), Catalogue(content))
            return self._known[1]

    def _again(self, work: Callable[[], T]) -> T:
        """Runs `work`, again with a fresh catalogue when the keys changed under it: it had written nothing. A rotation of little data changes
        them several times within a second."""
        for _ in range(KEY_CHANGES):
            try:
                return work()
            except (KeysChanged, KeyUnavailable):
                with self._lock:
                    self._known = None
        return work()

    def whoami(self, secret: SecretHash) -> Actor:
        """Who the secret proves. Raises SessionEnded."""
        return Actor(*self._store.rows(codec.WHOAMI, [secret], repeat=True)[0])

    def read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        """One ask and one take for all; actors may differ; each item has its own records or error."""
        results = self._read_many(asks)
        late = [number for number, outcome in enumerate(results) if isinstance(outcome.error, KeyUnavailable)]
        if late:
            # Its keys moved to another epoch between take and opening; asked again, it is there.
            for number, outcome in zip(late, self._read_many([asks[number] for number in late]), strict=True):
                results[number] = outcome
        return results

    def _read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        catalogue = self.catalogue
        asked, positions, errors = codec.ask_parameters(catalogue, asks)
        answers = self._store.rows(codec.ASK, asked, repeat=True) if positions else []
        granted = self._take(catalogue, *codec.take_parameters(asked, answers))
        return codec.outcomes(len(asks), positions, answers, granted, errors)

    def read(self, secret: SecretHash, subject: UUID, dataset: str, fields: Sequence[str], purpose: str, reason: str, reference: str | None = None,
             record: UUID | None = None) -> list[Record]:  # fmt: skip
        """Decrypted records of one person. Raises the item's error. An empty list: the person has no such record."""
        outcome = self.read_many([Ask(secret, subject, dataset, fields, purpose, reason, reference, record)])[0]
        if outcome.error is not None:
            raise outcome.error
        return list(outcome.records)

    def find(self, secret: SecretHash, dataset: str, field: str, value: str, fields: Sequence[str], purpose: str, reason: str,
             reference: str | None = None) -> list[Record]:  # fmt: skip
        """The person with exactly this look-up value, or an empty list: the newest where several share it. Audited either way."""
        return self._again(lambda: self._find(secret, dataset, field, value, fields, purpose, reason, reference))

    def _find(self, secret: SecretHash, dataset: str, field: str, value: str, fields: Sequence[str], purpose: str, reason: str,
              reference: str | None) -> list[Record]:  # fmt: skip
        catalogue = self.catalogue
        try:
            asked, _, errors = codec.find_parameters(
                catalogue, self._envelope, [Find(secret, dataset, field, value, fields, purpose, reason, reference)]
            )
        except Forbidden:
            self._refused(secret, "find", purpose, reason, None, dataset)
            raise
        if errors:
            raise errors[0]
        ((_, ticket),) = self._store.rows(codec.ASK_FIND, asked, repeat=True)
        if ticket is None:
            raise codec.verdict_error(codec.FORBIDDEN)
        found = self._take(catalogue, [secret], [ticket], [1]).get(0, [])
        if isinstance(found, VaultError):
            raise found
        return found

    def _take(
        self, catalogue: Catalogue, secrets: Sequence[bytes], tickets: Sequence[int], holders: Sequence[int]
    ) -> Mapping[int, list[Record] | VaultError]:
        rows = self._store.rows(codec.TAKE, [secrets, tickets, holders], repeat=True) if tickets else []
        return codec.open_rows(catalogue, self._envelope, rows, tickets)

    def describe(self, secret: SecretHash, subject: UUID, purpose: str, reason: str, reference: str | None = None) -> list[Held]:
        """What is held of a person, field by field, without opening it."""
        catalogue = self.catalogue
        rows = self._store.rows(codec.DESCRIBE, [secret, self._consult(secret, "describe", subject, purpose, reason, reference)])
        held = []
        for record, dataset_id, ordinal, version, origin, written_at, event in rows:
            dataset = catalogue.by_id.get(dataset_id)
            if dataset is not None and ordinal in dataset.names:
                held.append(
                    Held(record, dataset.name, dataset.names[ordinal], version, codec.ORIGIN_NAMES[origin], written_at, event)
                )
        return held

    def accesses(self, secret: SecretHash, subject: UUID, limit: int = 50, before: int | None = None, *, purpose: str = "legal",
                 reason: str = "rights-request") -> list[Access]:  # fmt: skip
        """Who used a person's data, newest first; `before` is the audit_id to go on from."""
        rows = self._store.rows(
            codec.ACCESSES, [secret, self._consult(secret, "accesses", subject, purpose, reason, None), limit, before]
        )
        return [
            Access(
                number,
                at,
                operation,
                "granted" if granted else "refused",
                reader,
                role,
                dataset,
                fields,
                for_purpose or "",
                for_reason or "",
                reference,
                leaf,
            )
            for number, at, operation, granted, reader, role, dataset, fields, for_purpose, for_reason, reference, leaf in rows
        ]

    def access_entry(self, secret: SecretHash, subject: UUID, number: int) -> tuple[int | None, bytes]:
        """One entry of the person's `accesses` as the bytes of its leaf, with its place in the sealed log (None: not sealed yet). Raises Refused."""
        rows = self._store.rows(
            f"SELECT leaf_no, {', '.join(entry.COLUMNS)} FROM vault.access_entry($1::bytea, $2::bigint, $3::bigint)",
            [secret, self._consult(secret, "accesses", subject, "legal", "rights-request", None), number],
        )
        if not rows:
            raise codec.verdict_error(3)
        return rows[0][0], entry.encode(rows[0][1:])

    def _consult(
        self, secret: SecretHash, operation: str, subject: UUID, purpose: str, reason: str, reference: str | None
    ) -> int:
        """The entry of a look at lists, committed before they are given: its number is their ticket. Raises Refused, SessionEnded, Undeclared."""
        catalogue = self.catalogue
        given = [
            secret,
            catalogue.operations[operation],
            catalogue.purpose(purpose),
            catalogue.reason(reason),
            reference,
            subject,
        ]
        return int(self._store.value(codec.CONSULT, given))

    def policies(self) -> list[tuple[str, datetime, str, bool]]:
        """Versions in force until now, newest first: (version, effective_from, sha256, in_force)."""
        return [
            (a, b, c, d)
            for a, b, c, d in self._store.rows(
                "SELECT version, effective_from, sha256, in_force FROM vault.policies()", repeat=True
            )
        ]

    def policy_document(self, sha256: str) -> str:
        """The source text of a policy version that is or was in force. Raises Refused."""
        text = self._store.value("SELECT vault.policy_document($1::text)", [sha256], repeat=True)
        if text is None:
            raise Refused("no such policy version")
        return str(text)

    def trust_report(self) -> dict[str, Any] | None:
        """The newest published report of `armonika verify`."""
        report: dict[str, Any] | None = self._store.value("SELECT vault.trust_report()", repeat=True)
        return report

    def _refused(
        self, secret: SecretHash, operation: str, purpose: str, reason: str, subject: UUID | None, dataset: str | None
    ) -> None:
        """Keeps the fact of a refused write; whatever goes wrong here, the refusal itself stands."""
        catalogue = self.catalogue
        try:
            self._store.rows(
                codec.NOTE_REFUSAL,
                [secret, catalogue.operations[operation], catalogue.purpose(purpose), catalogue.reason(reason), subject,
                 catalogue.dataset(dataset).id if dataset else None],
            )  # fmt: skip
        except VaultError:
            return


__all__ = ["CATALOGUE_SECONDS", "KEY_CHANGES", "Store", "VaultReader", "secret_hash"]
