"""What the description says of every operation is what the server does, whatever stands around a request: methods, headers, forms of an address, odd frames."""

from __future__ import annotations

import socket
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.scopes import CELLS, ROWS
from tests.api.scopes import create as some
from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.api.test_schema import conforms, described, operations, resolved  # noqa: F401 (a fixture)
from tests.live import Live

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


def test_a_path_takes_the_methods_of_the_description_and_no_other(api: httpx.Client, described: dict[str, Any]) -> None:  # noqa: F811
    for path, item in described["paths"].items():
        where = path.replace("{person}", str(uuid4())).replace("{name}", "checkpoint")
        allowed = {method.upper() for method in item} | {"OPTIONS"} | ({"HEAD"} if "get" in item else set())
        for method in METHODS:
            answer = api.request(method, where)
            told = set(answer.headers.get("allow", "").split(", "))
            if method == "OPTIONS":
                assert (answer.status_code, told, answer.content) == (204, allowed, b""), where
            elif method in allowed:
                assert answer.status_code != 405, (method, where)
            else:
                assert (answer.status_code, told) == (405, allowed), (method, where)
                assert method == "HEAD" or problem(answer, 405)
            assert "ratelimit" in answer.headers


ODD: list[list[tuple[str, str]]] = [
    [("Accept", "text/html")], [("Accept", "*/*;q=0")], [("Accept-Encoding", "gzip, br;q=1, *;q=0")], [("Accept-Language", "xx")], [("Range", "bytes=0-1,5-")], [("If-Range", '"x"'), ("Range", "bytes=0-0")],
    [("If-None-Match", "*")], [("If-None-Match", '"x"')], [("If-None-Match", "nonsense")], [("If-None-Match", '"x"'), ("If-None-Match", 'W/"y"')], [("If-Match", "*")], [("If-Match", '"x"')],
    [("If-Match", 'W/"x", "y"')], [("If-Match", "")], [("If-Match", "*"), ("If-Match", "*")], [("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT")], [("If-Unmodified-Since", "yesterday")],
    [("Expect", "100-continue")], [("Expect", "a-miracle")], [("Idempotency-Key", "")], [("Idempotency-Key", "x" * 256)], [("Idempotency-Key", '"a"'), ("Idempotency-Key", '"b"')], [("Idempotency-Key", "\xe9")],
    [("Idempotency-Key", '"tab\there"')], [("Content-Type", "text/plain")], [("Content-Type", 'application/json; charset="utf-8"; charset=utf-16')], [("Content-Type", "application/json;;;=")],
    [("Content-Encoding", "gzip")], [("X-HTTP-Method-Override", "DELETE")], [("Upgrade", "h2c"), ("Connection", "Upgrade"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")], [("Cookie", "a=b")],
    [("Forwarded", "for=::1;proto=https;host=elsewhere.example")], [("X-Forwarded-Host", "elsewhere.example"), ("X-Original-URL", "/v1/policy"), ("X-Rewrite-URL", "/v1/policy")], [("Via", "x" * 5000)],
]  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_stands_around_a_request_changes_nothing(api: httpx.Client, described: dict[str, Any], name: str) -> None:  # noqa: F811
    cell = CELLS[0]
    declared = operations(described)[name][2]["responses"]

    around: list[tuple[str, str]] = []

    def add(request: httpx.Request) -> None:
        for each in {name for name, _ in around}:
            request.headers.pop(each, None)
        request.headers = httpx.Headers(request.headers.multi_items() + around, encoding="latin-1")

    told = []
    # One client: making each costs more than what it asks.
    with httpx.Client(base_url=api.base_url, headers=api.headers, timeout=20, event_hooks={"request": [add]}) as client:
        for odd, made in zip(ODD, some(api, cell, len(ODD)), strict=True):
            around[:] = odd
            who = made._replace(email=f"{uuid4().hex}@org.example")
            told.append(ROWS[name].call(client, cell.use, cell.dataset, who))
    for odd, answer in zip(ODD, told, strict=True):
        status = str(answer.status_code)
        assert status in declared, (odd, answer.text)
        known = resolved(described, declared[status])
        assert {header.lower() for header in known["headers"] if header != "ETag"} <= set(answer.headers), odd
        if answer.status_code != 304:
            media = answer.headers["content-type"].partition(";")[0]
            schema = next(part["schema"] for kind, part in known["content"].items() if kind.partition(";")[0] == media)
            if media != "application/x-ndjson":
                conforms(described, schema, answer.json())
        assert "elsewhere.example" not in answer.text + str(answer.headers)


def test_an_id_is_written_in_one_way(api: httpx.Client) -> None:  # noqa: F811
    """Python reads more ways, of which a guard before this door, or who reads its log, may know none."""
    one = create(api)["id"]
    bare = one.replace("-", "")
    assert api.get(f"/v1/people/{one.upper()}", params=READ).status_code == 200
    forms = [
        bare,
        f"%7B{one}%7D",
        f"urn:uuid:{one}",
        f"uuid:{one}",
        f"{bare[:4]}-{bare[4:]}",
        f"{one}-",
        f"-{one}",
        bare[:31] + "%EF%BC%91",
        f"{one}%20",
        f"{one}%0A",
        f"{one};v=1",
    ]
    for form in forms:
        for method, path, body in (
            ("GET", f"/v1/people/{form}", None), ("DELETE", f"/v1/people/{form}", None), ("GET", f"/v1/people/{form}/export", None), ("PUT", f"/v1/people/{form}/restriction", USE),
        ):  # fmt: skip
            problem(
                api.request(method, path, params=(READ if path.endswith(form) else USE) if body is None else None, json=body), 404
            )
    assert api.get(f"/v1/people/{one}", params=READ).status_code == 200


def said(live: Live, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", live.port + 2), timeout=10) as wire:
        wire.sendall(request)
        got = b""
        while piece := wire.recv(65536):
            got += piece
        return got


def test_a_body_that_is_packed_for_its_way_is_not_read_as_it_came(live: Live, api: httpx.Client) -> None:  # noqa: F811
    """RFC 9112 §6.1: whoever does not know a coding does not guess. A guard before this door that knows it reads another body than this door would."""
    body = b'{"dataset":"account","email":"a@b.example","fields":["name"],"purpose":"provide","reason":"integration"}'
    head = (
        b"POST /v1/lookups HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer "
        + live.token().encode()
    )
    for coding, status in ((b"chunked", b"200"), (b"Chunked", b"200"), (b"gzip, chunked", b"400"), (b"identity, chunked", b"400"), (b"chunked, chunked", b"400"), (b"x\r\nTransfer-Encoding: chunked", b"400")):  # fmt: skip
        answer = said(live, head + b"\r\nTransfer-Encoding: " + coding + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert answer.startswith(b"HTTP/1.1 " + status), (coding, answer)
    twice = {"Content-Type": "application/json; charset=utf-8; charset=utf-16"}
    problem(api.post("/v1/lookups", content=body, headers=twice), 415)


def test_http_2_is_not_spoken(live: Live) -> None:
    """No streams to reset and no CONTINUATION to flood with: neither by the preface nor by an upgrade."""
    assert said(live, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") == b""
    asked = b"GET /v1/policy HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    assert said(live, asked).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_no_handler_gave_tells_the_quota_too(live: Live) -> None:
    for request in (b"GET /v1/policy HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET /v1/policy HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):  # fmt: skip
        answer = said(live, request).lower()
        assert answer.count(b"\r\nratelimit: ") == 1, answer
        assert answer.count(b"\r\nratelimit-policy: ") == 1
