"""The client as the victim of servers that are broken, or not the one meant: what is no answer is none, and nothing is waited for without end."""

from __future__ import annotations

import gzip
import pickle
from uuid import uuid4

import pytest

from armonika.client import Correction, Person, Record, Retry, asynchronous, bounds, client, errors
from tests.api.both import Maker
from tests.api.hostile import HEAD, LINES, MADE, ME, POLICY, USE, ZOUBIDA, dripping, told
from tests.api.scripted import Reply, answer, scripted


def test_redirects_are_not_followed_and_cookies_not_kept(make: Maker) -> None:
    with scripted(answer(200, POLICY)) as other:
        for status in (301, 302, 303, 307, 308):
            there = f"Location: http://127.0.0.1:{other.port}/v1/policy"
            with scripted(answer(status, b"", "text/html", there, "Set-Cookie: track=1; Path=/", "Refresh: 0")) as server:
                client = make(server)
                for call in (client.policy, lambda client=client: client.create(ZOUBIDA, USE), client.policy):
                    with pytest.raises(errors.UnexpectedAnswer):
                        call()
                assert not any(b"cookie" in asked.lower() for asked in server.asked)
        assert not other.asked, "neither the token nor anything else went there"


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, POLICY, "text/html"), answer(200, POLICY, ""), answer(206, POLICY, "application/json", "Content-Range: bytes 0-9/20"), answer(201, POLICY), answer(203, POLICY),
        answer(200, b"{", "application/json"), answer(200, POLICY[:-3], whole=False), answer(200, POLICY[:-3], version="1.0", whole=False), answer(200, b"[]"), answer(200, b"null"),
        answer(204, b""), answer(200, b'{"z":' + b"[" * 100000 + b"]" * 100000 + b"}"), answer(200, b"\xff"), answer(304, b""), answer(200, gzip.compress(POLICY), "application/json", "Content-Encoding: gzip"),
        answer(200, POLICY, "application/json", "Content-Encoding: br"), answer(302, b"{}", "application/problem+json"), answer(404, b'{"type":1}', "application/problem+json"),
        answer(404, b'{"title":["x"]}', "application/problem+json"), answer(404, b'{"status":"404"}', "application/problem+json"), answer(404, b"[" * 100000, "application/problem+json"),
        answer(404, b"{}", "application/problem+jsonp"), answer(599, b"", "text/html"),
    ],
    ids=lambda _: "reply",
)  # fmt: skip
def test_what_is_no_answer_of_the_api_is_none(make: Maker, reply: bytes) -> None:
    with scripted(reply) as server, pytest.raises(errors.UnexpectedAnswer) as caught:
        make(server).policy()
    assert caught.value.__context__ is None, "an error that is kept beside may hold what came"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.status) == (str(caught.value), caught.value.status)


@pytest.mark.parametrize(
    "reply",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100000 + b"\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n",
        answer(200, POLICY, "application/json", "Content-Length: 1"), answer(200, POLICY, "application/json", "Content-Length: 9999", whole=False),
        answer(200, b"ffffffffffffffffff\r\nx", "application/json", "Transfer-Encoding: chunked", whole=False), answer(200, b"5\r\n{", "application/json", "Transfer-Encoding: chunked", whole=False),
        answer(200, b"-1\r\n{", "application/json", "Transfer-Encoding: chunked", whole=False), answer(101, b"", "application/json", "Upgrade: h2c", whole=False),
    ],
    ids=lambda _: "reply",
)  # fmt: skip
def test_a_broken_answer_is_a_broken_connection(make: Maker, reply: bytes) -> None:
    with scripted(reply) as server, pytest.raises((errors.ConnectionFailed, errors.UnexpectedAnswer)):
        make(server, timeout=0.3).policy()


