"""Batches with a result for each item, requests sent twice, corrections by version, exports as a stream, bounded tokens, and the log for everybody."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from armonika.store.embedded import Embedded
from tests.api.test_api import READ, USE, api, create, problem  # noqa: F401 (a fixture)
from tests.live import Live


def people(count: int) -> list[dict[str, object]]:
    return [
        {"dataset": "account", "values": {"name": f"N{n}", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"}}
        for n in range(count)
    ]


def test_a_thousand_are_made_and_read_at_once_and_one_more_is_refused(api: httpx.Client) -> None:  # noqa: F811
    answer = api.post("/v1/people/batch", json={**USE, "people": people(1000)})
    assert answer.status_code == 200, answer.text
    made = answer.json()["results"]
    assert [item["status"] for item in made] == [201] * 1000
    ids = [item["made"]["id"] for item in made]
    assert len(set(ids)) == 1000
    read = api.post("/v1/people/read", json={**USE, "dataset": "account", "fields": ["name"], "people": ids}).json()["results"]
    assert [item["person"]["records"][0]["values"]["name"] for item in read] == [f"N{n}" for n in range(1000)]
    assert len({item["person"]["records"][0]["entry"] for item in read}) == 1000, "an entry for each"
    problem(api.post("/v1/people/batch", json={**USE, "people": people(1001)}), 400)
    problem(api.post("/v1/people/batch", json={**USE, "people": []}), 400)


def test_each_item_fails_alone(api: httpx.Client) -> None:  # noqa: F811
    given = people(9)
    given[2]["values"]["email"] = "no address"  # type: ignore[index]
    given[4]["values"]["undeclared"] = "x"  # type: ignore[index]
    given[6]["values"]["email"] = given[5]["values"]["email"]  # type: ignore[index]
    given[8]["dataset"] = "nothing"
    results = api.post("/v1/people/batch", json={**USE, "people": given}).json()["results"]
    assert [item["status"] for item in results] == [201, 201, 422, 201, 422, 201, 409, 201, 422]
    assert results[6]["problem"]["type"].endswith("duplicate")
    ids = [results[0]["made"]["id"], str(uuid4()), results[1]["made"]["id"]]
    read = api.post("/v1/people/read", json={**USE, "dataset": "account", "fields": ["name"], "people": ids}).json()["results"]
    assert [item["status"] for item in read] == [200, 404, 200]
    erased = api.post("/v1/people/erase", json={**USE, "people": ids}).json()["results"]
    assert [item["status"] for item in erased] == [200, 404, 200]
    assert [item["status"] for item in api.post("/v1/people/erase", json={**USE, "people": ids}).json()["results"]] == [404] * 3


def test_look_ups_corrections_and_restrictions_fail_alone(api: httpx.Client) -> None:  # noqa: F811
    given = people(3)
    made = [item["made"] for item in api.post("/v1/people/batch", json={**USE, "people": given}).json()["results"]]
    emails = [item["values"]["email"] for item in given]  # type: ignore[index]

    def found() -> list[dict[str, Any]]:
        asked = [emails[0].upper(), f"{uuid4().hex}@org.example", "no address", emails[2], emails[2]]
        body = {**USE, "dataset": "account", "fields": ["name"], "emails": asked}
        results: list[dict[str, Any]] = api.post("/v1/lookups/batch", json=body).json()["results"]
        return results

    first = found()
    assert [item["status"] for item in first] == [200, 404, 422, 200, 200]
    assert [first[number]["person"]["id"] for number in (0, 3, 4)] == [made[0]["id"], made[2]["id"], made[2]["id"]]
    entries = [item["person"]["records"][0]["entry"] for item in first if "person" in item]
    assert len(set(entries)) == 3, "an entry for each look-up"

    def correction(number: int, name: str, version: int | None) -> dict[str, object]:
        item = {"person": made[number]["id"], "record": made[number]["record"], "dataset": "account", "values": {"name": name}}
        return item | ({} if version is None else {"versions": {"name": version}})

    wanted = [
        correction(0, "A", 1),
        correction(1, "B", 2),
        {**correction(1, "C", 1), "person": str(uuid4())},
        correction(2, "D", None),
    ]
    results = api.post("/v1/people/correct", json={**USE, "corrections": wanted}).json()["results"]
    assert [item["status"] for item in results] == [200, 412, 404, 200]
    read = api.post(
        "/v1/people/read", json={**USE, "dataset": "account", "fields": ["name"], "people": [one["id"] for one in made]}
    ).json()["results"]
    assert [item["person"]["records"][0]["values"]["name"] for item in read] == ["A", "N1", "D"]
    ids = [made[0]["id"], str(uuid4()), made[1]["id"]]
    for restricted, status in ((True, 423), (False, 200)):
        results = api.post("/v1/people/restrict", json={**USE, "restricted": restricted, "people": ids}).json()["results"]
        assert [item["status"] for item in results] == [200, 404, 200]
        assert api.get(f"/v1/people/{made[0]['id']}", params=READ).status_code == status
    for path, body in (
        ("correct", {"corrections": []}),
        ("restrict", {"restricted": True, "people": []}),
        ("restrict", {"people": ids}),
    ):
        problem(api.post(f"/v1/people/{path}", json={**USE, **body}), 400)


def test_look_ups_at_once_each_get_their_own(api: httpx.Client) -> None:  # noqa: F811
    given = people(40)
    made = api.post("/v1/people/batch", json={**USE, "people": given}).json()["results"]
    fields = [["name"], ["name", "email"]]

    def look_up(number: int) -> dict[str, Any]:
        body = {**USE, "dataset": "account", "fields": fields[number % 2], "email": given[number]["values"]["email"]}  # type: ignore[index]
        if number % 5 == 0:
            body["purpose"] = "billing"
        return {"status": (answer := api.post("/v1/lookups", json=body)).status_code, **answer.json()}

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(look_up, range(40)))
    for number, answer in enumerate(answers):
        if number % 5 == 0:
            assert answer["status"] in (403, 422), "refused for its own purpose alone"
            continue
        (person,) = answer["people"]
        assert person["id"] == made[number]["made"]["id"]
        assert sorted(person["records"][0]["values"]) == sorted(fields[number % 2])


def test_a_request_sent_again_is_done_once(api: httpx.Client) -> None:  # noqa: F811
    key = {"Idempotency-Key": f'"{uuid4()}"'}
    body = {**USE, **people(1)[0]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/people", json=body, headers=key), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    other = {**body, "values": {**body["values"], "name": "Other"}}  # type: ignore[dict-item]
    assert problem(api.post("/v1/people", json=other, headers=key), 422)["type"] == "urn:armonika:problem:idempotency-key-reused"
    problem(api.post("/v1/people", json=body), 409)
    batch = {**USE, "people": people(5)}
    first = api.post("/v1/people/batch", json=batch, headers=key).json()
    assert api.post("/v1/people/batch", json=batch, headers=key).json() == first
    for bad in ("", "x" * 256, "\x7f"):
        assert api.post("/v1/people", json=body, headers=[("Idempotency-Key", bad)]).status_code in (400, 422)


def test_a_correction_names_the_version_that_it_saw(api: httpx.Client) -> None:  # noqa: F811
    made = create(api)
    person = f"/v1/people/{made['id']}"
    body = {"dataset": "account", "record": made["record"], "values": {"name": "First"}, **USE}
    tag = api.get(person, params=READ).headers["etag"]
    assert api.patch(person, json=body, headers={"If-Match": tag}).status_code == 200
    problem(api.patch(person, json={**body, "values": {"name": "Second"}}, headers={"If-Match": tag}), 412)
    fresh = api.get(person, params=READ).headers["etag"]
    assert fresh != tag
    assert (
        api.patch(person, json={**body, "values": {"name": "Second"}}, headers={"If-Match": f'"old", {fresh}'}).status_code == 200
    )
    problem(api.patch(person, json=body, headers={"If-Match": '"nonsense"'}), 412)
    problem(api.patch(person, json=body, headers={"If-Match": f"W/{fresh}"}), 412)
    assert api.patch(person, json={**body, "values": {"name": "Third"}}, headers={"If-Match": "*"}).status_code == 200


def test_an_export_is_a_stream_of_lines(api: httpx.Client, live: Live) -> None:  # noqa: F811
    made = create(api)
    with api.stream("GET", f"/v1/people/{made['id']}/export", params=USE) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        *lines, last = [json.loads(line) for line in answer.iter_lines() if line]
    assert [line["dataset"] for line in lines] == ["account"]
    assert lines[0]["values"]["name"] == "Nour"
    assert lines[0]["entry"]
    assert last == {"end": True, "person": made["id"], "records": 1}
    problem(api.get(f"/v1/people/{uuid4()}/export", params=USE), 404)
    # To HTTP/1.0 the end of the connection is the end of the answer: only the last line tells that it is whole.
    request = f"GET /v1/people/{made['id']}/export?purpose=provide&reason=integration HTTP/1.0\r\nAuthorization: Bearer {live.token()}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port + 2), timeout=20) as wire:
        wire.sendall(request.encode())
        said = b"".join(iter(lambda: wire.recv(65536), b""))
    assert b"content-length" not in said
    assert said.endswith(b'{"end":true,"person":"%s","records":1}\n' % made["id"].encode())


def test_a_bounded_token_does_what_it_is_for_and_nothing_else(live: Live, api: httpx.Client) -> None:  # noqa: F811
    made = create(api)

    def issue(*words: str) -> httpx.Client:
        said = live.command("token", "issue", *words)
        assert said.returncode == 0, said.stderr
        return httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {said.stdout.strip()}"}, timeout=20)

    reader = issue("--operation", "read", "--compartment", "account", "--purpose", "provide")
    assert reader.get(f"/v1/people/{made['id']}", params=READ).status_code == 200
    problem(reader.post("/v1/people", json={**USE, **people(1)[0]}), 404)
    problem(reader.delete(f"/v1/people/{made['id']}", params=USE), 404)
    problem(reader.put(f"/v1/people/{made['id']}/restriction", json=USE), 404)
    problem(reader.post("/v1/lookups", json={"dataset": "account", "email": "a@b.example", "fields": ["name"], **USE}), 403)
    problem(issue("--compartment", "billing").get(f"/v1/people/{made['id']}", params=READ), 403)
    problem(issue("--purpose", "legal").get(f"/v1/people/{made['id']}", params=READ), 403)
    writer = issue("--operation", "create")
    assert writer.post("/v1/people", json={**USE, **people(1)[0]}).status_code == 201
    problem(writer.get(f"/v1/people/{made['id']}", params=READ), 403)
    assert live.command("token", "issue", "--operation", "conquer").returncode == 2
    assert api.get(f"/v1/people/{made['id']}", params=READ).status_code == 200


def test_a_token_is_listed_by_a_name_and_ended_at_once(live: Live) -> None:
    label = f"t-{uuid4().hex[:12]}"
    token = live.command("token", "issue", "--label", label).stdout.strip()
    with httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20) as own:
        made = create(own)
        listed = live.command("token", "list").stdout
        (line,) = (line for line in listed.splitlines() if label in line)
        name = line.split()[0]
        assert token not in listed
        assert hashlib.sha256(token.encode()).hexdigest().startswith(name)
        for wrong in (name[:-1] + ("0" if name[-1] != "0" else "1"), "zz", "%", ""):
            said = live.command("token", "end", wrong)
            assert (said.returncode, said.stdout) == (1, ""), wrong
            assert "token list" in said.stderr
        assert own.get(f"/v1/people/{made['id']}", params=READ).status_code == 200
        assert live.command("token", "end", name).returncode == 0
        answer = own.get(f"/v1/people/{made['id']}", params=READ)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="armonika", error="invalid_token"'
    assert label not in live.command("token", "list").stdout
    assert live.command("token", "end", name).returncode == 1


def test_a_dataset_of_another_doors_compartment_is_not_allowed(live: Live, api: httpx.Client) -> None:  # noqa: F811
    """No waiting changes it: not 503. Each refusal has its entry."""
    with psycopg.connect(Embedded(live.home / "postgres", live.home / "keys").admin_dsn) as admin:
        last = admin.execute("SELECT max(audit_id) FROM vault.audit").fetchone()
        answers = [
            api.post("/v1/people", json={"dataset": "applicant", "values": {"name": "N", "email": "n@org.example"}, **USE}),
            api.post("/v1/lookups", json={"dataset": "applicant", "email": "n@org.example", "fields": ["name"], **USE}),
        ]
        for answer in answers:
            problem(answer, 403)
            assert answer.headers["www-authenticate"] == 'Bearer realm="armonika", error="insufficient_scope"'
        entries = admin.execute(
            "SELECT o.name, a.granted FROM vault.audit a JOIN vault.operation o ON o.id = a.operation WHERE a.audit_id > %s AND a.door = 'api' ORDER BY a.audit_id",
            last,
        ).fetchall()
    assert [entry for entry in entries if not entry[1]] == [("create", False), ("find", False)]
    bare = httpx.get(f"{live.api}/v1/people/{uuid4()}", params=READ)
    problem(bare, 401)
    assert bare.headers["www-authenticate"] == 'Bearer realm="armonika"'


def test_the_log_is_served_without_a_token_and_entries_are_not(live: Live, tmp_path: Path) -> None:
    end = time.monotonic() + 20
    while True:
        checkpoint = httpx.get(f"{live.api}/log/checkpoint")
        if checkpoint.status_code == 200 and checkpoint.text.count("\u2014 armonika.dz/witness") == 2:
            break
        assert time.monotonic() < end, checkpoint.text
        time.sleep(0.2)
    size = int(checkpoint.text.split("\n")[1])
    assert size > 20
    tile = httpx.get(f"{live.api}/log/tile/0/000" + (f".p/{size}" if size < 256 else ""))
    assert tile.status_code == 200
    assert len(tile.content) == 32 * min(size, 256)
    assert "immutable" in tile.headers["cache-control"]
    for name in (
        "tile/entries/000",
        f"tile/entries/000.p/{size}",
        "../keys/root.key",
        "tile/0/../../keyring.json",
        "ended.jsonl",
        "tile/0/0000",
        "%2e%2e/keys/root.key",
    ):
        assert httpx.get(f"{live.api}/log/{name}").status_code == 404, name
    for name in ("log.vkey", "witness.vkey"):
        (tmp_path / name).write_text(httpx.get(f"{live.api}/log/{name}").text)
    report = subprocess.run(
        [sys.executable, "-m", "armonika.doors.cli.main", "audit", "verify", "--folder", str(live.home / "log"), "--vkey", str(tmp_path / "log.vkey")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert report.returncode == 0, report.stdout + report.stderr
