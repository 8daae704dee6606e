"""The words of a write as a door makes them, with single ones changed, and what a write leaves behind."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from armonika.trust.vault import codec
from armonika.trust.vault.types import Created, NewRecord
from tests.vault.stage import Stage

STATE = "SELECT " + ", ".join(
    f"(SELECT count(*) FROM vault.{table})"
    for table in ("subject", "record", "data_key", "lookup", "audit", "tombstone", "organisation", "ended")
)
CREATE_NAMES = ["secret", "purpose", "reason", "ref", "subjects", "kinds", "orgs", "records", "datasets", "masks", "origins", "key_kinds", "key_epochs", "wrapped", "value_items",
                "ciphertexts", "lookup_items", "lookup_ordinals", "lookup_epochs", "digests", "jobs"]  # fmt: skip
CORRECT_NAMES = [
    "secret",
    "purpose",
    "reason",
    "ref",
    "subject",
    "record",
    "origin",
    "ordinals",
    "expected",
    "ciphertexts",
    "lookup_ordinals",
    "lookup_epochs",
    "digests",
]


def state(stage: Stage) -> tuple[Any, ...]:
    (row,) = stage.admin.execute(STATE.encode()).fetchall()
    return row


def creation(stage: Stage, secret: bytes, *records: NewRecord, **changed: Any) -> list[Any]:
    """The words of a creation, as the door makes them, with single ones changed."""
    given = list(records) or [account()]
    words, _ = codec.create_parameters(
        stage.doors.api.catalogue, stage.doors.api._envelope, secret, "provide", "integration", None, given, ()
    )
    return [changed.get(name, word) for name, word in zip(CREATE_NAMES, words, strict=True)]


def account(**more: Any) -> NewRecord:
    values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | more.pop("values", {})
    return NewRecord("account", values, "organisation", **({"kind": "customer_user", "org": uuid4()} | more))


def create(stage: Stage, words: list[Any], door: str = "api") -> list[int]:
    return list(stage.rows(door, codec.CREATE, *words)[0][0])


def denied(stage: Stage, door: str, statement: str, words: list[Any]) -> str:
    """The SQLSTATE of a refusal that left nothing."""
    before = state(stage)
    said = stage.refused(door, statement, *words)
    assert not said or state(stage) == before, "a refusal left something"
    return said


class Correction:
    """The words of a correction, as the door makes them."""

    def __init__(self, stage: Stage, made: Created, secret: bytes, **values: str) -> None:
        self.stage, self.made = stage, made
        api = stage.doors.api
        row = stage.admin.execute(
            "SELECT 1, r.subject_id, r.record_id, r.dataset, k.kind, k.epoch, k.wrapped, r.present, r.versions, NULL FROM vault.record r JOIN vault.data_key k USING (subject_id, record_id) "
            "WHERE r.record_id = %s", (made.record,),
        ).fetchone()  # fmt: skip
        assert row is not None
        self.words = codec.correct_parameters(
            api.catalogue,
            api._envelope,
            stage.account,
            row,
            secret,
            made.subject,
            made.record,
            values,
            "provide",
            "integration",
            None,
            None,
            "operator",
        )

    def changed(self, **changed: Any) -> list[Any]:
        return [changed.get(name, word) for name, word in zip(CORRECT_NAMES, self.words, strict=True)]

    def __call__(self, **changed: Any) -> str:
        return denied(self.stage, "api", codec.CORRECT, self.changed(**changed))


def erase(
    stage: Stage, secret: bytes, *people: UUID, purpose: int | None = None, reason: int | None = None, ref: str | None = None
) -> list[tuple[Any, ...]]:
    return stage.rows("api", codec.ERASE, secret, purpose or stage.provide, reason or stage.reason, ref, list(people))


def dependents(stage: Stage, whom: UUID) -> tuple[int, ...]:
    return tuple(
        int(stage.value(f"SELECT count(*) FROM vault.{table} WHERE {column} = %s", whom))
        for table, column in (
            ("record", "subject_id"),
            ("data_key", "subject_id"),
            ("lookup", "subject_id"),
            ("credential", "subject_id"),
            ("challenge", "subject_id"),
            ("session", "actor"),
        )
    )


def furnished(stage: Stage, org: UUID | None = None) -> Created:
    """A person with a credential, a challenge, a session and a service session."""
    made = stage.person(org)
    stage.admin.execute(
        "INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) VALUES (%s, %s, %s, 'p', %s)",
        (made.subject, stage.role, b"s" * 16, b"c" * 32),
    )
    stage.admin.execute("INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at) VALUES (sha256(%s), %s, 'reset-password', clock_timestamp())", (str(made.subject).encode(), made.subject))  # fmt: skip
    stage.session(actor=made.subject, kind="session")
    stage.session(actor=made.subject, kind="service")
    return made
