"""A person with an address and a credential, and the statements of sign-in and letters."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid4

from armonika.trust import crypto
from armonika.trust.vault.types import Created
from tests.vault.stage import Stage

SALT = "SELECT vault.sign_in_salt($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[])"
SIGN_IN = "SELECT actor, verdict FROM vault.sign_in($1::bytea, $2::smallint, $3::smallint, $4::int[], $5::bytea[], $6::bytea, $7::bytea, $8::int, $9::smallint, $10::smallint)"
WHO = "SELECT actor, role, org_id, kind, expires_at, auth_at FROM vault.whoami($1::bytea)"
SIGN_OUT = "SELECT vault.sign_out($1::bytea, $2::boolean)"
OWN_SALT, PROVE = "SELECT vault.own_salt($1::bytea)", "SELECT vault.prove_again($1::bytea, $2::bytea)"
FIRST = "SELECT vault.set_first_credential($1::bytea, $2::uuid, $3::text, $4::bytea, $5::text, $6::bytea)"
ISSUE = "SELECT vault.issue_challenge($1::bytea, $2::uuid, $3::text, $4::bytea, $5::int)"
REDEEM = "SELECT vault.redeem_challenge($1::bytea, $2::bytea, $3::text, $4::bytea, $5::text, $6::bytea)"
THROTTLE = "SELECT vault.throttle($1::bytea, $2::float8, $3::int)"
ENQUEUE = "SELECT vault.enqueue($1::bytea, $2::text, $3::uuid)"
ENQUEUE_TO = "SELECT vault.enqueue_to($1::bytea, $2::text, $3::smallint, $4::smallint, $5::int[], $6::bytea[])"
PROOF, SALTED = b"p" * 32, b"s" * 16
SIGN_IN_ENTRY, SIGN_OUT_ENTRY, CREDENTIAL = 9, 10, 11


class Member:
    """A person with an address and a credential whose proof is PROOF."""

    def __init__(self, stage: Stage, verified: bool = True) -> None:
        self.stage, self.email = stage, f"{uuid4().hex}@org.example"
        self.made: Created = stage.person(uuid4(), email=self.email)
        self.whom: UUID = self.made.subject
        stage.admin.execute(
            "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash, verified_at) VALUES (%s, %s, %s, 'p', %s, CASE WHEN %s THEN clock_timestamp() END)",
            (self.whom, stage.role, SALTED, hashlib.sha256(PROOF).digest(), verified),
        )
        self.purpose, self.reason = stage.doors.api.catalogue.purpose("secure"), stage.doors.api.catalogue.reason("sign-in")
        self.epochs, self.digests = stage.doors.site._envelope.digests(stage.account, "email", self.email)
        self.place: list[Any] = [stage.account.id, stage.account.ordinals["email"], self.epochs, self.digests]

    def words(self, service: bytes, secret: bytes, proof: bytes | None = PROOF, ttl: int = 3600, **changed: Any) -> list[Any]:
        return [
            service,
            *changed.get("place", self.place),
            proof,
            secret,
            ttl,
            changed.get("purpose", self.purpose),
            changed.get("reason", self.reason),
        ]

    def sign_in(self, service: bytes, proof: bytes | None = PROOF, ttl: int = 3600) -> tuple[bytes, int]:
        secret = crypto.random_bytes(32)
        ((_, verdict),) = self.stage.rows("site", SIGN_IN, *self.words(service, secret, proof, ttl))
        return secret, verdict
