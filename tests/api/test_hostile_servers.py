"""The client as the victim: of servers that are broken, or not the one meant. Its token goes nowhere else, a part never passes for the whole, and no message
holds what was sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.client import AsyncClient, Client, Correction, NewPerson, Person, Record, Retry, Use, bounds, errors
from tests.api.scripted import Reply, Scripted, answer, scripted
from tests.api.test_client import Blocking
from tests.api.test_client_core import certificate

USE = Use("provide", "integration")
TOKEN = "arm_" + "s" * 43
ME, OTHER = UUID(int=1), UUID(int=2)
NAME, EMAIL = "Zoubida", "zoubida@exemple.dz"
ZOUBIDA = NewPerson("account", {"name": NAME, "email": EMAIL})
POLICY = json.dumps({"version": "1", "sha256": "x", "datasets": {}, "purposes": [], "reasons": []}).encode()
MADE = json.dumps({"id": str(ME), "record": str(uuid4()), "entry": 7}).encode()
Maker = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Maker]:
    loop, made = asyncio.new_event_loop(), []

    def build(to: Scripted | str, **named: Any) -> Any:
        address = to if isinstance(to, str) else f"http://127.0.0.1:{to.port}"
        named = {"token": TOKEN, "retry": Retry(attempts=1), "timeout": 2.0, **named}
        made.append(Client(address, **named) if request.param == "sync" else Blocking(AsyncClient(address, **named), loop))
        return made[-1]

    yield build
    for client in made:
        client.close()
    loop.close()


def record(dataset: str = "account", **values: str) -> dict[str, Any]:
    held = values or {"name": "N"}
    return {"record": str(uuid4()), "dataset": dataset, "values": held, "versions": dict.fromkeys(held, 1), "entry": 9}


def person(whom: UUID = ME, *records: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(whom), "records": list(records or (record(),))}


def ok(content: Any, *more: str) -> bytes:
    return answer(200, json.dumps(content).encode(), "application/json", *more)


def results(*items: dict[str, Any]) -> bytes:
    return ok({"results": list(items)})


def told(status: int, code: str, detail: Any = "D", title: Any = "T", *more: str) -> bytes:
    body = {"type": f"urn:armonika:problem:{code}", "title": title, "status": status, "detail": detail}
    return answer(status, json.dumps(body).encode(), "application/problem+json", *more)


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
        make(server).policy()


def dripping(first: bytes, piece: bytes, pause: float = 0.05) -> Reply:
    """Sends something again and again, often enough that no single read takes long."""

    def send(wire: socket.socket) -> None:
        wire.sendall(first)
        while True:
            wire.sendall(piece)
            time.sleep(pause)

    return send


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LINES = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"


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
                call(make(server, timeout=0.3))


@pytest.mark.parametrize(
    "reply",
    [dripping(LINES + b"\r\n", b" "), dripping(LINES + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), dripping(LINES + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")],
)  # fmt: skip
def test_an_export_that_drips_is_given_up(make: Maker, reply: Reply) -> None:
    with scripted(reply) as server, pytest.raises(errors.ConnectionFailed):
        list(make(server, timeout=0.3).export(ME, USE))


def test_who_reads_an_export_may_take_its_time(make: Maker) -> None:
    lines = [json.dumps(record()).encode() for _ in range(4)] + [
        json.dumps({"end": True, "person": str(ME), "records": 4}).encode()
    ]

    def send(wire: socket.socket) -> None:
        wire.sendall(LINES + b"\r\n")
        for line in lines:
            wire.sendall(line + b"\n")
            time.sleep(0.15)

    with scripted(send) as server:
        found = []
        for one in make(server, timeout=0.4).export(ME, USE):
            time.sleep(0.5)
            found.append(one)
    assert len(found) == 4


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


def export(*lines: Any, rest: bytes = b"") -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines) + rest


def end(records: int, whom: UUID = ME, **more: Any) -> dict[str, Any]:
    return {"end": True, "person": str(whom), "records": records, **more}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", errors.ConnectionFailed), (export(record()), errors.ConnectionFailed), (export(record(), record()), errors.ConnectionFailed), (export(record(), rest=b'{"end":true'), errors.ConnectionFailed),
        (export(record(), end(1))[:-1], errors.ConnectionFailed), (export(record(), end(2)), errors.UnexpectedAnswer), (export(record(), record(), end(1)), errors.UnexpectedAnswer),
        (export(record(), end(1, OTHER)), errors.UnexpectedAnswer), (export(record(), end(1), record()), errors.UnexpectedAnswer), (export(record(), end(1), end(1)), errors.UnexpectedAnswer),
        (export(record(), {**end(1), "end": False}), errors.UnexpectedAnswer), (export(record(), [], end(1)), errors.UnexpectedAnswer), (export(record(), end(1), rest=b"x"), errors.ConnectionFailed),
        (export(record(), rest=b"[" * 100000 + b"\n"), errors.UnexpectedAnswer), (export({**record(), "values": {"name": 1}}), errors.UnexpectedAnswer),
    ],
    ids=lambda _: "",
)  # fmt: skip
def test_an_export_that_was_cut_off_never_passes_for_a_whole_one(
    make: Maker, body: bytes, kind: type[Exception], version: str
) -> None:
    with (
        scripted(answer(200, body, "application/x-ndjson", version=version, whole=False)) as server,
        pytest.raises(kind) as caught,
    ):
        list(make(server).export(ME, USE))
    assert caught.value.__context__ is None


def test_an_export_of_another_type_or_status_is_none(make: Maker) -> None:
    body = export(record(), end(1))
    with scripted(answer(200, body, "application/x-ndjson")) as server:
        assert len(list(make(server).export(ME, USE))) == 1
    for reply in (answer(200, body, "text/html"), answer(206, body, "application/x-ndjson"), answer(200, body, "application/x-ndjson", "Content-Encoding: gzip")):  # fmt: skip
        with scripted(reply) as server, pytest.raises(errors.UnexpectedAnswer):
            list(make(server).export(ME, USE))


def test_an_export_is_sent_again_only_before_it_began(make: Maker) -> None:
    whole = answer(200, export(record(), end(1)), "application/x-ndjson")
    again = {"retry": Retry(first=0.01)}
    with scripted(b"", told(503, "store-unavailable"), whole) as server:
        assert len(list(make(server, **again).export(ME, USE))) == 1
    with scripted(answer(200, export(record()), "application/x-ndjson", whole=False), whole) as server:
        with pytest.raises(errors.ConnectionFailed):
            list(make(server, **again).export(ME, USE))
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "content",
    [person(OTHER), person(ME, record("demo")), person(ME, record(name="N", email="x@y.example")), person(ME, {**record(), "versions": {}}), {**person(), "id": "me"}, {"records": []}],
)  # fmt: skip
def test_a_read_is_of_whom_and_what_was_asked(make: Maker, content: Any) -> None:
    with scripted(ok(person(ME, record(name="N")))) as server:
        assert make(server).read(ME, "account", ["name"], USE).id == ME
    with scripted(ok(content)) as server, pytest.raises(errors.UnexpectedAnswer):
        make(server).read(ME, "account", ["name"], USE)


def test_a_look_up_finds_one_person_and_what_was_asked(make: Maker) -> None:
    with scripted(ok({"people": [person()]})) as server:
        assert make(server).look_up("a@b.example", "account", ["name"], USE).id == ME
    for people in ([person(), person(OTHER)], [person(ME, record("demo"))], [person(ME, record(email="a@b.example"))]):
        with scripted(ok({"people": people})) as server, pytest.raises(errors.UnexpectedAnswer):
            make(server).look_up("a@b.example", "account", ["name"], USE)


def test_items_of_a_batch_are_those_asked_for(make: Maker) -> None:
    """Another order would give one person's values for another's."""
    mine, other = {"status": 200, "person": person(ME)}, {"status": 200, "person": person(OTHER)}
    problem = {"type": "urn:armonika:problem:not-found", "title": "T", "status": 404, "detail": "D"}

    def read(*items: dict[str, Any]) -> list[type[Any] | None]:
        with scripted(results(*items)) as server:
            outcomes = make(server).read_people([ME, OTHER], "account", ["name"], USE)
        return [None if one.error is None else type(one.error) for one in outcomes]

    assert read(mine, other) == [None, None]
    assert read(other, mine) == [errors.UnexpectedAnswer] * 2
    assert read(mine, mine) == [None, errors.UnexpectedAnswer]
    assert read(mine, {"status": 404, "problem": problem}) == [None, errors.NotFound]
    for odd in (
        {"status": 404, "person": person(OTHER)},
        {"status": 200, "problem": problem},
        {**other, "problem": problem},
        {"status": 200},
        {"status": 200, "entry": 7},
    ):
        assert read(mine, odd) == [None, errors.UnexpectedAnswer]
    for items in ((mine,), (mine, other, mine), ()):
        with pytest.raises(errors.UnexpectedAnswer, match="results for 2 items"):
            read(*items)


def test_nobody_is_made_for_two_items(make: Maker) -> None:
    one = {"status": 201, "made": json.loads(MADE)}
    with scripted(results(one, one)) as server:
        first, second = make(server).create_people([ZOUBIDA, ZOUBIDA], USE)
    assert first.get().id == ME
    assert isinstance(second.error, errors.UnexpectedAnswer)


def test_a_checkpoint_is_whole(make: Maker) -> None:
    whole = "armonika.dz/log\n12\n" + "A" * 43 + "=\n\n\u2014 armonika.dz/log AAAA\n"
    with scripted(answer(200, whole.encode(), "text/plain; charset=utf-8")) as server:
        assert make(server).checkpoint().size == 12
    for text in (whole[:-1], whole[:40], whole.replace("12", "1_2"), whole.replace("12", "-1"), whole.replace("12", "\u0661"), whole.replace("12", "012"), whole.replace("A" * 43, "A" * 39), whole.partition("\u2014")[0]):  # fmt: skip
        with scripted(answer(200, text.encode(), "text/plain", whole=False)) as server, pytest.raises(errors.UnexpectedAnswer):
            make(server).checkpoint()


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
def test_an_absurd_wait_is_not_waited_for(make: Maker, wait: str) -> None:
    for status, code in ((429, "quota-exceeded"), (503, "store-unavailable")):
        reply = told(
            status, code, "D", "T", f"Retry-After: {wait.encode().decode('latin-1')}", "Date: Thu, 26 Nov 2026 10:00:00 GMT"
        )
        with scripted(reply) as server:
            began = time.monotonic()
            with pytest.raises(errors.Problem):
                make(server, retry=Retry(attempts=2, first=0.01)).policy()
            assert time.monotonic() - began < 5


def shown(error: BaseException) -> str:
    """Everything that a report of an error could hold."""
    found = [*traceback.format_exception(error)]
    seen: BaseException | None = error
    while seen is not None:
        found += [repr(seen), str(seen), repr(vars(seen)), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(found)


def test_no_message_repeats_what_was_sent(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    everything = f"{TOKEN} {NAME} {EMAIL}"
    whom = Person(ME, (Record(uuid4(), "account", {"name": "N"}, {"name": 1}, 1),), '"x"')
    problem = {"type": f"urn:x:{TOKEN}", "title": everything, "status": 422, "detail": everything}
    body = json.dumps(problem).encode()
    replies = [
        answer(422, body, "application/problem+json"), answer(422, everything.encode(), "text/html"), ok({"results": [{"status": 422, "problem": problem}]}), answer(200, b"\xff" + everything.encode()),
        f"HTTP/1.1 500 {everything}\r\nContent-Length: 0\r\nX: {everything}\r\n\r\n".encode(), everything.encode(), answer(201, body), answer(200, b'{"id": "' + everything.encode() + b'\xff"}', "application/x-ndjson"),
        answer(302, b"", everything, f"Location: http://{everything}"), answer(200, b'{"' + everything.encode() + b'": 1}', everything),
    ]  # fmt: skip
    for reply in replies:
        for call in (
            lambda c: c.create(ZOUBIDA, USE), lambda c: c.create_people([ZOUBIDA], USE)[0].get(), lambda c: c.look_up(EMAIL, "account", ["name"], USE), lambda c: list(c.export(ME, USE)),
            lambda c: c.look_up_people([EMAIL], "account", ["name"], USE)[0].get(), lambda c: c.correct(whom, {"name": NAME}, USE),
            lambda c: c.correct_people([Correction(ME, whom.records[0], {"name": NAME})], USE)[0].get(),
        ):  # fmt: skip
            with scripted(reply) as server, pytest.raises(errors.ArmonikaError) as caught:
                call(make(server))
            text = shown(caught.value)
            assert TOKEN not in text
            # What was not sent is a stranger's own invention.
            assert not [value for value in (NAME, EMAIL) if value.encode() in server.asked[0] and value in text]
    assert TOKEN not in caplog.text
    assert NAME not in caplog.text


def test_a_message_stays_on_one_line_and_is_short(make: Maker) -> None:
    with scripted(told(404, "not-found", "a\nERROR forged\x1b[31m\u202e" + "x" * 100000, "T\r\n")) as server:
        with pytest.raises(errors.NotFound) as caught:
            make(server).policy()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200


def served_with(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_only_the_server_that_is_meant_hears_the_token(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, stranger = certificate(tmp_path, "authority", None), certificate(tmp_path, "stranger", None)
    certificate(tmp_path, "good", authority)
    certificate(tmp_path, "unknown", stranger)
    certificate(tmp_path, "ended", authority, days=-1)
    certificate(tmp_path, "elsewhere", authority, name_of="192.0.2.1")
    trusted, keys = {"verify": tmp_path / "authority.pem"}, tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with scripted(answer(200, POLICY), tls=served_with(tmp_path, "good")) as server:
        assert make(f"https://127.0.0.1:{server.port}", **trusted).policy().version == "1"
        with pytest.raises(errors.ConnectionFailed):
            make(f"http://127.0.0.1:{server.port}").policy()
    # Python opens it; the keys of the connection are not written.
    assert not keys.exists() or "SECRET" not in keys.read_text()
    for name in ("unknown", "stranger", "ended", "elsewhere"):
        with scripted(answer(200, POLICY), tls=served_with(tmp_path, name)) as server:
            with pytest.raises(errors.ConnectionFailed):
                make(f"https://127.0.0.1:{server.port}", **trusted).policy()
            assert not server.asked
    with scripted(answer(200, POLICY)) as server:
        with pytest.raises(errors.ConnectionFailed):
            make(f"https://127.0.0.1:{server.port}", **trusted).policy()
        assert not any(TOKEN.encode() in asked for asked in server.asked)


def test_a_context_that_trusts_anybody_is_refused(make: Maker) -> None:
    careless, nameless = ssl.create_default_context(), ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    nameless.check_hostname = False
    for context in (careless, nameless):
        with pytest.raises(ValueError, match="must check"):
            make("https://127.0.0.1:9", verify=context)
    for address in (
        "http://[",
        "http://127.0.0.1.example",
        "http://127.0.0.1@example.org",
        "ftp://localhost",
        "//localhost",
        "https://u@localhost",
        "http://localhost\x00",
    ):
        with pytest.raises(ValueError, match="the address"):
            make(address)
