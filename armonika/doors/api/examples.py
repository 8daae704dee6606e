"""One example of each request and of each answer. Every request here is one that the running API takes; tests send them (tests/api/test_schema.py)."""

from __future__ import annotations

from typing import Any

PERSON = "7f1c0c1e-6a55-4b0c-9d0e-0d6f4d9e2a11"
RECORD = "c3a9e1b2-40d7-4d5e-8a6f-5b1f2e7d9c02"
NOBODY = "00000000-0000-4000-8000-000000000000"
ETAG = f'"{RECORD.replace("-", "")}:name=1,email=1"'
VALUES = {"name": "Nour Belkacem", "email": "nour@exemple.dz", "company": "Exemple SARL", "role": "Directrice"}

_USE: dict[str, Any] = {"purpose": "provide", "reason": "integration"}
_CREATE = {**_USE, "dataset": "account", "values": VALUES}
_PERSON = {
    "id": PERSON,
    "records": [
        {"record": RECORD, "dataset": "account", "values": {"name": VALUES["name"], "email": VALUES["email"]}, "versions": {"name": 1, "email": 1}, "entry": 4712}
    ],
}  # fmt: skip
_TAGGED = {**_PERSON, "etag": ETAG}
_MADE = {"id": PERSON, "record": RECORD, "entry": 4711}
_CHECKPOINT = "armonika.dz/log\n4713\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— armonika.dz/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"

_NOT_FOUND: dict[str, Any] = {
    "type": "urn:armonika:problem:not-found", "title": "There is nothing here", "status": 404,
    "detail": "Unknown, erased and other organisations' ids look the same. Check the id and the address.",
}  # fmt: skip

REQUESTS: dict[str, dict[str, Any]] = {
    "create_person": _CREATE,
    "correct_person": {**_USE, "dataset": "account", "record": RECORD, "values": {"name": "Nour Belkacem-Haddad"}},
    "restrict_person": {**_USE, "reference": "CASE-1201"},
    "lift_restriction": _USE,
    "look_up": {**_USE, "dataset": "account", "email": VALUES["email"], "fields": ["name", "email"]},
    "create_people": {**_USE, "people": [{"dataset": "account", "values": VALUES}]},
    "read_people": {**_USE, "dataset": "account", "fields": ["name", "email"], "people": [PERSON, NOBODY]},
    "erase_people": {**_USE, "people": [PERSON, NOBODY]},
    "correct_people": {
        **_USE,
        "corrections": [
            {
                "person": PERSON,
                "record": RECORD,
                "dataset": "account",
                "values": {"name": "Nour Belkacem-Haddad"},
                "versions": {"name": 1},
            },
        ],
    },
    "restrict_people": {**_USE, "reference": "CASE-1201", "restricted": True, "people": [PERSON, NOBODY]},
    "look_up_people": {
        **_USE,
        "dataset": "account",
        "emails": [VALUES["email"], "personne@exemple.dz"],
        "fields": ["name", "email"],
    },
}
"""By the name of the handler."""

ANSWERS: dict[str, Any] = {
    "create_person": _MADE,
    "read_person": _PERSON,
    "correct_person": {"entry": 4713, "erased": 0, "kept": 0},
    "erase_person": {"entry": 4714, "erased": 1, "kept": 0},
    "restrict_person": {"entry": 4715, "erased": 0, "kept": 0},
    "lift_restriction": {"entry": 4716, "erased": 0, "kept": 0},
    "look_up": {"people": [_TAGGED]},
    "policy": {
        "version": "1.2", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "datasets": {"account": ["name", "email", "company", "phone", "role"]}, "purposes": ["provide", "secure"], "reasons": ["integration", "own-view"],
    },
    "create_people": {"results": [{"status": 201, "made": _MADE}]},
    "read_people": {"results": [{"status": 200, "person": _TAGGED}, {"status": 404, "problem": _NOT_FOUND}]},
    "erase_people": {"results": [{"status": 200, "entry": 4717}, {"status": 404, "problem": _NOT_FOUND}]},
    "correct_people": {"results": [{"status": 200, "entry": 4719}]},
    "restrict_people": {"results": [{"status": 200, "entry": 4720}, {"status": 404, "problem": _NOT_FOUND}]},
    "look_up_people": {"results": [{"status": 200, "person": _TAGGED}, {"status": 404, "problem": _NOT_FOUND}]},
    "export_person": f'{{"record":"{RECORD}","dataset":"account","values":{{"name":"Nour Belkacem"}},"versions":{{"name":1}},"entry":4718}}\n{{"end":true,"person":"{PERSON}","records":1}}\n',
    "log_file": _CHECKPOINT,
}  # fmt: skip

PARAMETERS = {
    "person": PERSON, "dataset": "account", "fields": "name,email", "purpose": "provide", "reason": "integration", "reference": "CASE-1201", "name": "checkpoint",
    "Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "If-Match": ETAG, "If-None-Match": ETAG,
}  # fmt: skip
"""By the parameter's name."""

HEADERS = {
    "RateLimit-Policy": '"default";q=1200000;w=60', "RateLimit": '"default";r=1199988;t=1', "Retry-After": "3", "ETag": ETAG, "Location": f"/v1/people/{PERSON}",
    "WWW-Authenticate": 'Bearer realm="armonika"',
}  # fmt: skip
