"""The vault for synchronous doors: reading (`reader.py`), writing, sign-in and letters' tokens."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg

from armonika.trust import crypto
from armonika.trust.keys.credentials import Credentials
from armonika.trust.vault import codec
from armonika.trust.vault.errors import KeyUnavailable, Refused, Throttled, Undeclared
from armonika.trust.vault.reader import VaultReader, secret_hash
from armonika.trust.vault.types import Actor, Ask, Created, NewRecord, Origin, SecretHash

PASSWORD_BYTES = 4096


class Unverified(Refused):
    """The password is right, but the address has not been confirmed yet."""

    status = 403
    code = "address-not-verified"


def new_secret() -> str:
    """A session secret or token of 256 random bits, in base64url."""
    return base64.urlsafe_b64encode(crypto.random_bytes(32)).decode().rstrip("=")


class Vault(VaultReader):
    """Everything that one synchronous door may do. Thread-safe."""

    @classmethod
    def open(cls, credentials: Credentials, dsn: str, size: int = 8) -> Vault:
        """The vault as `credentials.door`. `dsn` names the server (host, port, dbname); user and password come from the credentials."""
        return cls(credentials, dsn, size)

    def create(self, secret: SecretHash, purpose: str, reason: str, records: Sequence[NewRecord], reference: str | None = None, *,
               password: str | None = None, role: str | None = None, jobs: Sequence[str] = ()) -> list[Created]:  # fmt: skip
        """Creates records in one transaction. With `password` and `role` the first person gets a credential, good from when
        it is confirmed (`redeem`; of staff `staff.appoint`); `jobs` ("task:language") are
        enqueued for the first person. Raises Duplicate, Refused, Restricted, Undeclared, Invalid; nothing is then stored."""
        if (password is None) != (role is None):
            raise Undeclared("a password needs a role, and a role a password")
        credential = self._credential(password) if password is not None else None
        try:
            return self._again(lambda: self._create(secret, purpose, reason, reference, records, jobs, credential, role))
        except Refused:
            self._refused(secret, "create", purpose, reason, records[0].subject, records[0].dataset)
            raise

    def _create(self, secret: SecretHash, purpose: str, reason: str, reference: str | None, records: Sequence[NewRecord], jobs: Sequence[str],
                credential: tuple[bytes, str, bytes] | None, role: str | None) -> list[Created]:  # fmt: skip
        parameters, made = codec.create_parameters(
            self.catalogue, self._envelope, secret, purpose, reason, reference, records, jobs
        )
        try:
            with self._store.connection() as connection, connection.transaction():
                audit_ids = self._store.value(codec.CREATE, parameters, connection)
                if credential is not None:
                    self._store.rows(
                        "SELECT vault.set_first_credential($1::bytea, $2::uuid, $3::text, $4::bytea, $5::text, $6::bytea)",
                        [secret, made[0][0], role, *credential],
                        connection,
                    )
        except psycopg.Error as error:
            raise codec.error_of(error.sqlstate) from None
        return codec.created(made, audit_ids)

    def correct(self, secret: SecretHash, subject: UUID, record: UUID, changes: Mapping[str, str], purpose: str, reason: str,
                reference: str | None = None, *, dataset: str = "account", expected: Mapping[str, int] | None = None, origin: Origin = "subject") -> int:  # fmt: skip
        """Corrects fields of a record. `expected` holds the versions that the caller saw (If-Match). Returns the audit row's number.
        Raises VersionConflict when a value changed meanwhile, Duplicate for a taken look-up value."""
        return self._again(
            lambda: self._correct(secret, subject, record, changes, purpose, reason, reference, dataset, expected, origin)
        )

    def _correct(self, secret: SecretHash, subject: UUID, record: UUID, changes: Mapping[str, str], purpose: str, reason: str, reference: str | None,
                 dataset: str, expected: Mapping[str, int] | None, origin: Origin) -> int:  # fmt: skip
        parameters = self._correction(secret, subject, record, changes, purpose, reason, reference, dataset, expected, origin)
        return int(self._store.value(codec.CORRECT, parameters))

    def _correction(self, secret: SecretHash, subject: UUID, record: UUID, changes: Mapping[str, str], purpose: str, reason: str, reference: str | None,
                    dataset: str, expected: Mapping[str, int] | None, origin: Origin) -> list[Any]:  # fmt: skip
        """Parameters of `CORRECT`, after the release of the record's key."""
        catalogue = self.catalogue
        declared = catalogue.dataset(dataset)
        columns, _, errors = codec.ask_parameters(
            catalogue, [Ask(secret, subject, dataset, list(changes), purpose, reason, reference, record)], codec.RELEASE
        )
        if errors:
            raise errors[0]
        ((ticket, verdict),) = self._store.rows(codec.ASK, columns)
        if ticket is None:
            raise codec.verdict_error(verdict)
        rows = self._store.rows(codec.TAKE, [[secret], [ticket], [1]])
        if len(rows) != 1:
            raise codec.verdict_error(3)
        return codec.correct_parameters(
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

    def erase(
        self, secret: SecretHash, subjects: Sequence[UUID], purpose: str, reason: str, reference: str | None = None
    ) -> list[tuple[UUID, int, int, int]]:
        """Erases people: (subject, audit row's number, records destroyed, records kept by law) of each. Raises Refused when there is nobody to
        erase, SessionEnded when the sign-in is older than ten minutes."""
        catalogue = self.catalogue
        rows = self._store.rows(
            codec.ERASE, [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, list(subjects)]
        )
        done = {row[0] for row in rows}
        for subject in subjects:
            if subject not in done:
                self._refused(secret, "erase", purpose, reason, subject, None)
        if not rows:
            raise codec.verdict_error(3)
        return [(subject, number, erased, kept) for subject, number, erased, kept in rows]

    def erase_records(
        self, secret: SecretHash, records: Sequence[tuple[UUID, UUID]], purpose: str, reason: str, reference: str | None = None
    ) -> list[tuple[UUID, int]]:
        """Ends single (subject, record) of people who stay: (record, audit row's number) of each that was there and may end.
        Raises Refused when none may, SessionEnded when the sign-in is older than ten minutes."""
        catalogue = self.catalogue
        rows = self._store.rows(
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
                self._refused(secret, "erase", purpose, reason, subject, None)
        if not rows:
            raise codec.verdict_error(3)
        return [(record, number) for record, number in rows]

    def restrict(
        self, secret: SecretHash, subject: UUID, on: bool, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Locks or unlocks the processing of a person. Returns the audit row's number."""
        catalogue = self.catalogue
        try:
            return int(
                self._store.value(
                    codec.RESTRICT, [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, subject, on]
                )
            )
        except Refused:
            self._refused(secret, "restrict", purpose, reason, subject, None)
            raise

    def event(
        self, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Tells that the event happened now from which this record is kept (its account was closed, its request decided, a letter exchanged).
        Returns the audit row's number. Raises Undeclared where the period begins with the recording."""
        return self._tell(codec.EVENT, secret, subject, record, purpose, reason, reference)

    def withdraw_event(
        self, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None = None
    ) -> int:
        """Tells that the event did not last (the account is open again): the period does not run. Returns the audit row's number."""
        return self._tell(codec.WITHDRAW_EVENT, secret, subject, record, purpose, reason, reference)

    def _tell(self, statement: str, secret: SecretHash, subject: UUID, record: UUID, purpose: str, reason: str, reference: str | None) -> int:  # fmt: skip
        catalogue = self.catalogue
        given = [secret, catalogue.purpose(purpose), catalogue.reason(reason), reference, subject, record]
        try:
            return int(self._store.value(statement, given))
        except Refused:
            self._refused(secret, "event", purpose, reason, subject, None)
            raise

    def sign_in(self, dataset: str, email: str, password: str, ttl_seconds: int = 8 * 3600) -> tuple[str, Actor]:
        """Opens a session: (secret, actor). The same work and answer (Refused) for a wrong password and an unknown address; Unverified only
        for the right password. Raises Invalid for an unreadable address."""
        return self._again(lambda: self._sign_in(dataset, email, password, ttl_seconds))

    def _sign_in(self, dataset: str, email: str, password: str, ttl_seconds: int) -> tuple[str, Actor]:
        catalogue = self.catalogue
        declared = catalogue.dataset(dataset)
        epochs, digests = self._envelope.digests(declared, "email", email)
        place = [declared.id, declared.ordinals["email"], epochs, digests]
        salt = self._store.value(
            "SELECT vault.sign_in_salt($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[])", [self.service, *place]
        )
        secret = new_secret()
        rows = self._store.rows(
            "SELECT verdict FROM vault.sign_in($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[], $6::bytea, $7::bytea, $8::int, $9::smallint, $10::smallint)",
            [self.service, *place, self._proof(password, salt or self._decoy(digests[0])), secret_hash(secret), ttl_seconds,
             catalogue.purpose("secure"), catalogue.reason("sign-in")],
        )  # fmt: skip
        if rows[0][0] == 2:
            raise Unverified("confirm the address first")
        if rows[0][0] != 0:
            raise Refused("the address and the password do not belong together")
        return secret, self.whoami(secret_hash(secret))

    def prove_again(self, secret: SecretHash, password: str) -> None:
        """Renews the freshness of a session by its owner's password (step-up). Raises Refused."""
        salt = self._store.value("SELECT vault.own_salt($1::bytea)", [secret])
        if salt is None or not self._store.value(
            "SELECT vault.prove_again($1::bytea, $2::bytea)", [secret, self._proof(password, salt)]
        ):
            raise Refused("the password is not right")

    def sign_out(self, secret: SecretHash) -> None:
        """Ends the session. No error when it has ended already."""
        self._store.rows("SELECT vault.sign_out($1::bytea, false)", [secret])

    def sign_out_all(self, secret: SecretHash) -> int:
        """Ends every session of this actor; returns how many."""
        return int(self._store.value("SELECT vault.sign_out($1::bytea, true)", [secret]))

    def issue_challenge(self, subject: UUID, kind: str, ttl_seconds: int) -> str:
        """A token for a letter; earlier ones of this kind stop working. For the worker."""
        token = new_secret()
        self._store.rows(
            "SELECT vault.issue_challenge($1::bytea, $2::uuid, $3::text, $4::bytea, $5::int)",
            [self.service, subject, kind, secret_hash(token), ttl_seconds],
        )
        return token

    def redeem_challenge(self, token: str, kind: str, password: str | None = None) -> UUID:
        """Uses a letter's token once: `verify-address`, or `reset-password` with the new password. Raises Refused."""
        credential: Sequence[Any] = self._credential(password) if password is not None else (None, None, None)
        whom = self._store.value(
            "SELECT vault.redeem_challenge($1::bytea, $2::bytea, $3::text, $4::bytea, $5::text, $6::bytea)",
            [self.service, secret_hash(token), kind, *credential],
        )
        return UUID(str(whom))

    def throttle(self, key: bytes, rate_per_minute: float, burst: int) -> None:
        """Counts one try for `key` (GCRA). Raises Throttled with the seconds to wait. The key is hashed here: callers may pass an address."""
        if self._credentials.throttle_key is None:
            raise KeyUnavailable("this door has no throttle key")
        digest = crypto.hmac_sha256(self._credentials.throttle_key, key)
        wait = float(self._store.value("SELECT vault.throttle($1::bytea, $2::float8, $3::int)", [digest, rate_per_minute, burst]))
        if wait > 0:
            raise Throttled("too many tries; wait a moment", wait)

    def enqueue(self, job: str, subject: UUID) -> None:
        """A letter job ("task:language") about a person."""
        self._store.rows("SELECT vault.enqueue($1::bytea, $2::text, $3::uuid)", [self.service, job, subject])

    def enqueue_to(self, job: str, dataset: str, email: str) -> None:
        """A letter job to whoever has this address, if anybody: the caller learns nothing."""

        def work() -> None:
            declared = self.catalogue.dataset(dataset)
            epochs, digests = self._envelope.digests(declared, "email", email)
            self._store.rows(
                "SELECT vault.enqueue_to($1::bytea, $2::text, $3::smallint, $4::smallint, $5::int[], $6::bytea[])",
                [self.service, job, declared.id, declared.ordinals["email"], epochs, digests],
            )

        self._again(work)

    def publish_trust_report(self, report: Mapping[str, Any]) -> int:
        """Publishes a report of `armonika verify`. For the verifier."""
        return int(
            self._store.value("SELECT vault.publish_trust_report($1::bytea, $2::jsonb)", [self.service, json.dumps(report)])
        )

    def _proof(self, password: str, salt: bytes) -> bytes:
        if self._credentials.pepper is None:
            raise KeyUnavailable("this door cannot sign anybody in")
        raw = password.encode("utf-8", "surrogatepass")
        if len(raw) > PASSWORD_BYTES:
            raw = crypto.sha256(raw)
        return crypto.hmac_sha256(self._credentials.pepper, b"armonika/proof/1\0" + crypto.argon2id(raw, salt))

    def _decoy(self, digest: bytes) -> bytes:
        if self._credentials.pepper is None:
            raise KeyUnavailable("this door cannot sign anybody in")
        return crypto.hmac_sha256(self._credentials.pepper, b"armonika/decoy/1\0" + digest)[: crypto.SALT_BYTES]

    def _credential(self, password: str) -> tuple[bytes, str, bytes]:
        salt = crypto.random_bytes(crypto.SALT_BYTES)
        return salt, crypto.ARGON2_PARAMETERS, crypto.sha256(self._proof(password, salt))


__all__ = ["Unverified", "Vault", "new_secret"]
