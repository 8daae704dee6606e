"""What is asked of a request before its handler is: a living token before its body is read, its one address, its own parameters, its own types."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from litestar.datastructures import Headers

from armonika.doors.api import bodies
from armonika.doors.api.tokens import Tokens
from armonika.store.embedded import Embedded
from armonika.trust.vault.errors import SessionEnded, Unavailable
from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.api.test_batches import people
from tests.api.test_hostile import HEAD, JSON, bearer, issued, plain, status, talk
from tests.live import Live

BODIED = [
    ("POST", "/v1/people"), ("PATCH", "/v1/people/{person}"), ("PUT", "/v1/people/{person}/restriction"), ("POST", "/v1/people/{person}/restriction/lift"),
    ("POST", "/v1/people/batch"), ("POST", "/v1/people/read"), ("POST", "/v1/people/erase"), ("POST", "/v1/people/correct"), ("POST", "/v1/people/restrict"),
    ("POST", "/v1/lookups"), ("POST", "/v1/lookups/batch"),
]  # fmt: skip


def ended(live: Live) -> str:
    token = issued(live)
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE vault.session SET revoked_at = clock_timestamp() WHERE secret_hash = sha256(%s)", (token.encode(),))
    return token


@pytest.mark.parametrize(("method", "path"), BODIED)
def test_no_body_is_waited_for_without_a_living_token(live: Live, method: str, path: str) -> None:
    """The head alone is answered; with a living token it is not, for there the body counts."""
    line = f"{method} {path.format(person=uuid4())} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    for credentials in (
        b"",
        b"Authorization: Basic x\r\n",
        b"Authorization: Bearer " + b"x" * 43 + b"\r\n",
        f"Authorization: Bearer {ended(live)}\r\n".encode(),
    ):
        with socket.create_connection(("localhost", live.port + 2), timeout=10) as wire:
            wire.sendall(line + JSON + credentials + b"Content-Length: 900000\r\n\r\n")
            assert status(wire.recv(65536)) == 401, credentials
    with socket.create_connection(("localhost", live.port + 2), timeout=0.7) as wire:
        wire.sendall(line + JSON + bearer(live) + b"Content-Length: 900000\r\n\r\n")
        with pytest.raises(TimeoutError):
            wire.recv(65536)


@pytest.mark.parametrize("path", [path for method, path in BODIED if "{" not in path and path != "/v1/people"])
def test_a_whole_batch_of_a_stranger_is_401(live: Live, path: str) -> None:
    answer = httpx.post(f"{live.api}{path}", json=USE, headers={"Authorization": "Bearer " + "x" * 43})
    problem(answer, 401)
    assert answer.headers["www-authenticate"] == 'Bearer realm="armonika", error="invalid_token"'


def test_a_body_that_does_not_come_is_408(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 §15.5.9, in the framework's own request."""
    monkeypatch.setattr(bodies, "SECONDS", 0.1)

    class Slow:
        headers = Headers()

        async def body(self) -> bytes:
            await asyncio.sleep(60)
            return b""

    slow: Any = Slow()
    with pytest.raises(bodies.TooSlow):
        asyncio.run(bodies.check_body(slow))
    assert (bodies.TooSlow().status_code, bodies.TooSlow().headers) == (408, {"Connection": "close"})


def test_questions_that_arrive_together_are_one_and_each_gets_its_own_answer() -> None:
    asked: list[set[bytes]] = []
    fail: list[Exception] = []

    async def living(secrets: Sequence[bytes]) -> frozenset[Any]:
        asked.append(set(secrets))
        await asyncio.sleep(0)
        if fail:
            raise fail.pop()
        return frozenset(secret for secret in secrets if secret.startswith(b"a"))

    async def run() -> None:
        tokens = Tokens(living)
        results = await asyncio.gather(
            *(tokens.check(secret) for secret in [b"a1", b"b", b"a1", b"a2"] * 5), return_exceptions=True
        )  # type: ignore[arg-type]
        assert [type(result) for result in results] == [type(None), SessionEnded, type(None), type(None)] * 5
        assert asked == [{b"a1", b"a2", b"b"}]
        for wrong, told in ((Unavailable("x"), Unavailable), (ValueError(), Unavailable)):
            fail.append(wrong)
            with pytest.raises(told):
                await tokens.check(b"a1")  # type: ignore[arg-type]
        await tokens.check(b"a1")  # type: ignore[arg-type]
        assert len(asked) == 4, "nothing is remembered"

    asyncio.run(run())


