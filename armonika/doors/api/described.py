"""The description of this API (OpenAPI 3.1.0): what the framework derives from the handlers, with answers, problems, headers and examples added."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from armonika.doors.api import examples
from armonika.doors.api.batch import CorrectPeople, CreatePeople, ErasePeople, LookUps, ReadPeople, RestrictPeople, Results
from armonika.doors.api.people import (
    CorrectPerson,
    CreatePerson,
    Done,
    Found,
    LookUp,
    PersonMade,
    PersonOut,
    PolicyOut,
    RecordOut,
    Use,
)
from armonika.doors.api.problems import document

_JSON, _TEXT, _LINES = "application/json", "text/plain; charset=utf-8", "application/x-ndjson"


class Problem(msgspec.Struct):
    """What is wrong and the way out (RFC 9457). It never repeats what was sent."""

    type: str
    title: str
    status: int
    detail: str


SUCCESS: dict[str, tuple[int, str, type | None]] = {
    "create_person": (201, _JSON, PersonMade), "read_person": (200, _JSON, PersonOut), "correct_person": (200, _JSON, Done), "erase_person": (200, _JSON, Done),
    "restrict_person": (200, _JSON, Done), "lift_restriction": (200, _JSON, Done), "look_up": (200, _JSON, Found), "policy": (200, _JSON, PolicyOut),
    "create_people": (200, _JSON, Results), "read_people": (200, _JSON, Results), "erase_people": (200, _JSON, Results),
    "correct_people": (200, _JSON, Results), "restrict_people": (200, _JSON, Results), "look_up_people": (200, _JSON, Results),
    "export_person": (200, _LINES, None), "log_file": (200, _TEXT, None),
}  # fmt: skip
"""Status, media type and form of what an operation answers when all is well."""

REQUESTS: dict[str, type] = {
    "create_person": CreatePerson, "correct_person": CorrectPerson, "restrict_person": Use, "lift_restriction": Use, "look_up": LookUp, "create_people": CreatePeople,
    "read_people": ReadPeople, "erase_people": ErasePeople, "correct_people": CorrectPeople, "restrict_people": RestrictPeople, "look_up_people": LookUps,
}  # fmt: skip
"""The form of an operation's body: the one that it is decoded as."""

