"""The description of the API is OpenAPI 3.1, complete, and true: its examples are of the declared forms, and the running API takes each request."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import jsonschema_rs
import pytest
import schemathesis

from armonika.doors.api.examples import PERSON, RECORD
from tests.api.test_api import USE, api, create, problem  # noqa: F401 (a fixture)
from tests.live import Live


@pytest.fixture(scope="module")
def described(live: Live) -> dict[str, Any]:
    answer = httpx.get(f"{live.api}/schema/openapi.json")
    assert answer.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    whole: dict[str, Any] = answer.json()
    return whole


def operations(whole: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method, path, operation)
        for path, item in whole["paths"].items()
        for method, operation in item.items()
    }


def resolved(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        found: Any = whole
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def examples(content: dict[str, Any]) -> list[Any]:
    return [each["value"] for each in content.get("examples", {}).values()]


def conforms(whole: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """OpenAPI 3.1 schemas are JSON Schema 2020-12; references lead into the document."""
    jsonschema_rs.Draft202012Validator(
        {**schema, "components": whole["components"]} if "$ref" not in schema else {"allOf": [schema], "components": whole["components"]},
        validate_formats=True,
    ).validate(value)  # fmt: skip


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(described).validate()
    assert len(operations(described)) == 16


def test_each_operation_is_told_whole(described: dict[str, Any]) -> None:
    for name, (method, path, operation) in operations(described).items():
        assert operation["summary"]
        assert operation["description"], name
        success = [status for status in operation["responses"] if status < "300"]
        assert len(success) == 1, name
        if method in ("post", "put", "patch"):
            content = operation["requestBody"]["content"]["application/json"]
            (example,) = examples(content)
            conforms(described, content["schema"], example)
        for status, named in operation["responses"].items():
            response = resolved(described, named)
            assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"]), name
            if status == "304":
                assert "content" not in response
                continue
            content = next(iter(response["content"].values()))
            (example,) = examples(content)
            conforms(described, content["schema"], example)
            if status >= "300":
                assert list(response["content"]) == ["application/problem+json"]
                assert example["status"] == int(status)
        for parameter in operation.get("parameters", ()):
            conforms(described, parameter["schema"], parameter["example"])
        assert {"400", "404", "429", "500", "503"} <= set(operation["responses"])
        free = path in ("/v1/policy", "/log/{name}")
        assert ("401" in operation["responses"]) != free
        assert (operation.get("security", described["security"]) == []) == free
    for name, headers in (
        ("create_person", {"Idempotency-Key"}),
        ("create_people", {"Idempotency-Key"}),
        ("correct_person", {"If-Match", "If-None-Match"}),
        ("read_person", {"If-None-Match"}),
    ):
        given = operations(described)[name][2]["parameters"]
        assert headers == {parameter["name"] for parameter in given if parameter["in"] == "header"}
    assert "ETag" in operations(described)["read_person"][2]["responses"]["200"]["headers"]


def test_the_running_api_takes_each_example(described: dict[str, Any], api: httpx.Client) -> None:  # noqa: F811
    """In an order in which each finds what it needs; ids and the address are those of a person made here, and the answer is of the declared form."""
    known = operations(described)
    address, ids = f"{uuid4().hex}@exemple.dz", {}
    order = [
        "policy", "create_person", "read_person", "look_up", "correct_person", "restrict_person", "lift_restriction", "read_people", "export_person", "erase_person",
        "create_people", "look_up_people", "correct_people", "restrict_people", "erase_people", "log_file",
    ]  # fmt: skip
    assert set(order) == set(known)
    for name in order:
        method, path, operation = known[name]
        given = {parameter["name"]: parameter for parameter in operation.get("parameters", ())}
        values = {each: parameter["example"] for each, parameter in given.items()}
        values |= {"Idempotency-Key": f'"{uuid4()}"', "If-Match": ids.get("etag", "*"), "If-None-Match": '"other"'} | {
            each: ids[each] for each in ("person",) if each in ids
        }
        body = None
        if "requestBody" in operation:
            (example,) = examples(operation["requestBody"]["content"]["application/json"])
            text = json.dumps(example).replace("nour@exemple.dz", address)
            for each, old in (("person", PERSON), ("record", RECORD)):
                text = text.replace(old, str(ids.get(each, old)))
            body = text.encode()
        for each, parameter in given.items():
            if parameter["in"] == "path":
                path = path.replace("{" + each + "}", str(values[each]))
        answer = api.request(
            method, path, content=body, params={each: values[each] for each, parameter in given.items() if parameter["in"] == "query" and each != "reference"},
            headers={"Content-Type": "application/json"} | {each: values[each] for each, parameter in given.items() if parameter["in"] == "header"},
        )  # fmt: skip
        assert str(answer.status_code) in operation["responses"], (name, answer.text)
        assert answer.status_code < 300, (name, answer.text)
        declared = operation["responses"][str(answer.status_code)]
        content = declared["content"][answer.headers["content-type"]]
        if answer.headers["content-type"] == "application/json":
            conforms(described, content["schema"], answer.json())
        assert {header.lower() for header in declared["headers"]} <= set(answer.headers), name
        if name == "create_person":
            ids = {"person": answer.json()["id"], "record": answer.json()["record"]}
        elif name == "read_person":
            ids["etag"] = answer.headers["etag"]
        elif name == "create_people":
            ids["person"] = answer.json()["results"][0]["made"]["id"]
    assert UUID(ids["person"])


def test_declared_problems_are_those_that_come(described: dict[str, Any], api: httpx.Client) -> None:  # noqa: F811
    declared = operations(described)["create_person"][2]["responses"]
    body = {"dataset": "account", **USE, "values": {"name": "N"}}
    for answer in (
        api.post("/v1/people", content=b"{"),
        api.post("/v1/people", content=b"x" * 2_000_000),
        api.post("/v1/people", content=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}),
        api.post("/v1/people", json={**body, "values": {"salary": "1"}}),
        api.post("/v1/people", json=body, headers={"Authorization": ""}),
        api.post("/v1/people", json={**body, "purpose": "improve"}),
    ):
        assert str(answer.status_code) in declared, answer.text
        conforms(described, {"$ref": "#/components/schemas/Problem"}, answer.json())
