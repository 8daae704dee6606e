"""Whoever answers: the token goes nowhere else, and no message holds what was sent."""

from __future__ import annotations

import json
import logging
import ssl
import traceback
from pathlib import Path
from uuid import uuid4

import pytest

from armonika.client import Correction, NewPerson, Person, Record, errors
from tests.api.both import Maker
from tests.api.hostile import EMAIL, ME, NAME, POLICY, TOKEN, USE, ZOUBIDA, ok, told
from tests.api.scripted import answer, scripted
from tests.api.test_client_core import certificate


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


def test_what_is_no_text_does_not_hide_the_problem(make: Maker) -> None:
    """A number in the place of a value is the API's to refuse; what it says must come through."""
    with scripted(told(422, "invalid-value", "name is no text")) as server, pytest.raises(errors.InvalidValue, match="no text"):
        make(server).create(NewPerson("account", {"name": 7, "phone": None}), USE)  # type: ignore[dict-item]


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
