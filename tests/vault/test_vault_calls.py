"""Every call of the vault, synchronous and asynchronous, on the real database: what it gives, each error by its type, and the entry that it leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from armonika.trust.vault import AsyncVault, reader
from armonika.trust.vault.errors import (
    Duplicate,
    Forbidden,
    Invalid,
    KeysChanged,
    KeyUnavailable,
    Refused,
    Restricted,
    SessionEnded,
    Unavailable,
    Undeclared,
    VersionConflict,
)
from armonika.trust.vault.types import Ask, Find
from tests.doors import Doors
from tests.vault.both import NOBODY, USE, Both, account, entries, made


@pytest.fixture(scope="module", params=[False, True], ids=["sync", "async"])
def vault(request: pytest.FixtureRequest, doors: Doors) -> Iterator[Both]:
    made = Both(doors, request.param)
    yield made
    made.finish()


def test_a_life_in_the_vault(vault: Both, doors: Doors) -> None:
    token, record = doors.token, account()
    (one,) = made(vault, record, reference="A-1")
    assert entries(doors, one.subject) == [("create", True, *USE, "A-1", "account", one.audit_id)]
    (read,) = vault.read(token, one.subject, "account", ["name", "email"], *USE, "A-2")
    assert (read.subject, read.record, read.dataset, read.versions) == (
        one.subject,
        one.record,
        "account",
        {"name": 1, "email": 1},
    )
    assert read.values == {"name": "N", "email": record.values["email"]}
    assert entries(doors, one.subject)[-1] == ("read", True, *USE, "A-2", "account", read.ticket)
    assert len(vault.read(token, one.subject, "account", ["name"], *USE, None, one.record)) == 1
    assert vault.read(token, one.subject, "account", ["name"], *USE, record=uuid4()) == []
    number = vault.correct(token, one.subject, one.record, {"name": "M", "phone": "5"}, *USE, "A-3", origin="operator")
    assert entries(doors, one.subject)[-1] == ("correct", True, *USE, "A-3", "account", number)
    assert entries(doors, one.subject)[-2][:5] == ("release", True, *USE, "A-3")
    (read,) = vault.read(token, one.subject, "account", ["name", "phone"], *USE)
    assert (read.values, read.versions) == ({"name": "M", "phone": "5"}, {"name": 2, "phone": 1})
    assert vault.correct(token, one.subject, one.record, {"name": "L"}, *USE, dataset="account", expected={"name": 2})
    with pytest.raises(VersionConflict):
        vault.correct(token, one.subject, one.record, {"name": "K"}, *USE, expected={"name": 2})
    (found,) = vault.find(token, "account", "email", record.values["email"].upper(), ["name"], *USE, "A-4")
    assert found.values == {"name": "L"}
    assert entries(doors, one.subject)[-1] == ("find", True, *USE, "A-4", "account", found.ticket)
    assert vault.find(token, "account", "email", f"{uuid4().hex}@org.example", ["name"], *USE) == []
    number = vault.restrict(token, one.subject, True, *USE, "A-5")
    assert entries(doors, one.subject)[-1] == ("restrict", True, *USE, "A-5", None, number)
    with pytest.raises(Restricted):
        vault.read(token, one.subject, "account", ["name"], *USE)
    with pytest.raises(Restricted):
        vault.correct(token, one.subject, one.record, {"name": "K"}, *USE)
    assert vault.restrict(token, one.subject, False, *USE)
    assert vault.read(token, one.subject, "account", ["name"], *USE)
    (erased,) = vault.erase(token, [one.subject], *USE, "A-6")
    assert (erased[0], *erased[2:]) == (one.subject, 1, 0)
    assert entries(doors, one.subject)[-1] == ("erase", True, *USE, "A-6", None, erased[1])
    with pytest.raises(Refused):
        vault.read(token, one.subject, "account", ["name"], *USE)


def test_a_refused_write_is_an_entry(vault: Both, doors: Doors) -> None:
    token, nobody = doors.token, uuid4()
    for operation, dataset, call in (
        ("create", "account", lambda: vault.create(token, *USE, [account(subject=nobody, kind=None, org=None)])), ("restrict", None, lambda: vault.restrict(token, nobody, True, *USE)),
        ("erase", None, lambda: vault.erase(token, [nobody], *USE)), ("erase", None, lambda: vault.erase_records(token, [(nobody, nobody)], *USE)),
    ):  # fmt: skip
        with pytest.raises(Refused):
            call()
        assert entries(doors, nobody)[-1][:6] == (operation, False, *USE, None, dataset)
    assert len(entries(doors, nobody)) == 4
    with pytest.raises(Refused):
        vault.correct(token, nobody, nobody, {"name": "M"}, *USE)
    assert entries(doors, nobody)[-1][:2] == ("release", False)
    (one,) = made(vault)
    with pytest.raises(Refused):
        vault.correct(token, one.subject, uuid4(), {"name": "M"}, *USE)


def test_each_error_has_its_type(vault: Both, doors: Doors) -> None:
    token, (one,) = doors.token, made(vault)
    read = vault.read
    for kind, call in (
        (SessionEnded, lambda: read(NOBODY, one.subject, "account", ["name"], *USE)), (SessionEnded, lambda: vault.create(NOBODY, *USE, [account()])),
        (SessionEnded, lambda: vault.erase(NOBODY, [one.subject], *USE)), (SessionEnded, lambda: vault.restrict(NOBODY, one.subject, True, *USE)), (SessionEnded, lambda: vault.whoami(NOBODY)),
        (SessionEnded, lambda: vault.find(NOBODY, "account", "email", "a@b.dz", ["name"], *USE)), (SessionEnded, lambda: vault.correct(NOBODY, one.subject, one.record, {"name": "M"}, *USE)),
        (Forbidden, lambda: read(token, one.subject, "account", ["name"], "improve", "integration")), (Undeclared, lambda: read(token, one.subject, "account", ["salary"], *USE)),
        (Undeclared, lambda: read(token, one.subject, "account", ["name"], "profiling", "integration")), (Undeclared, lambda: vault.find(token, "account", "name", "N", ["name"], *USE)),
        (Forbidden, lambda: vault.find(token, "account", "email", "a@b.dz", ["name"], "legal", "rights-request")),
        (Invalid, lambda: vault.find(token, "account", "email", "no address", ["name"], *USE)), (Undeclared, lambda: vault.correct(token, one.subject, one.record, {"salary": "1"}, *USE)),
        (Invalid, lambda: vault.create(token, *USE, [account(values={"name": "\0"})])), (Undeclared, lambda: vault.create(token, *USE, [account(kind=None)])),
        (Undeclared, lambda: vault.erase(token, [one.subject], "profiling", "integration")), (Undeclared, lambda: vault.restrict(token, one.subject, True, "provide", "nothing")),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
    record = account()
    made(vault, record)
    with pytest.raises(Duplicate):
        made(vault, account(values={"email": record.values["email"]}))
    with pytest.raises(Duplicate):
        vault.correct(token, one.subject, one.record, {"email": record.values["email"]}, *USE)


def test_a_search_where_the_door_has_no_part_is_an_entry(vault: Both, doors: Doors) -> None:
    with doors.admin() as admin:
        (last,) = admin.execute("SELECT max(audit_id) FROM vault.audit").fetchone() or (0,)
    with pytest.raises(Forbidden, match="no part in the compartment"):
        vault.find(doors.token, "applicant", "email", "a@b.example", ["name"], *USE)
    with doors.admin() as admin:
        found = admin.execute(
            "SELECT o.name, a.granted, a.subject, d.name, p.name, r.name FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.dataset d ON d.id = a.dataset "
            "JOIN vault.purpose p ON p.id = a.purpose JOIN vault.reason r ON r.id = a.reason WHERE a.audit_id > %s", (last,),
        ).fetchall()  # fmt: skip
    assert found == [("find", False, None, "applicant", *USE)]


def test_many_at_once_keep_apart(vault: Both, doors: Doors) -> None:
    token, people = doors.token, made(vault, *[account(values={"name": f"N{n}"}) for n in range(5)])
    asks = [Ask(token, one.subject, "account", ["name"], *USE) for one in people]
    asks[1:1] = [
        Ask(token, uuid4(), "account", ["name"], *USE),
        Ask(NOBODY, people[0].subject, "account", ["name"], *USE),
        Ask(token, people[0].subject, "nothing", ["name"], *USE),
    ]
    results = vault.read_many(asks)
    assert [type(result.error) for result in results] == [type(None), Refused, SessionEnded, Undeclared, *[type(None)] * 4]
    assert [result.records[0].values["name"] for result in results if result.error is None] == [f"N{n}" for n in range(5)]
    assert vault.read_many([]) == []
    assert [type(result.error) for result in vault.read_many([asks[3]])] == [Undeclared]


def test_what_a_token_is(vault: Both, doors: Doors) -> None:
    actor = vault.whoami(doors.token)
    assert (actor.role, actor.kind, actor.org_id) == ("integration", "token", None)
    assert actor.expires_at > actor.auth_at
    versions = vault.policies()
    assert [version[3] for version in versions].count(True) == 1
    assert all(len(version) == 4 and len(version[2]) == 64 for version in versions)


def test_single_records_end(vault: Both, doors: Doors) -> None:
    (one,) = made(vault)
    ((record, number),) = vault.erase_records(doors.token, [(one.subject, one.record), (one.subject, uuid4())], *USE, "A-7")
    assert record == one.record
    done, refused = entries(doors, one.subject)[-2:]
    assert done == ("erase", True, *USE, "A-7", "account", number)
    assert refused[:4] == ("erase", False, *USE), "what was not there beside it has its entry"
    assert vault.read(doors.token, one.subject, "account", ["name"], *USE) == []


def test_who_is_refused_beside_others_has_an_entry(vault: Both, doors: Doors) -> None:
    (one,), nobody = made(vault), uuid4()
    ((whom, number, _, _),) = vault.erase(doors.token, [nobody, one.subject], *USE, "A-7")
    assert whom == one.subject
    assert entries(doors, one.subject)[-1] == ("erase", True, *USE, "A-7", None, number)
    assert [entry[:4] for entry in entries(doors, nobody)] == [("erase", False, *USE)]


def test_an_event_is_told_and_taken_back(vault: Both, doors: Doors) -> None:
    (one,), use = made(vault), ("provide", "period-begins")
    number = vault.event(doors.token, one.subject, one.record, *use, "A-8")
    assert entries(doors, one.subject)[-1] == ("event", True, *use, "A-8", "account", number)
    number = vault.withdraw_event(doors.token, one.subject, one.record, *use, "A-9")
    assert entries(doors, one.subject)[-1] == ("event-withdrawn", True, *use, "A-9", "account", number)
    for call in (vault.event, vault.withdraw_event):
        before = len(entries(doors, one.subject))
        with pytest.raises(Refused):
            call(doors.token, one.subject, uuid4(), *use, "A-10")
        assert entries(doors, one.subject)[before:] == [("event", False, *use, None, None, entries(doors, one.subject)[-1][6])]


class Flaky:
    """Work that the keys change under, some times."""

    def __init__(self, times: int, error: type[Exception]) -> None:
        self.times, self.error, self.tries = times, error, 0

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.times:
            raise self.error("x")
        return "done"

    async def later(self) -> str:
        return self()


def test_a_call_goes_through_three_changes_of_keys_and_not_four(vault: Both, doors: Doors) -> None:
    assert (reader.KEY_CHANGES, reader.CATALOGUE_SECONDS) == (3, 5.0)
    for kind in (KeysChanged, KeyUnavailable):
        for times in range(5):
            work = Flaky(times, kind)
            call = work.later if isinstance(vault.vault, AsyncVault) else work
            if times <= 3:
                assert vault._again(call) == "done"
            else:
                with pytest.raises(kind):
                    vault._again(call)
            assert work.tries == min(times, 3) + 1
    work = Flaky(1, Undeclared)
    with pytest.raises(Undeclared):
        vault._again(work.later if isinstance(vault.vault, AsyncVault) else work)
    vault._again(Flaky(1, KeysChanged).later if isinstance(vault.vault, AsyncVault) else Flaky(1, KeysChanged))
    assert vault.vault._known is None, "the catalogue is looked at again"


def test_which_secrets_prove_somebody_at_this_door_now(vault: Both, doors: Doors) -> None:
    if not isinstance(vault.vault, AsyncVault):
        pytest.skip("only who answers many at once asks for many at once")
    assert vault.living([doors.token, NOBODY, doors.site.service]) == {doors.token}
    assert vault.living([NOBODY]) == vault.living([]) == frozenset()


@pytest.mark.parametrize(("times", "error"), [(15, None), (16, Unavailable)])
def test_a_correction_that_expects_nothing_is_overtaken_so_often_at_most(
    vault: Both, doors: Doors, monkeypatch: pytest.MonkeyPatch, times: int, error: type[Exception] | None
) -> None:
    if not isinstance(vault.vault, AsyncVault):
        pytest.skip("who waits for each call repeats none of its own accord")
    (one,) = made(vault)
    real, left = vault.vault._again, [times]

    async def overtaken(work: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise VersionConflict
        return await real(work)

    monkeypatch.setattr(vault.vault, "_again", overtaken)
    if error is None:
        assert vault.correct(doors.token, one.subject, one.record, {"name": "M"}, *USE, dataset="account")
    else:
        with pytest.raises(error, match="again and again"):
            vault.correct(doors.token, one.subject, one.record, {"name": "M"}, *USE, dataset="account")


def test_the_catalogue_is_kept_five_seconds(vault: Both, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    made(vault)
    first = vault.vault._known[1]
    for age, same in ((4.0, True), (6.0, False)):
        vault.vault._known = (time.monotonic() - age, first)
        made(vault)
        assert (vault.vault._known[1] is first) == same, age
        first = vault.vault._known[1]


def test_a_door_without_a_policy_in_force_says_so(vault: Both, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(*_: object) -> list[tuple[None]]:
        return [(None,)]

    if isinstance(vault.vault, AsyncVault):
        monkeypatch.setattr(vault.vault, "_rows", later)
    else:
        monkeypatch.setattr(vault.vault._store, "rows", lambda *_, **__: [(None,)])
    monkeypatch.setattr(vault.vault, "_known", None)
    with pytest.raises(Unavailable, match="no policy is in force"):
        made(vault)


def test_a_key_that_moved_meanwhile_is_asked_for_again(vault: Both, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    record = account()
    (one,) = made(vault, record)
    envelope = vault.vault._envelope
    real, failing = envelope.open, [2]

    def once(*words: Any) -> Any:
        if failing[0] > 0:
            failing[0] -= 1
            raise KeyUnavailable("moved")
        return real(*words)

    monkeypatch.setattr(envelope, "open", once)
    failing[0] = 1
    results = vault.read_many(
        [Ask(doors.token, one.subject, "account", ["name"], *USE), Ask(doors.token, uuid4(), "account", ["name"], *USE)]
    )
    assert [type(result.error) for result in results] == [type(None), Refused]
    assert results[0].records[0].values == {"name": "N"}
    failing[0] = 2
    with pytest.raises(KeyUnavailable):
        vault.read(doors.token, one.subject, "account", ["name"], *USE)
    failing[0] = 99
    with pytest.raises(KeyUnavailable):
        vault.find(doors.token, "account", "email", record.values["email"], ["name"], *USE)


def test_look_ups_of_many_at_once(doors: Doors) -> None:
    both = Both(doors, True)
    try:
        records = [account(values={"name": f"N{n}"}) for n in range(3)]
        made(both, *records)
        emails = [record.values["email"] for record in records]

        def find(email: str, **more: Any) -> Find:
            return Find(
                **(
                    {
                        "secret": doors.token,
                        "dataset": "account",
                        "field": "email",
                        "value": email,
                        "fields": ["name"],
                        "purpose": "provide",
                        "reason": "integration",
                    }
                    | more
                )
            )

        finds = [
            find(emails[2]),
            find("no address"),
            find(emails[0]),
            find("a@b.example"),
            find(emails[1], fields=["company"]),
            find(emails[1], secret=NOBODY),
            find(emails[1], dataset="nothing"),
            find(emails[1]),
        ]
        results = both.find_many(finds)
        assert [type(result.error) for result in results] == [
            type(None),
            Invalid,
            type(None),
            type(None),
            type(None),
            SessionEnded,
            Undeclared,
            type(None),
        ]
        assert [[dict(record.values) for record in result.records] for result in results if result.error is None] == [
            [{"name": "N2"}],
            [{"name": "N0"}],
            [],
            [{"company": "C"}],
            [{"name": "N1"}],
        ]
        assert both.find_many([]) == []
        assert [type(result.error) for result in both.find_many([find("no address")])] == [Invalid]
        first = made(both)[0]
        assert both.made(doors.token, first.subject, first.record) == first.audit_id
        assert both.made(doors.token, first.subject, uuid4()) == -1
        assert both.made(doors.token, uuid4(), first.record) is None
        assert [both.takes_part(name) for name in ("account", "applicant", "nothing")] == [True, False, True]
    finally:
        both.finish()
