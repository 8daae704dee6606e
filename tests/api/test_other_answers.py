"""Answers about somebody or something else than was asked."""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any
from uuid import uuid4

import pytest

from armonika.client import Person, Record, Retry, errors
from tests.api.both import Maker
from tests.api.hostile import MADE, ME, OTHER, POLICY, USE, ZOUBIDA, ok, person, record, results
from tests.api.scripted import answer, scripted


@pytest.mark.parametrize(
    "content",
    [person(OTHER), person(ME, record("demo")), person(ME, record(name="N", email="x@y.example")), person(ME, {**record(), "versions": {}}), {**person(), "id": "me"}, {"records": []}],
)  # fmt: skip
def test_a_read_is_of_whom_and_what_was_asked(make: Maker, content: Any) -> None:
    with scripted(ok(person(ME, record(name="N")))) as server:
        assert make(server).read(ME, "account", ["name"], USE).id == ME
    with scripted(ok(content)) as server, pytest.raises(errors.UnexpectedAnswer):
        make(server).read(ME, "account", ["name"], USE)


@pytest.mark.parametrize("tag", ['W/"x"', "x", '"x', '"a" , "b"', '"\xe9"', '"x"\r\nX: y', '"' + "\u0661" + '"', ""])
def test_a_validator_is_one_that_can_go_back(make: Maker, tag: str) -> None:
    """It is sent as If-Match with the next correction."""
    with scripted(ok({"people": [{**person(), "etag": tag}]})) as server, pytest.raises(errors.UnexpectedAnswer):
        make(server).look_up("a@b.example", "account", ["name"], USE)


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


def asked_as(request: bytes) -> str:
    found = re.search(rb"armonika-call: ([0-9a-f]{32})\r\n", request, re.IGNORECASE)
    assert found
    return found[1].decode()


def test_an_answer_to_another_request_is_none(make: Maker) -> None:
    """A proxy that lost count leaves an answer on the connection; each request after it would get the one of the request before."""

    def confused(wire: socket.socket) -> None:
        """Has read one request; one answer too many stands before those that follow."""
        wire.sendall(
            answer(200, POLICY, "application/json", "Armonika-Call: " + asked_as(server.asked[-1]))
            + answer(200, POLICY, "application/json", "Armonika-Call: other")
        )
        time.sleep(1)

    with scripted(confused) as server:
        client = make(server)
        assert client.policy().version == "1"
        whom = Person(ME, (Record(uuid4(), "account", {"name": "N"}, {"name": 1}, 1),), '"x"')
        with pytest.raises(errors.ConnectionFailed, match="another request"):
            client.correct(whom, {"name": "M"}, USE)
        assert client.policy().version == "1", "and the connection is not used again"
    with scripted(answer(200, POLICY, "application/json", "Armonika-Call: other")) as server:
        with pytest.raises(errors.ConnectionFailed):
            make(server, retry=Retry(attempts=3, first=0.01)).policy()
        assert len(server.asked) == 3
        assert len({asked_as(request) for request in server.asked}) == 3, "a name for each sending"
    body = json.dumps({"end": True, "person": str(ME), "records": 0}).encode() + b"\n"
    with (
        scripted(answer(200, body, "application/x-ndjson", "Armonika-Call: other")) as server,
        pytest.raises(errors.ConnectionFailed),
    ):
        list(make(server).export(ME, USE))
