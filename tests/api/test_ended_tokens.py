"""A token that ends in the middle: of a batch, of an export, while its request waits. It counts at once, and what was done before is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from armonika.doors.api.batch_creations import BatchCreation
from armonika.doors.api.creations import Creations
from armonika.doors.api.export import everything, lines
from armonika.doors.api.gather import Gatherer
from armonika.doors.api.tokens import Tokens
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault import secret_hash
from armonika.trust.vault.errors import (
    Duplicate,
    Forbidden,
    KeyUnavailable,
    Restricted,
    SessionEnded,
    Tampered,
    Unavailable,
    VaultError,
)
from armonika.trust.vault.types import Ask, Created, NewRecord, Outcome, Record, SecretHash
from tests.api.test_api import READ, USE, create
from tests.live import Live

SECRET = secret_hash("arm_" + "x" * 43)
PERSON = uuid4()


class Store:
    """A vault in which the values `taken` are taken and the token lives for so many calls."""

    def __init__(self, calls: int, error: type[VaultError] = SessionEnded) -> None:
        self.calls, self.error, self.stored = calls, error, list[str]()

    def spend(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise self.error("ended")

    async def takes_part(self, dataset: str) -> bool:
        return True

    async def create(
        self, secret: bytes, purpose: str, reason: str, records: Sequence[NewRecord], reference: str | None
    ) -> list[Created]:
        self.spend()
        if any(new.values["name"] == "taken" for new in records):
            raise Duplicate("taken")
        self.stored += [new.values["name"] for new in records]
        return [Created(uuid4(), uuid4(), number) for number, _ in enumerate(records)]

    async def made(self, secret: bytes, subject: UUID, record: UUID) -> int | None:
        self.spend()
        return None

    async def living(self, secrets: Sequence[SecretHash]) -> frozenset[SecretHash]:
        self.spend()
        return frozenset(secrets)

    async def read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
        self.spend()
        return [Outcome() for _ in asks]


def new(name: str, dataset: str = "account") -> NewRecord:
    return NewRecord(dataset, {"name": name}, "organisation", kind="customer_user")


def batch(store: Store, names: Sequence[NewRecord], key: bytes | None = None) -> list[Created | VaultError]:
    return asyncio.run(BatchCreation(store, SECRET, "provide", "integration", None, key).run(names))  # type: ignore[arg-type]


def test_a_batch_tells_what_was_made_before_its_token_ended() -> None:
    people = [new("a"), new("b"), new("taken"), new("c")]
    store = Store(2)
    told = batch(store, people)
    assert store.stored == ["a", "b"]
    assert [type(one) for one in told] == [Created, Created, SessionEnded, SessionEnded]
    assert [type(one) for one in batch(Store(1), [new("a"), new("b", "demo")])] == [Created, SessionEnded]
    for calls, named in ((0, people), (1, people), (0, [new("a"), new("b", "demo")])):
        with pytest.raises(SessionEnded):
            batch(Store(calls), named)


def test_a_batch_that_will_be_sent_again_is_not_told_half() -> None:
    """Its sender has a key: the same batch gives what was made, and goes on. Without one it would never hear of it."""
    people = [new("a"), new("b", "demo")]
    with pytest.raises(Unavailable):
        batch(Store(1, Unavailable), people, b"key")
    assert [type(one) for one in batch(Store(1, Unavailable), people)] == [Created, Unavailable]


def records(count: int) -> list[Record]:
    return [Record(PERSON, uuid4(), "account", {"name": "N"}, {"name": 1}, number) for number in range(count)]


async def _exported(store: Store, count: int) -> list[bytes]:
    found: list[bytes] = []
    async for piece in lines(PERSON, records(count), SECRET, Tokens(store.living)):
        found += piece.splitlines()
    return found


def test_an_export_ends_with_its_count() -> None:
    for count in (1, 100, 101, 250):
        told = asyncio.run(_exported(Store(99), count))
        assert len(told) == count + 1
        assert told[-1] == b'{"end":true,"person":"%s","records":%d}' % (str(PERSON).encode(), count)


def test_an_export_is_cut_off_when_its_token_ends() -> None:
    async def exported() -> None:
        store, found = Store(1), list[bytes]()
        with pytest.raises(SessionEnded):
            async for piece in lines(PERSON, records(350), SECRET, Tokens(store.living)):
                found += piece.splitlines()
        assert len(found) == 200
        assert not any(b'"end"' in line for line in found)

    asyncio.run(exported())


@pytest.mark.parametrize("error", [KeyUnavailable, Tampered, Restricted, Unavailable])
def test_an_export_without_what_cannot_be_opened_is_none(error: type[VaultError]) -> None:
    """A dataset that the token may not read is left out; one that it may, and that does not open, is no export without it."""

    class Vault:
        async def catalogue(self) -> Any:
            return SimpleNamespace(
                by_id={number: SimpleNamespace(name=f"d{number}", ordinals={"name": 1}) for number in range(3)}
            )

        async def read_many(self, asks: Sequence[Ask]) -> list[Outcome]:
            return [Outcome(records(1)), Outcome(error=Forbidden("no")), Outcome(error=error("no"))]

    with pytest.raises(error):
        asyncio.run(everything(Vault(), SECRET, PERSON, "provide", "integration"))  # type: ignore[arg-type]


def test_what_waits_is_asked_when_its_turn_comes() -> None:
    """Nothing that was known of a token before is used."""

    async def waiting(store: Store) -> None:
        with pytest.raises(SessionEnded):
            await Creations(store).create(SECRET, "provide", "integration", None, new("a"))  # type: ignore[arg-type]
        with pytest.raises(SessionEnded):
            await Gatherer(store.read_many).read(Ask(SECRET, PERSON, "account", ["name"], "provide", "integration"))
        with pytest.raises(SessionEnded):
            await Tokens(store.living).check(SECRET)
        assert not store.stored

    asyncio.run(waiting(Store(0)))


@pytest.mark.parametrize("end", ["revoked_at = clock_timestamp()", "expires_at = clock_timestamp()"])
def test_an_end_counts_for_the_next_request(live: Live, dsn: str, admin: psycopg.Connection[Any], end: str) -> None:
    token = issue_token(dsn)
    client = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    made = create(client)
    person, key = f"/v1/people/{made['id']}", {"Idempotency-Key": str(uuid4())}
    body = {
        **USE,
        "dataset": "account",
        "values": {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"},
    }
    assert client.post("/v1/people", json=body, headers=key).status_code == 201
    tag = client.get(person, params=READ).headers["etag"]
    calls: list[dict[str, Any]] = [
        {"method": "GET", "url": person, "params": READ}, {"method": "GET", "url": f"{person}/export", "params": USE}, {"method": "DELETE", "url": person, "params": USE},
        {"method": "GET", "url": person, "params": READ, "headers": {"If-None-Match": tag}}, {"method": "POST", "url": "/v1/people", "json": body, "headers": key},
        {"method": "POST", "url": "/v1/people/batch", "json": {**USE, "people": [{"dataset": "account", "values": body["values"]}]}, "headers": key},
        {"method": "PATCH", "url": person, "json": {**USE, "dataset": "account", "record": made["record"], "values": {"name": "M"}}, "headers": {"If-Match": tag}},
        {"method": "PUT", "url": f"{person}/restriction", "json": USE}, {"method": "POST", "url": "/v1/people/erase", "json": {**USE, "people": [made["id"]]}},
        {"method": "POST", "url": "/v1/lookups", "json": {**USE, "dataset": "account", "email": "a@b.example", "fields": ["name"]}},
    ]  # fmt: skip
    admin.execute(f"UPDATE vault.session SET {end} WHERE secret_hash = sha256(%s)".encode(), (token.encode(),))
    last = admin.execute("SELECT max(audit_id) FROM vault.audit").fetchone()
    told = [client.request(**call) for call in calls]
    assert [answer.status_code for answer in told] == [401] * len(calls)
    assert len({answer.content for answer in told}) == 1
    subject = UUID(made["id"])
    assert not admin.execute("SELECT FROM vault.audit WHERE audit_id > %s AND subject = %s", (*(last or ()), subject)).fetchall()
    assert admin.execute("SELECT state FROM vault.subject WHERE subject_id = %s", (subject,)).fetchone() == ("active",)