@pytest.mark.parametrize("value", [0, 1, "false", "true", "0", None, "null"])
def test_nothing_is_taken_for_a_truth_value(api: httpx.Client, value: object) -> None:  # noqa: F811
    """A restriction must not hang on how a text is read."""
    made = create(api)["id"]
    problem(api.post("/v1/people/restrict", json={**USE, "restricted": value, "people": [made]}), 400)
    assert api.get(f"/v1/people/{made}", params=READ).status_code == 200


def test_nothing_is_taken_for_a_number_or_for_nothing(api: httpx.Client) -> None:  # noqa: F811
    made = create(api)
    item = {"person": made["id"], "record": made["record"], "dataset": "account", "values": {"name": "M"}}
    for version in ("1", 1.0, True):
        problem(api.post("/v1/people/correct", json={**USE, "corrections": [{**item, "versions": {"name": version}}]}), 400)
    problem(api.post("/v1/people", json={**USE, **people(1)[0], "organisation": "null"}), 400)
    problem(api.post("/v1/people", json={**USE, **people(1)[0], "reference": "null"}), 400)


def test_a_parameter_that_would_be_passed_over_is_refused(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    problem(api.delete(person, params={**USE, "reference": "CASE-1"}), 400)
    problem(api.get(f"{person}/export", params={**USE, "reference": "CASE-1"}), 400)
    problem(api.get(person, params={**READ, "field": "name"}), 400)
    problem(api.get(person, params={**READ, "body": "x"}), 400)
    problem(api.get(person, params=[*READ.items(), ("fields", "name")]), 400)
    problem(api.get(person, params=[*READ.items(), ("%66ields", "name")]), 400)
    problem(api.post("/v1/people?x=1", json={**USE, **people(1)[0]}), 400)
    assert api.get("/log/checkpoint", params={"fresh": "1"}).status_code == 200, "open addresses are anybody's"
    assert api.get(person, params={**READ, "reference": "CASE-1"}).status_code == 200


@pytest.mark.parametrize("form", ["/{0}", "{0}/", "{0}//export", "/v1//people/{1}", "/v1%2fpeople/{1}", "/v1/people%2F{1}"])
def test_a_path_is_written_in_one_way(api: httpx.Client, live: Live, form: str) -> None:  # noqa: F811
    made = create(api)["id"]
    query = b"?dataset=account&fields=name&purpose=provide&reason=integration"
    get = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + bearer(live) + b"\r\n"
    said = talk(live, get % (form.format(f"/v1/people/{made}", made).encode() + query))
    assert status(said) == 404, said[:200]
    assert b"urn:armonika:problem:http" in said
    assert status(talk(live, get % (f"/v1/people/{made}".replace("p", "%70").encode() + query))) == 200, "RFC 3986 §6.2.2.2"


def test_options_of_the_whole_server(live: Live) -> None:
    """RFC 9110 §9.3.7."""
    said = talk(live, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status(said) == 204
    assert b"allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT" in said


def test_415_says_what_is_taken(live: Live) -> None:
    for lines in (b"Content-Type: text/plain\r\n", JSON + b"Content-Encoding: br\r\n"):
        said = talk(live, HEAD + bearer(live) + lines + b"Content-Length: %d\r\n\r\n" % len(plain()) + plain())
        assert status(said) == 415
        assert b"\r\naccept: application/json\r\naccept-encoding: identity\r\n" in said


def test_an_early_answer_comes_at_once_and_the_connection_ends_when_its_sender_is_silent(live: Live) -> None:
    """Many at once: a server that waits for what nobody sends shows in some of them only."""
    request = HEAD + JSON + b"Content-Length: 500000\r\n\r\n"
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(socket.create_connection(("localhost", live.port + 2), timeout=10)) for _ in range(150)]
        for wire in wires:
            wire.sendall(request + b"x" * 500)
        for wire in wires:
            said = b""
            while got := wire.recv(65536):
                said += got
            assert status(said) == 401
            length = next(line for line in said.split(b"\r\n") if line.startswith(b"content-length: "))
            assert int(length[16:]) == len(said.partition(b"\r\n\r\n")[2])


def test_what_no_cache_may_keep_and_what_must_be_asked_again(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    for answer in (
        api.get(person, params=READ), api.get(f"{person}/export", params=USE), api.post("/v1/lookups", json={**USE, "dataset": "account", "email": "a@b.example", "fields": ["name"]}),
        api.post("/v1/people", content=b"\x00"), api.get("/v1/nothing"), api.put("/v1/people", json={}), api.get("/healthz"), api.get(f"/v1/people/{uuid4()}", params=READ),
        api.delete(person, params=USE), httpx.get(str(api.base_url) + person, params=READ),
    ):  # fmt: skip
        assert answer.headers["cache-control"] == "no-store", answer.request.url
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert api.get("/v1/policy").headers["cache-control"] == "no-cache"
