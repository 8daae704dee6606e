"""What tests of the API share: the database behind it, callers with tokens of any bounds, clients of both kinds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from armonika.client import Retry
from armonika.store.embedded import Embedded
from armonika.trust.keys.provision import issue_token
from tests.api.both import Maker, clients
from tests.api.hostile import TOKEN
from tests.api.scopes import Caller
from tests.api.scripted import Scripted
from tests.live import Live


@pytest.fixture(scope="module")
def dsn(live: Live) -> str:
    return Embedded(live.home / "postgres", live.home / "keys").admin_dsn


@pytest.fixture(scope="module")
def admin(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def caller(live: Live, dsn: str) -> Iterator[Caller]:
    """Clients with tokens of given bounds; the same bounds, the same client."""
    made: dict[str, httpx.Client] = {}
    # Never used: one for all, because each costs more than what its client asks.
    tls = ssl.create_default_context()

    def client(role: str = "integration", **bounds: Any) -> httpx.Client:
        key = json.dumps([role, bounds])
        if key not in made:
            token = issue_token(dsn, role, **bounds)
            made[key] = httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20, verify=tls)
        return made[key]

    yield client
    # What a token wrote did not come from the person, as demo requests do (claim 1a.2): who proves that on this system finds it so.
    strangers = "SELECT r.subject_id FROM vault.record r JOIN vault.dataset d ON d.id = r.dataset AND d.name = 'demo' WHERE 1 <> ANY (r.origins)"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"UPDATE vault.subject SET state = 'active' WHERE state = 'restricted' AND subject_id IN ({strangers})".encode()
        )
        people = [str(one) for (one,) in connection.execute(strangers.encode()).fetchall()]
    if people:
        body = {"purpose": "legal", "reason": "verification", "people": people}
        assert client("verifier").post("/v1/people/erase", json=body).status_code == 200
    for each in made.values():
        each.close()


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Maker]:
    with clients(request.param) as client:

        def build(to: Scripted | str, **named: Any) -> Any:
            address = to if isinstance(to, str) else f"http://127.0.0.1:{to.port}"
            return client(address, **{"token": TOKEN, "retry": Retry(attempts=1), "timeout": 2.0, **named})

        yield build
