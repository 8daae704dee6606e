"""What a hostile caller sends, byte by byte: bodies, chunks, lengths, and credentials in every wrong shape. Each has the plain request as its control."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest

from armonika.doors.api.tokens import token_from
from armonika.store.embedded import Embedded
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault.errors import SessionEnded
from tests.api.test_api import READ, USE, api, create  # noqa: F401 (a fixture)
from tests.live import Live

Count = Callable[[], int]
HEAD = b"POST /v1/people HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"


def plain(name: str = '"N"') -> bytes:
    """A creation that is right."""
    address = f"{uuid4().hex}@org.example"
    return (
        '{"dataset":"account","purpose":"provide","reason":"integration",'
        f'"values":{{"name":{name},"email":"{address}","company":"C","role":"R"}}}}'
    ).encode()


def bearer(live: Live) -> bytes:
    return f"Authorization: Bearer {live.token()}\r\n".encode()


def talk(live: Live, *parts: bytes, pause: float = 0.0, done: bool = False, seconds: float = 10.0) -> bytes:
    """All that the server says to these bytes until it closes. `done`: the caller hangs up its own half."""
    said = b""
    with socket.create_connection(("localhost", live.port + 2), timeout=seconds) as wire:
        for part in parts:
            wire.sendall(part)
            time.sleep(pause)
        if done:
            wire.shutdown(socket.SHUT_WR)
        while got := wire.recv(65536):
            said += got
    return said


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def post(body: bytes, *headers: bytes, kind: bytes = JSON) -> bytes:
    return HEAD + kind + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


@pytest.fixture
def people(live: Live) -> Iterator[Count]:
    """How many people the running system holds."""
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn, autocommit=True) as admin:

        def count() -> int:
            row = admin.execute("SELECT count(*) FROM vault.subject").fetchone()
            assert row is not None
            return int(row[0])

        yield count


NESTED = b"[" * 10_000 + b"]" * 10_000
BODIES = {
    "duplicate key": plain().replace(b'{"dataset"', b'{"purpose":"improve","dataset"'),
    "duplicate value": plain('"N","name":"M"'),
    "duplicate key in escapes": plain().replace(b'{"dataset"', b'{"\\u0070urpose":"improve","dataset"'),
    "unknown field": plain().replace(b'{"dataset"', b'{"admin":true,"dataset"'),
    "NaN": plain("NaN"), "Infinity": plain("Infinity"), "1e400": plain("1e400"), "2^63": plain("9223372036854775808"), "minus zero": plain("-0"), "null": plain("null"),
    "nested": plain(NESTED.decode()), "nested objects": plain('{"a":' * 10_000 + "1" + "}" * 10_000), "nested at the top": NESTED,
    "overlong UTF-8": plain().replace(b'"N"', b'"\xc0\xaf"'), "surrogate in bytes": plain().replace(b'"N"', b'"\xed\xa0\x80"'),
    "lone surrogate": plain('"\\ud800"'), "surrogates reversed": plain('"\\udc00\\ud800"'), "NUL": plain('"a\\u0000b"'), "NUL in bytes": plain().replace(b'"N"', b'"a\x00b"'),
    "BOM": b"\xef\xbb\xbf" + plain(), "UTF-16": plain().decode().encode("utf-16"), "trailing": plain() + b"{}", "two values": plain() + plain(), "cut": plain()[:-1],
    "a digit run": plain("1" * 100_000), "an array": b"[" + plain() + b"]",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_one_plain_request_is_refused(live: Live, name: str, people: Count) -> None:
    before = people()
    said = talk(live, post(BODIES[name], bearer(live)))
    assert status(said) in (400, 422), said[:200]
    assert b"application/problem+json" in said
    assert people() == before


def test_the_plain_request_is_taken_whole_and_in_chunks(live: Live, people: Count) -> None:
    """The control of every refusal here."""
    before = people()
    assert status(talk(live, post(plain(), bearer(live)))) == 201
    assert status(talk(live, post(plain(), bearer(live), kind=b"Content-Type: application/JSON; charset=UTF-8\r\n"))) == 201
    body = plain()
    halves = chunked(chunk(body[:50]), chunk(body[50:]), b"0\r\n\r\n")
    assert status(talk(live, HEAD + JSON + bearer(live) + halves)) == 201
    assert people() == before + 3


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/msgpack", "application/jsonx", "json", "",
        "application/json; charset=utf-16", "application/json; charset=utf-7", "application/json, text/plain", "\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_not_declared_as_json_is_415(live: Live, kind: str) -> None:
    said = talk(live, post(plain(), bearer(live), kind=f"Content-Type: {kind}\r\n".encode("latin-1")))
    assert status(said) == 415, said[:200]
    assert b"application/problem+json" in said


def test_two_kinds_are_415(live: Live) -> None:
    assert status(talk(live, post(plain(), bearer(live), kind=JSON + b"Content-Type: text/plain\r\n"))) == 415


@pytest.mark.parametrize("packing", [b"gzip", b"deflate", b"br", b"gzip, gzip", b"x"])
def test_nothing_is_unpacked(live: Live, packing: bytes) -> None:
    """A hundred megabytes in a hundred kilobytes are not looked at."""
    bomb = gzip.compress(b"0" * 100_000_000, 9)
    for body in (bomb, gzip.compress(plain()), plain()):
        assert status(talk(live, post(body, bearer(live), b"Content-Encoding: " + packing + b"\r\n"))) == 415


BROKEN = {
    "chunk too small": chunked(b"3\r\n" + plain() + b"\r\n0\r\n\r\n"),
    "chunk too big": chunked(b"fff\r\n" + plain() + b"\r\n0\r\n\r\n"),
    "negative chunk": chunked(b"-1\r\n" + plain() + b"\r\n0\r\n\r\n"),
    "chunk of 2^64 and more": chunked(b"f" * 17 + b"\r\n" + plain() + b"\r\n0\r\n\r\n"),
    "no last chunk": chunked(chunk(plain())),
    "an endless extension": chunked(b"5;" + b"a" * 100_000 + b"\r\n" + plain()),
    "body shorter than its length": b"Content-Length: 600\r\n\r\n" + plain(),
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a list of lengths": b"Content-Length: 6, 6\r\n\r\nabcdef",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a signed length": b"Content-Length: +6\r\n\r\nabcdef",
    "a length over 2^64": b"Content-Length: 99999999999999999999999\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd",
    "a name with a space": b"Content-Length : 0\r\n\r\n",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_is_400_and_ends_the_connection(live: Live, name: str, people: Count) -> None:
    before = people()
    said = talk(live, HEAD + JSON + bearer(live) + BROKEN[name], done=True)
    assert status(said) == 400, said[:200]
    assert said.count(b"HTTP/1.1 ") == 1, "what follows is no request"
    assert people() == before


def test_a_length_beside_chunks_does_not_hide_a_second_request(live: Live, people: Count) -> None:
    """Request smuggling (RFC 9112 §6.3): chunks count, and nothing after them is read."""
    before = people()
    hidden = post(plain(), bearer(live))
    said = talk(live, HEAD.replace(b"Connection: close\r\n", b"") + JSON + bearer(live) + b"Content-Length: 4\r\n" + chunked(chunk(plain()), b"0\r\n\r\n") + hidden)  # fmt: skip
    assert said.count(b"HTTP/1.1 ") == 1
    assert people() <= before + 1


def test_pipelined_requests_are_answered_in_their_order(live: Live) -> None:
    get = b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    said = talk(live, get % (b"/v1/policy", b"") + get % (b"/v1/nothing", b"") + get % (b"/healthz", b"Connection: close\r\n"))
    assert [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


def test_a_body_over_a_mebibyte_is_413_however_it_comes(live: Live) -> None:
    """The answer reaches a sender that has not finished sending (RFC 9112 §9.6)."""
    large = post(b"x" * 2_000_000, bearer(live))
    pieces = [large[at : at + 200_000] for at in range(0, len(large), 200_000)]
    for _ in range(5):
        said = talk(live, *pieces, pause=0.005)
        assert status(said) == 413
        assert b"application/problem+json" in said
    chunks = [chunk(b"x" * 100_000)] * 20
    assert status(talk(live, HEAD + JSON + bearer(live) + chunked(*chunks, b"0\r\n\r\n"))) == 413
    # Refused for another reason, read to its end all the same.
    assert status(talk(live, *[piece.replace(b"/v1/people ", b"/v1/nothing ") for piece in pieces], pause=0.005)) == 404


def test_the_rest_of_a_body_is_waited_for_only_so_long_and_only_so_much(live: Live) -> None:
    began = time.monotonic()
    said = talk(live, post(b"x" * 3_000_000, bearer(live))[:1000])
    assert status(said) == 413
    assert time.monotonic() - began < 6
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        talk(live, post(b"", bearer(live)).replace(b"Content-Length: 0", b"Content-Length: 500000000"), *[b"x" * 1_000_000] * 500)
    asked = talk(live, HEAD + JSON + bearer(live) + b"Expect: 100-continue\r\nContent-Length: 3000000\r\n\r\n")
    assert status(asked) == 413, "not asked to send what is not wanted"


def issued(live: Live, **bounds: float) -> str:
    return issue_token(Embedded(live.home / "postgres", live.home / "keys").admin_dsn, **bounds)  # type: ignore[arg-type]


def test_a_token_counts_in_one_place_and_one_form(live: Live, api: httpx.Client) -> None:  # noqa: F811
    token = live.token().encode()
    path = f"/v1/people/{create(api)['id']}?dataset=account&fields=name&purpose=provide&reason=integration".encode()

    def ask(*headers: bytes, more: bytes = b"") -> int:
        lines = b"".join(header + b"\r\n" for header in headers)
        return status(
            talk(live, b"GET " + path + more + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines + b"\r\n")
        )

    right = b"Authorization: Bearer " + token
    for header in (right, b"authorization: bearer " + token, b"AUTHORIZATION: BEARER " + token, right + b"  "):
        assert ask(header) == 200, header
    assert ask(more=b"&access_token=" + token) == 401
    assert ask(b"Cookie: token=" + token) == 401
    assert ask(b"Proxy-Authorization: Bearer " + token) == 401
    assert ask(right, right) == 401, "twice"
    for wrong in (
        b"Basic " + token, token, b"Bearer", b"Bearer ", b"Bearer  " + token, b"Bearer\t" + token, b'Bearer "' + token + b'"', b"Bearer " + token + b"=",
        b"Bearer " + token.swapcase(), b"Bearer " + token[:-1], b"Bearer " + token + b", Bearer " + token, b"Bearer " + token + b" x",
    ):  # fmt: skip
        assert ask(b"Authorization: " + wrong) == 401, wrong
    for broken in (token + b"\r", token + b"\0", b"\0" + token):
        assert ask(b"Authorization: Bearer " + broken) in (400, 401), broken
    for text in (f"Bearer {live.token()}\n", f"Bearer {live.token()}\r\n", f"Bearer {live.token()}\u00a0", "Bearer ١" + "2" * 42):
        with pytest.raises(SessionEnded):
            token_from([text])


def test_a_token_ends_by_itself_by_revocation_and_at_another_door(live: Live, api: httpx.Client) -> None:  # noqa: F811
    person = f"/v1/people/{create(api)['id']}"
    short = issued(live, days=1.2 / 86400)
    headers = {"Authorization": f"Bearer {short}"}
    assert httpx.get(live.api + person, params=READ, headers=headers).status_code == 200
    revoked = issued(live)
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn, autocommit=True) as admin:
        other = {"Authorization": f"Bearer {revoked}"}
        assert httpx.get(live.api + person, params=READ, headers=other).status_code == 200
        admin.execute(
            "UPDATE vault.session SET revoked_at = clock_timestamp() WHERE secret_hash = sha256(%s)", (revoked.encode(),)
        )
        assert httpx.get(live.api + person, params=READ, headers=other).status_code == 401
        moved = issued(live)
        admin.execute("UPDATE vault.session SET door = 'site' WHERE secret_hash = sha256(%s)", (moved.encode(),))
        at_site = httpx.get(live.api + person, params=READ, headers={"Authorization": f"Bearer {moved}"})
        assert at_site.status_code == 401
    time.sleep(1.3)
    ended = httpx.get(live.api + person, params=READ, headers=headers)
    assert ended.status_code == 401
    assert ended.content == at_site.content, "ended, revoked and foreign are one answer"


def test_a_thousand_and_one_are_refused_everywhere(live: Live, api: httpx.Client) -> None:  # noqa: F811
    ids = [str(uuid4())] * 1001
    bodies: dict[str, dict[str, object]] = {
        "/v1/people/read": {"dataset": "account", "fields": ["name"], "people": ids}, "/v1/people/erase": {"people": ids},
        "/v1/people/restrict": {"people": ids, "restricted": True}, "/v1/lookups/batch": {"dataset": "account", "fields": ["name"], "emails": ["a@b.example"] * 1001},
        "/v1/people/correct": {"corrections": [{"person": one, "record": one, "dataset": "account", "values": {"name": "N"}} for one in ids]},
    }  # fmt: skip
    for path, body in bodies.items():
        assert api.post(path, json={**USE, **body}).status_code == 400, path


def test_no_problem_repeats_what_was_sent(live: Live) -> None:
    marked = f"marked{uuid4().hex}"
    for body in (
        plain(json.dumps(marked + "\u0000")), json.dumps({marked: marked}).encode(), marked.encode(), plain().replace(b"provide", marked.encode()),
        plain().replace(b"account", marked.encode()), plain().replace(b'"role"', f'"{marked}"'.encode()),
    ):  # fmt: skip
        said = talk(live, post(body, bearer(live), f"Idempotency-Key: {marked}\r\n".encode()))
        assert status(said) >= 400
        assert marked.encode() not in said
