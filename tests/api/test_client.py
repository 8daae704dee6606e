"""The client against the running system, with and without an event loop: every operation, typed errors, and what is sent again."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from armonika.client import AsyncClient, Correction, NewPerson, Person, Retry, Use, errors
from tests.api.both import Maker, clients
from tests.api.breaking import breaking
from tests.live import Live

USE = Use("provide", "integration")
FIELDS = ("name", "email", "company", "role")


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, live: Live) -> Iterator[Maker]:
    """Makes clients of the one kind or the other."""
    with clients(request.param) as client:

        def build(address: str = live.api, **named: Any) -> Any:
            if not named.keys() & {"token", "token_file"}:
                named["token"] = live.token()
            return client(address, **named)

        yield build


def new(**values: str) -> NewPerson:
    return NewPerson(
        "account", {"name": "Nour", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | values, uuid4()
    )


def test_a_person_goes_all_the_way(make: Maker) -> None:
    client, email = make(), f"{uuid4().hex}@Org.Example"
    made = client.create(new(email=email), USE)
    person = client.read(made.id, "account", FIELDS, USE)
    assert (person.id, person.records[0].record, person.records[0].values["email"]) == (made.id, made.record, email)
    found = client.look_up(email.upper(), "account", ["name"], Use("provide", "integration", "CASE-12"))
    assert found.id == made.id
    assert client.correct(person, {"name": "Nouvelle"}, USE).entry > person.records[0].entry
    with pytest.raises(errors.VersionConflict) as conflict:
        client.correct(person, {"name": "Other"}, USE)
    assert conflict.value.status == 412
    assert client.correct(person, {"name": "Third"}, USE, overwrite=True).entry
    with pytest.raises(ValueError, match="read it first"):
        client.correct(replace(found, etag=None), {"name": "Other"}, USE)
    with pytest.raises(errors.VersionConflict):
        client.correct(found, {"name": "Other"}, USE)
    fresh = client.look_up(email, "account", ["name"], USE)
    assert client.correct(fresh, {"name": "Found"}, USE).entry
    (listed,) = client.read_people([made.id], "account", ["name"], USE)
    assert client.correct(listed.get(), {"name": "Listed"}, USE).entry
    with pytest.raises(ValueError, match="name the one record"):
        client.correct(person, {"name": "Other"}, USE, record=uuid4())
    again = client.read(made.id, "account", FIELDS, USE)
    assert client.correct(again, {"name": "Fourth"}, USE, record=made.record).entry
    assert client.restrict(made.id, USE).entry
    with pytest.raises(errors.Restricted):
        client.read(made.id, "account", FIELDS, USE)
    assert client.lift(made.id, USE).entry
    assert client.read(made.id, "account", ["name"], USE).records[0].values == {"name": "Fourth"}
    erased = client.erase(made.id, USE)
    assert (erased.erased, erased.kept) == (1, 0)
    with pytest.raises(errors.NotFound):
        client.read(made.id, "account", FIELDS, USE)
    assert client.look_up(email, "account", ["name"], USE) is None


def test_policy_and_checkpoint(make: Maker) -> None:
    client = make()
    policy = client.policy()
    assert len(policy.sha256) == 64
    assert set(FIELDS) <= set(policy.datasets["account"])
    assert "provide" in policy.purposes
    assert "integration" in policy.reasons
    client.create(new(), USE)
    checkpoint = client.checkpoint()
    assert checkpoint.size > 0
    assert len(checkpoint.root) == 32
    assert checkpoint.text.startswith(checkpoint.origin + "\n")


def test_each_item_of_a_batch_fails_alone(make: Maker) -> None:
    client = make()
    people = [new(), new(email="no address"), new(undeclared="x"), new()]
    people[3] = NewPerson("account", people[0].values)
    outcomes = client.create_people(people, USE)
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        errors.InvalidValue,
        errors.Undeclared,
        errors.Duplicate,
    ]
    made = outcomes[0].get()
    with pytest.raises(errors.Duplicate):
        outcomes[3].get()
    read = client.read_people([made.id, uuid4()], "account", ["name"], USE)
    assert read[0].get().records[0].values == {"name": "Nour"}
    assert isinstance(read[1].error, errors.NotFound)
    nobody = f"{uuid4().hex}@nobody.example"
    ((name, email),) = [
        (one.records[0].values["name"], one.records[0].values["email"])
        for one in [client.read(made.id, "account", ["name", "email"], USE)]
    ]
    looked = client.look_up_people([email, nobody], "account", ["name"], USE)
    assert looked[0].get().id == made.id
    assert isinstance(looked[1].error, errors.NotFound)
    record = read[0].get().records[0]
    corrected = client.correct_people(
        [Correction(made.id, record, {"name": "Nora"}), Correction(made.id, record, {"name": "Late"})], USE
    )
    assert corrected[0].get().entry
    assert isinstance(corrected[1].error, errors.VersionConflict)
    assert client.correct_people([Correction(made.id, record, {"name": name}, overwrite=True)], USE)[0].get().entry
    assert client.restrict_people([made.id], USE)[0].get().entry
    assert isinstance(client.read_people([made.id], "account", ["name"], USE)[0].error, errors.Restricted)
    assert client.lift_people([made.id], USE)[0].get().entry
    gone = client.erase_people([made.id, uuid4()], USE)
    assert gone[0].get().entry
    assert isinstance(gone[1].error, errors.NotFound)
    for wrong in ([], [uuid4()] * 1001):
        with pytest.raises(ValueError, match="1 to 1000"):
            client.read_people(wrong, "account", ["name"], USE)


def test_a_thousand_at_once(make: Maker) -> None:
    client = make()
    ids = [outcome.get().id for outcome in client.create_people([new() for _ in range(1000)], USE)]
    assert len(set(ids)) == 1000
    assert [outcome.get().id for outcome in client.read_people(ids, "account", ["name"], USE)] == ids


def test_an_export_comes_record_by_record(make: Maker) -> None:
    client = make()
    made = client.create(new(), USE)
    records = list(client.export(made.id, USE))
    assert [(record.record, record.dataset, record.values["name"]) for record in records] == [(made.record, "account", "Nour")]
    with pytest.raises(errors.NotFound):
        list(client.export(uuid4(), USE))


def test_errors_are_typed(make: Maker, live: Live) -> None:
    client, nobody = make(), uuid4()
    with pytest.raises(errors.NotAllowed):
        client.read(nobody, "account", ["name"], Use("improve", "integration"))
    with pytest.raises(errors.Undeclared):
        client.read(nobody, "account", ["salary"], USE)
    with pytest.raises(errors.SessionEnded) as ended:
        make(token="arm_" + "x" * 43).read(nobody, "account", ["name"], USE)
    assert (ended.value.status, ended.value.title) == (401, "Sign in again")
    copy = pickle.loads(pickle.dumps(ended.value))
    assert (type(copy), copy.status, str(copy)) == (errors.SessionEnded, 401, str(ended.value))
    with pytest.raises(errors.Rejected) as rejected:
        client.create(new(name="x" * 70000), USE)
    assert rejected.value.status == 400
    person = new()
    client.create(person, USE, key="mine-" + str(nobody))
    with pytest.raises(errors.IdempotencyKeyReused):
        client.create(new(), USE, key="mine-" + str(nobody))
    with pytest.raises(errors.Duplicate):
        client.create(person, USE)
    with pytest.raises(errors.UnexpectedAnswer):
        make(f"http://localhost:{live.port}").policy()


def test_a_creation_after_a_broken_connection_makes_nobody_twice(make: Maker, live: Live) -> None:
    with breaking(live.port + 2) as proxy:
        client = make(f"http://localhost:{proxy.port}", retry=Retry(first=0.01))
        for pass_on in (0, 40):
            proxy.cuts, proxy.pass_on = 2, pass_on
            person = new()
            made = client.create(person, USE)
            assert proxy.cuts == 0
            found = client.look_up(person.values["email"], "account", ["name"], USE)
            assert (found.id, found.records[0].record) == (made.id, made.record)
        proxy.cuts = 1
        people = [new() for _ in range(20)]
        outcomes = client.create_people(people, USE)
        assert proxy.cuts == 0
        assert len({outcome.get().id for outcome in outcomes}) == 20, "no Duplicate: each is the one that the first sending made"
        proxy.cuts = 1
        assert client.read(made.id, "account", ["name"], USE).id == made.id


def test_nothing_else_is_sent_again(make: Maker, live: Live) -> None:
    with breaking(live.port + 2) as proxy:
        client = make(f"http://localhost:{proxy.port}", retry=Retry(first=0.01))
        made = client.create(new(), USE)
        person: Person = client.read(made.id, "account", ["name"], USE)
        for call in (lambda: client.restrict(made.id, USE), lambda: client.correct(person, {"name": "X"}, USE)):
            proxy.cuts = 1
            with pytest.raises(errors.ConnectionFailed):
                call()
            assert proxy.cuts == 0
        proxy.cuts = 9
        with pytest.raises(errors.ConnectionFailed):
            client.policy()
        assert proxy.cuts == 5, "four sendings, and no more"


def test_an_export_that_breaks_off_says_so(make: Maker, live: Live) -> None:
    with breaking(live.port + 2) as proxy:
        client = make(f"http://localhost:{proxy.port}")
        made = client.create(new(company="C" * 60000), USE)
        proxy.cuts, proxy.pass_on = 1, 700
        with pytest.raises(errors.ConnectionFailed):
            list(client.export(made.id, USE))


def test_the_token_is_shown_nowhere(make: Maker, live: Live, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    file, token = tmp_path / "token", live.token()
    file.write_text(token + "\n")
    client = make(token_file=file)
    assert client.policy().version
    assert token not in repr(client) + repr(vars(client))
    shown = []
    for attempt in (
        lambda: client.read(uuid4(), "account", ["name"], USE),
        lambda: make("http://localhost:9", retry=Retry(attempts=1)).policy(),
        lambda: make(token=token + "\n"),
        lambda: make(token=token + "é"),
        lambda: make("http://example.org"),
        lambda: make(f"http://{token}@localhost"),
        lambda: make(token=token, token_file=file),
    ):
        with pytest.raises((errors.ArmonikaError, ValueError)) as caught:
            attempt()
        error: BaseException | None = caught.value
        shown += traceback.format_exception(caught.value)
        while error is not None:
            shown.append(repr(error) + repr(vars(error)))
            error = error.__cause__ or error.__context__
    assert not [line for line in (*shown, caplog.text) if token in line]


def test_values_are_in_no_repr(make: Maker) -> None:
    client, secret = make(), "Zoubida"
    person = new(name=secret)
    made = client.create(person, USE)
    read = client.read(made.id, "account", FIELDS, USE)
    assert isinstance(read.id, UUID)
    assert secret not in repr(person) + repr(read) + repr(client.read_people([made.id], "account", FIELDS, USE))


async def test_many_calls_at_once_keep_apart(live: Live) -> None:
    async with AsyncClient(live.api, live.token()) as client:
        made = await asyncio.gather(*(client.create(new(name=f"N{number}"), USE) for number in range(40)))
        read = await asyncio.gather(*(client.read(one.id, "account", ["name"], USE) for one in made))
        assert [person.records[0].values["name"] for person in read] == [f"N{number}" for number in range(40)]
        assert [record.values["name"] async for record in client.export(made[7].id, USE)] == ["N7"]
