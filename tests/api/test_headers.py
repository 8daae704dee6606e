"""Every answer of the API carries its headers, whoever gives it: a page, a problem, the meter, a refused frame's end, a stream (ASVS 3.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from armonika.doors.api.headers import Headers
from tests.api.test_api import READ, USE, api, create  # noqa: F401 (a fixture)


def headers_of(answered: list[tuple[bytes, bytes]], encrypted: bool) -> list[tuple[bytes, bytes]]:
    told: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": answered})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        told.append(message)

    asyncio.run(Headers(application, encrypted)({"type": "http"}, None, send))  # type: ignore[arg-type]
    assert [message["type"] for message in told] == ["http.response.start", "http.response.body"]
    return list(told[0]["headers"])


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_an_answer_says_itself_stays_and_the_rest_is_added(encrypted: bool) -> None:
    made = headers_of([(b"content-type", b"text/plain"), (b"Cache-Control", b"no-cache")], encrypted)
    assert [value for name, value in made if name.lower() == b"cache-control"] == [b"no-cache"]
    assert dict(made)[b"x-content-type-options"] == b"nosniff"
    assert (b"strict-transport-security" in dict(made)) == encrypted
    assert (b"cache-control", b"no-store") in headers_of([], encrypted)


def test_every_kind_of_answer_has_them(api: httpx.Client) -> None:  # noqa: F811
    made = create(api)
    person = f"/v1/people/{made['id']}"
    answers = [
        api.get(person, params=READ), api.get(person), api.get("/v1/policy"), api.get("/nothing"), api.get("/healthz"), api.get("/schema/openapi.json"),
        api.get(f"{person}/export", params=USE), api.request("TRACE", "/v1/people"), api.options("/v1/people"), api.head("/v1/policy"), api.post("/v1/people", content=b"{"),
        api.get("/v1/policy", headers={"Authorization": "Bearer no"}), api.get("/log/checkpoint"),
    ]  # fmt: skip
    assert len({answer.status_code for answer in answers}) >= 5
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff", answer.url
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        # Nothing personal: kept, but asked for again each time.
        asked_again = answer.url.path.startswith("/log/") or (answer.url.path == "/v1/policy" and answer.status_code == 200)
        assert answer.headers["cache-control"] == ("no-cache" if asked_again else "no-store")
        assert "access-control-allow-origin" not in answer.headers


def test_an_answer_names_its_request(api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    short = {"dataset": "account", "fields": "name", **USE}
    for name in ("1", "a" * 64, "0f-9"):
        for answer in (
            api.get(person, params=short, headers={"Armonika-Call": name}), api.get(f"{person}/export", params=USE, headers={"Armonika-Call": name}),
            api.post("/v1/people", content=b"{", headers={"Armonika-Call": name}), api.get(person, headers={"Armonika-Call": name, "Authorization": "Bearer x"}),
        ):  # fmt: skip
            assert answer.headers.get_list("armonika-call") == [name]
    for name in ("", "a" * 65, "a b", "a,b", "\xe9", "a;b", "a\tb"):
        answer = api.get(person, params=short, headers=[("Armonika-Call", name.encode("latin-1"))])  # type: ignore[list-item]
        assert "armonika-call" not in answer.headers
    # What caches may keep goes to others.
    for path in ("/v1/policy", "/log/checkpoint"):
        assert "armonika-call" not in api.get(path, headers={"Armonika-Call": "a"}).headers
