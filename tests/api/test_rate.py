"""The rate limit: told in every answer, kept for each token alone, before any work, and over after a time."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armonika import settings
from armonika.client import Client, NewPerson, Use, errors
from armonika.doors.api.meter import Meter, Metered
from armonika.doors.api.problems import QuotaExceeded, TooManyItems
from armonika.rules.rate import SECOND, Rate
from tests.api.test_api import READ, USE, api, create  # noqa: F401 (a fixture)
from tests.live import Live, running

FIELD = re.compile(r'"default";r=(\d+);t=(\d+)')


def held(answer: httpx.Response) -> int:
    found = FIELD.fullmatch(answer.headers["ratelimit"])
    assert found, answer.headers["ratelimit"]
    return int(found[1])


def test_every_answer_tells(api: httpx.Client, live: Live) -> None:  # noqa: F811
    person = create(api)["id"]
    short = f"/v1/people/{person}?dataset=account&fields=name&purpose=provide&reason=integration"
    answers = [
        api.get(short), api.get(f"/v1/people/{person}", params=READ), api.get(f"/v1/people/{uuid4()}", params=READ), api.get("/v1/policy"), api.get("/v1/nothing"),
        api.put("/v1/people", json={}), api.post("/v1/people", content=b"{", headers={"Content-Type": "application/json"}), api.get("/schema/openapi.json"),
        api.get(f"/v1/people/{person}/export", params=USE), httpx.get(live.api + short), httpx.get(f"{live.api}/log/checkpoint"), httpx.get(f"{live.api}/healthz"),
        httpx.get(live.api + short, headers={"Authorization": "Bearer " + "x" * 43}),
    ]  # fmt: skip
    assert {200, 400, 401, 404, 405} <= {answer.status_code for answer in answers}
    for answer in answers:
        assert answer.headers.get_list("ratelimit-policy") == ['"default";q=1200000;w=60'], answer.request.url
        assert len(answer.headers.get_list("ratelimit")) == 1
        assert 0 < held(answer) <= 1_200_000


def run(app: Any, token: str | None, path: str = "/") -> tuple[int, dict[str, str]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    asyncio.run(app({"type": "http", "path": path, "headers": headers}, None, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_each_caller_has_its_own_count_and_gets_it_back() -> None:
    now, worked = [10**15], 0

    async def following(scope: Any, receive: Any, send: Any) -> None:
        nonlocal worked
        worked += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Metered(following, Meter(Rate.of(3), clock=lambda: now[0]))
    one, other = "arm_" + "a" * 43, "arm_" + "b" * 43
    told = [run(app, one) for _ in range(5)]
    assert [status for status, _ in told] == [200, 200, 200, 429, 429]
    assert [headers["ratelimit"] for _, headers in told] == [f'"default";r={left};t=20' for left in (2, 1, 0, 0, 0)]
    assert worked == 3, "a refused request reaches nobody"
    refused = told[3][1]
    assert refused["content-type"] == "application/problem+json"
    assert 20 <= int(refused["retry-after"]) <= 21
    assert run(app, other)[0] == 200
    assert [run(app, None)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert run(app, "short")[0] == 429, "whatever is no token counts as one caller"
    assert run(app, None, "/healthz")[0] == 200
    now[0] += int(refused["retry-after"]) * SECOND
    assert [run(app, one)[0] for _ in range(2)] == [200, 429]
    now[0] += 60 * SECOND
    assert run(app, one) == (200, {"ratelimit-policy": '"default";q=3;w=60', "ratelimit": '"default";r=2;t=20'})


def test_the_table_is_bounded_and_keeps_those_who_ask() -> None:
    meter = Meter(Rate.of(1000), clock=lambda: 10**15, most=10)
    for number in range(500):
        meter.charge(b"busy", 1)
        meter.charge(str(number).encode(), 1)
        assert len(meter._paid_off) <= 10
    assert meter.state(b"busy").startswith(b'"default";r=500;')
    assert meter.state(b"0").startswith(b'"default";r=1000;')
    with pytest.raises(QuotaExceeded):
        meter.charge(b"busy", 501)
    assert meter.state(b"busy").startswith(b'"default";r=500;'), "a refusal costs nothing"


def test_who_used_up_its_quota_does_not_get_it_back_by_asking_with_invented_tokens() -> None:
    now = 10**15
    meter = Meter(Rate.of(1000), clock=lambda: now, most=100)
    for caller in (b"spent", b"spent too"):
        meter.charge(caller, 1000)
    for number in range(1000):
        meter.charge(b"invented %d" % number, 1)
    for caller in (b"spent", b"spent too"):
        with pytest.raises(QuotaExceeded):
            meter.charge(caller, 1)
    assert len(meter._paid_off) <= 100


@given(st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(1, 12)), max_size=40))
def test_what_is_told_is_what_is_granted(steps: list[tuple[int, int]]) -> None:
    """At every moment, across the borders of the window: as many as remain are granted and no more, and a refused one fits after its wait and not before."""
    rate, now = Rate.of(10), [10**15]
    meter = Meter(rate, clock=lambda: now[0])
    for pause, units in steps:
        now[0] += pause
        found = FIELD.fullmatch(meter.state(b"one").decode())
        assert found
        remain, seconds = int(found[1]), int(found[2])
        assert 0 <= remain <= 10
        assert (seconds == 0) == (remain == 10)
        try:
            meter.charge(b"one", units)
        except TooManyItems:
            assert units > 10
        except QuotaExceeded as exceeded:
            assert remain < units <= 10
            kept, wait = now[0], int(exceeded.retry_after * SECOND)
            now[0] = kept + wait - SECOND // 1000
            with pytest.raises(QuotaExceeded):
                meter.charge(b"one", units)
            # What Retry-After says: whole seconds.
            now[0] = kept + (int(exceeded.retry_after) + 1) * SECOND
            meter.charge(b"one", units)
        else:
            assert units <= remain
        assert meter.state(b"other") == b'"default";r=10;t=0', "nobody pays for another"


class Counted(bytes):
    """A caller; each look for one in a table is counted."""

    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return super().__hash__()


@pytest.mark.parametrize("most", [16, 4096])
def test_it_costs_the_same_however_many_callers_there_are(most: int) -> None:
    clock: list[int] = []
    meter = Meter(Rate.of(1_200_000), clock=lambda: clock.append(1) or SECOND, most=most)  # type: ignore[func-returns-value]
    for number in range(most + 10):
        Counted.looks = 0
        clock.clear()
        caller = Counted(str(number).encode())
        meter.charge(caller, 1)
        meter.state(caller)
        assert len(clock) == 2
        assert Counted.looks <= 24


def test_a_small_limit_holds_in_the_running_system() -> None:
    with running({"ARMONIKA_API_RATE": "20"}) as live:
        use, people = Use(**USE), [NewPerson("account", {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}) for _ in range(21)]  # fmt: skip
        with Client(live.api, live.token()) as client:
            with pytest.raises(errors.TooManyItems) as large:
                client.create_people(people, use)
            assert "at most 20" in large.value.detail
            made = [outcome.get() for outcome in client.create_people(people[:15], use)]
            with pytest.raises(errors.QuotaExceeded) as exceeded:
                client.read_people([one.id for one in made], "account", ["name"], use)
            assert exceeded.value.retry_after is not None
            assert 30 <= exceeded.value.retry_after <= 46, "15 items of which few are left, three seconds each"
            with pytest.raises(errors.QuotaExceeded) as exceeded:
                for _ in range(6):
                    client.read(made[0].id, "account", ["name"], use)
            assert exceeded.value.retry_after is not None
            assert 1 <= exceeded.value.retry_after <= 4
            with httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {live.token()}"}) as plain:
                for _ in range(3):
                    told = plain.head(f"/v1/people/{uuid4()}")
                    assert (told.status_code, told.content) == (429, b""), "and nothing stands where the next answer begins"
            time.sleep(exceeded.value.retry_after)
            assert client.read(made[0].id, "account", ["name"], use).id == made[0].id
            with pytest.raises(errors.SessionEnded), Client(live.api, "arm_" + "x" * 43) as stranger:
                stranger.read(made[0].id, "account", ["name"], use)


def test_the_setting_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load().api_rate == settings.API_RATE
    for wrong in ("0", "-5", "many", "٣", "9" * 12):
        monkeypatch.setenv("ARMONIKA_API_RATE", wrong)
        with pytest.raises(settings.SettingsError, match="ARMONIKA_API_RATE"):
            settings.load()