@pytest.mark.parametrize(
    "reply",
    [
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"), dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), dripping(HEAD + b"Content-Length: 90000\r\n\r\n", b" "), dripping(HEAD + b"\r\n", b" "),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), dripping(b"HTTP/1.1 503 OK\r\n\r\n", b" "),
    ],
)  # fmt: skip
def test_an_answer_that_drips_is_given_up(make: Maker, reply: Reply) -> None:
    """One wait for each piece would never end."""
    with scripted(reply) as server:
        for call in (lambda client: client.policy(), lambda client: list(client.export(ME, USE))):
            with pytest.raises((errors.ConnectionFailed, errors.UnexpectedAnswer)):
                call(make(server, timeout=0.1))


def test_no_body_fills_the_memory(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 2_000_000)
    for reply in (dripping(HEAD + b"\r\n", b" " * 100_000, 0), dripping(b"HTTP/1.1 404 OK\r\nContent-Type: application/problem+json\r\n\r\n", b" " * 100_000, 0)):  # fmt: skip
        with scripted(reply) as server, pytest.raises(errors.UnexpectedAnswer, match="more than"):
            make(server).policy()
    with (
        scripted(dripping(LINES + b"\r\n", b" " * 1_000_000, 0)) as server,
        pytest.raises(errors.UnexpectedAnswer, match="more than"),
    ):
        list(make(server).export(ME, USE))


def test_a_creation_is_sent_again_with_its_key_and_nothing_else_is(make: Maker) -> None:
    again = {"retry": Retry(first=0.01, longest=5)}
    with scripted(b"", told(503, "store-unavailable"), answer(503, b"", "text/html"), answer(201, MADE)) as server:
        assert make(server, **again).create(ZOUBIDA, USE).id == ME
        keys = [line for asked in server.asked for line in asked.split(b"\r\n") if line.lower().startswith(b"idempotency-key")]
        assert len(keys) == 4
        assert len(set(keys)) == 1
        assert len({asked.partition(b"\r\n\r\n")[2] for asked in server.asked}) == 1
    whom = Person(ME, (Record(uuid4(), "account", {"name": "N"}, {"name": 1}, 1),), '"x"')
    for reply in (
        b"",
        told(503, "store-unavailable"),
        answer(500, b"", "text/html"),
        told(429, "quota-exceeded", "D", "T", "Retry-After: 0"),
    ):
        for write in (
            lambda c: c.correct(whom, {"name": "M"}, USE), lambda c: c.erase(ME, USE), lambda c: c.restrict(ME, USE), lambda c: c.lift(ME, USE), lambda c: c.erase_people([ME], USE),
            lambda c: c.correct_people([Correction(ME, whom.records[0], {"name": "M"})], USE), lambda c: c.restrict_people([ME], USE), lambda c: c.lift_people([ME], USE),
        ):  # fmt: skip
            with scripted(reply) as server:
                with pytest.raises(errors.ArmonikaError):
                    write(make(server, **again))
                assert len(server.asked) == 1


@pytest.mark.parametrize(
    "wait", ["999999999999999999999", "-1", "1e9", "nan", "inf", "soon", "Thu, 01 Jan 9999 00:00:00 GMT", "\u0661", " ", "0x10"]
)
def test_an_absurd_wait_is_not_waited_for(make: Maker, monkeypatch: pytest.MonkeyPatch, wait: str) -> None:
    slept: list[float] = []

    async def awaited(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(client.time, "sleep", slept.append)
    monkeypatch.setattr(asynchronous.asyncio, "sleep", awaited)
    for status, code in ((429, "quota-exceeded"), (503, "store-unavailable")):
        reply = told(
            status, code, "D", "T", f"Retry-After: {wait.encode().decode('latin-1')}", "Date: Thu, 26 Nov 2026 10:00:00 GMT"
        )
        with scripted(reply) as server:
            with pytest.raises(errors.Problem):
                make(server, retry=Retry(attempts=2, first=0.01)).policy()
            assert sum(slept) < 5
