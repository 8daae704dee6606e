"""Requests that meet each other: the same key at once and after an erasure, corrections at once, an erasure among them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx

from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.api.test_batches import people


def test_a_creation_that_is_sent_again_after_an_erasure_gets_the_first_answer(api: httpx.Client) -> None:  # noqa: F811
    """The key was used up; who was erased stays erased."""
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    body = {**USE, **people(1)[0]}
    first = api.post("/v1/people", json=body, headers=key)
    person = f"/v1/people/{first.json()['id']}"
    assert api.delete(person, params=USE).status_code == 200
    again = api.post("/v1/people", json=body, headers=key)
    assert (again.status_code, again.text) == (201, first.text)
    problem(api.get(person, params=READ), 404)
    other = problem(api.post("/v1/people", json={**USE, **people(1)[0]}, headers=key), 422)
    assert other["type"] == "urn:armonika:problem:idempotency-key-reused"


def test_a_batch_that_is_sent_again_after_an_erasure_is_not_refused_whole(api: httpx.Client) -> None:  # noqa: F811
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    batch = {**USE, "people": people(4)}
    first = api.post("/v1/people/batch", json=batch, headers=key).json()
    made = [result["made"]["id"] for result in first["results"]]
    assert api.delete(f"/v1/people/{made[1]}", params=USE).status_code == 200
    again = api.post("/v1/people/batch", json=batch, headers=key)
    assert (again.status_code, again.json()) == (200, first)
    longer = {**batch, "people": [*batch["people"], *people(2)]}  # type: ignore[misc]
    results = api.post("/v1/people/batch", json=longer, headers=key).json()["results"]
    assert results[:4] == first["results"]
    assert [result["status"] for result in results[4:]] == [201, 201]
    assert api.post("/v1/people/erase", json={**USE, "people": made}).status_code == 200
    assert api.post("/v1/people/batch", json=batch, headers=key).json() == first, "all gone"


def test_corrections_at_once_that_expect_no_version_are_all_made(api: httpx.Client) -> None:  # noqa: F811
    """412 is for those who sent a condition (RFC 9110 §15.5.13)."""
    made = create(api)
    person = f"/v1/people/{made['id']}"
    item = {"record": made["record"], "dataset": "account"}

    def correct(number: int) -> httpx.Response:
        if number % 4:
            return api.patch(person, json={**USE, **item, "values": {"name": f"N{number}"}})
        items = [{**item, "person": made["id"], "values": {"name": f"B{number}.{each}"}} for each in range(5)]
        return api.post("/v1/people/correct", json={**USE, "corrections": items})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(correct, range(36)))
    assert Counter(answer.status_code for answer in answers) == {200: 36}
    assert {result["status"] for answer in answers if "results" in answer.json() for result in answer.json()["results"]} == {200}
    version = api.get(person, params=READ).json()["records"][0]["versions"]["name"]
    assert version == 1 + 27 + 9 * 5, "each is a version of its own"
    etag = api.get(person, params=READ).headers["etag"]

    def expecting(number: int) -> int:
        body = {**USE, **item, "values": {"name": f"E{number}"}}
        return api.patch(person, json=body, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(expecting, range(12))) == {200: 1, 412: 11}


def test_an_erasure_among_other_requests_leaves_nobody_half_there(api: httpx.Client) -> None:  # noqa: F811
    made = [result["made"] for result in api.post("/v1/people/batch", json={**USE, "people": people(10)}).json()["results"]]
    ids = [one["id"] for one in made]
    corrections = [{"person": one["id"], "record": one["record"], "dataset": "account", "values": {"name": "M"}} for one in made]
    calls = [
        ("read", {"dataset": "account", "fields": ["name"], "people": ids * 5}), ("erase", {"people": ids}), ("restrict", {"restricted": True, "people": ids}),
        ("correct", {"corrections": corrections}), ("erase", {"people": [*ids, ids[0]]}),
    ]  # fmt: skip
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda call: api.post(f"/v1/people/{call[0]}", json={**USE, **call[1]}), calls))
    assert {answer.status_code for answer in answers} == {200}
    seen = Counter(result["status"] for answer in answers for result in answer.json()["results"])
    assert set(seen) <= {200, 404, 423}
    erased = [
        results
        for call, answer in zip(calls, answers, strict=True)
        if call[0] == "erase"
        for results in answer.json()["results"][:10]
    ]
    assert Counter(result["status"] for result in erased) == {200: 10, 404: 10}, "each once"
    for one in ids:
        problem(api.get(f"/v1/people/{one}", params=READ), 404)
        problem(api.get(f"/v1/people/{one}/export", params=USE), 404)