PROBLEMS = {
    400: "http", 401: "session-ended", 403: "not-allowed", 404: "not-found", 408: "http", 409: "duplicate", 412: "version-conflict", 413: "http", 415: "http",
    422: "undeclared", 423: "restricted", 429: "quota-exceeded", 500: "http", 503: "store-unavailable",
}  # fmt: skip
_ALWAYS = (400, 404, 429, 500, 503)
_TOKEN = (401, 403, 422)
_OPEN = ("policy", "log_file")
_OWN = {
    "create_person": (409, 412, 423),
    "create_people": (412,),
    "read_people": (412,),
    "erase_people": (412,),
    "correct_people": (412,),
    "restrict_people": (412,),
    "look_up_people": (412,),
    "policy": (412,),
    "log_file": (412,),
    "read_person": (412, 423),
    "correct_person": (409, 412, 423),
    "erase_person": (412, 423),
    "restrict_person": (412,),
    "lift_restriction": (412,),
    "look_up": (412, 423),
    "export_person": (412, 423),
}
_HEADERS = {
    "RateLimit-Policy": "The quota of this token, in requests and items of batches, and its window in seconds (draft-ietf-httpapi-ratelimit-headers-10).",
    "RateLimit": "What remains of the quota, and in how many seconds more comes back (the same draft).",
    "Retry-After": "Seconds after which the same request may be sent again (RFC 9110 §10.2.3).",
    "ETag": "The versions that were read (RFC 9110 §8.8.3); for If-Match and If-None-Match.", "Location": "The address of the new person.",
    "WWW-Authenticate": "How to sign in (RFC 6750 §3).",
}  # fmt: skip
_MORE_HEADERS = {"create_person": ("Location",), **dict.fromkeys(("read_person", "policy", "log_file"), ("ETag",))}
_PARAMETERS = {
    "Idempotency-Key": (
        ("create_person", "create_people"), {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        "The same request under the same key is done once (draft-ietf-httpapi-idempotency-key-header).",
    ),
    "If-Match": (("correct_person",), {"type": "string"}, "The ETag of the read that is corrected, a list of such, or `*` (RFC 9110 §13.1.1)."),
    "If-None-Match": (
        ("correct_person", "read_person", "policy", "log_file"), {"type": "string"},
        "ETags of reads, or `*`: a read of the same is answered 304, a correction of the same 412 (RFC 9110 §13.1.2).",
    ),
}  # fmt: skip


class Described(JsonRenderPlugin):
    """Serves the description, made once."""

    _made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON."""
        if self._made is None:
            self._made = json.dumps(described(openapi_schema), ensure_ascii=False).encode()
        return self._made


def described(derived: dict[str, Any]) -> dict[str, Any]:
    """The framework's description with what it cannot know. The argument stays as it is."""
    whole = copy.deepcopy(derived)
    ref = "#/components/schemas/{name}"
    _, schemas = msgspec.json.schema_components(
        [PersonMade, PersonOut, RecordOut, Done, Found, PolicyOut, Results, Problem, *REQUESTS.values()], ref_template=ref
    )
    schemas["Result"]["properties"]["problem"] = {"$ref": ref.format(name="Problem")}
    parts = whole.setdefault("components", {})
    parts["schemas"] = {**parts.get("schemas", {}), **schemas}
    parts["headers"] = {
        name: {"description": text, "schema": {"type": "string"}, "example": examples.HEADERS[name]}
        for name, text in _HEADERS.items()
    }
    parts["responses"] = {f"Problem{status}": _problem(status, code) for status, code in PROBLEMS.items()}
    for item in whole["paths"].values():
        for operation in item.values():
            _complete(operation)
    return whole


def _problem(status: int, code: str) -> dict[str, Any]:
    told = json.loads(document(status, code))
    named = ["Retry-After"] if status == 429 else ["WWW-Authenticate"] if status in (401, 403) else []
    return {
        "description": told["title"], "headers": _headers(*named),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {code: {"value": told}}}},
    }  # fmt: skip


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit-Policy", "RateLimit", *names)}


def _complete(operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    status, media, form = SUCCESS[name]
    if name in REQUESTS:
        form_of_body = {"$ref": f"#/components/schemas/{REQUESTS[name].__name__}"}
        content_of_body = {_JSON: {"schema": form_of_body, "examples": {name: {"value": examples.REQUESTS[name]}}}}
        operation["requestBody"] = {"required": True, "content": content_of_body}
    answer = {
        "schema": {"$ref": f"#/components/schemas/{form.__name__}"} if form else {"type": "string"},
        "examples": {name: {"value": examples.ANSWERS[name]}},
    }
    content = {media: answer}
    if name == "log_file":
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    if name in _OPEN:
        operation["security"] = []  # (the framework leaves an empty list out)
    problems = {
        *_ALWAYS,
        *(() if name in _OPEN else _TOKEN),
        *_OWN.get(name, ()),
        *((408, 413, 415) if "requestBody" in operation else ()),
    }
    operation["responses"] = {
        str(status): {"description": operation["summary"], "headers": _headers(*_MORE_HEADERS.get(name, ())), "content": content},
        **{str(problem): {"$ref": f"#/components/responses/Problem{problem}"} for problem in sorted(problems)},
    }
    if name in _PARAMETERS["If-None-Match"][0] and name != "correct_person":
        operation["responses"]["304"] = {"description": "What the caller has (RFC 9110 §15.4.5)", "headers": _headers("ETag")}
    if name == "export_person":  # It has no ETag: nothing but `*` names it.
        operation["responses"]["304"] = {"description": "To `If-None-Match: *` (RFC 9110 §13.1.2)", "headers": _headers()}
    for header, (of, schema, text) in _PARAMETERS.items():
        if name in of:
            operation.setdefault("parameters", []).append(
                {"name": header, "in": "header", "required": False, "description": text, "schema": schema}
            )
    for parameter in operation.get("parameters", ()):
        parameter["example"] = examples.PARAMETERS[parameter["name"]]
