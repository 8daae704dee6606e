"""Exports that are cut off, drip, or are of another: a part never passes for the whole."""

from __future__ import annotations

import json

import pytest

from armonika.client import Retry, errors
from armonika.client.export import Export
from tests.api.both import Maker
from tests.api.hostile import LINES, ME, OTHER, USE, dripping, end, export, record, told
from tests.api.scripted import Reply, answer, scripted


@pytest.mark.parametrize(
    "reply",
    [dripping(LINES + b"\r\n", b" "), dripping(LINES + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), dripping(LINES + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")],
)  # fmt: skip
def test_an_export_that_drips_is_given_up(make: Maker, reply: Reply) -> None:
    with scripted(reply) as server, pytest.raises(errors.ConnectionFailed):
        list(make(server, timeout=0.1).export(ME, USE))


def test_only_waiting_for_a_line_counts() -> None:
    """Who reads may take its time, and so may an export of many lines: what is bounded is how long one line is waited for."""
    line = json.dumps(record()).encode()
    one = Export(ME, 1.0)
    for _ in range(20):
        assert not one.feed(line[:30], 0.4)
        assert len(one.feed(line[30:] + b"\n", 0.9)) == 1
    assert not one.feed(line[:30], 0.6)
    with pytest.raises(errors.ConnectionFailed, match="slow"):
        one.feed(line[30:40], 0.6)
    assert not Export(ME, None).feed(line[:30], 1e9)


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
