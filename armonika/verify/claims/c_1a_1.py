"""1a.1: exactly five declared fields, and nothing else can be stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from psycopg.conninfo import make_conninfo

from armonika.trust.keys.provision import end_token, issue_token
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.page import read
from armonika.verify.sabotage import swap

TECHNICAL = {"csrfmiddlewaretoken", "password", "professional"}
EXTRA = [
    "dob",
    "nin",
    "gender",
    "religion",
    "photo",
    "income",
    "address",
    "nationality",
    "mother",
    "blood",
    "political",
    "union",
    "health",
    "fax",
    "twitter",
    "facebook",
    "plate",
    "passport",
    "child",
    "note",
]


class Claim:
    """Forms ask for the declared fields only; undeclared ones are refused by the API and dropped by the pages; no record holds one."""

    claim, hours = "1a.1", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        for dataset, path in (("account", "register"), ("demo", "demo")):
            declared = {field.name for field in context.policy.dataset(dataset).fields}
            evidence.expect(
                declared == {"name", "email", "company", "phone", "role"},
                f"{dataset} declares other fields than the sentence names",
            )
            for language in context.policy.languages:
                asked = set(read(context.visitor().get(context.site(f"/{language}/{path}/")).text).inputs) - TECHNICAL
                evidence.expect(asked == declared, f"{language}: the form {path} asks for {sorted(asked ^ declared)}")
        self._machines(context, evidence)
        undeclared = context.rows(
            "SELECT count(*) FROM vault.record r LEFT JOIN vault.declared_field d ON d.dataset = r.dataset AND d.policy_id = vault.policy_in_force() "
            "WHERE d.dataset IS NULL OR r.present & ~d.fields <> 0"
        )
        total = context.rows("SELECT count(*) FROM vault.record")[0][0]
        evidence.expect(undeclared[0][0] == 0, f"{undeclared[0][0]} records hold undeclared fields")
        evidence.control = total > 0
        evidence.summary = f"6 forms, {len(EXTRA)} undeclared keys, {total} records"
        return evidence

    def _machines(self, context: Context, evidence: Evidence) -> None:
        """The API, asked with a token that lives: without one nothing of a request is read."""
        info = context.database.info
        database = make_conninfo(info.dsn, password=info.password)
        token = issue_token(database, days=1 / 24, label="verification")
        try:
            body = {"dataset": "account", "purpose": "provide", "reason": "integration", "values": {"name": "x"}}
            for name in EXTRA:
                answer = context.send("POST", f"{context.settings.api_url}/v1/people", {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
                                      json.dumps({**body, name: context.token()}).encode())  # fmt: skip
                evidence.expect(answer.status == 400, f"the API takes the undeclared key {name}")
        finally:
            end_token(database, hashlib.sha256(token.encode()).hexdigest()[:16])

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "the form asks for a date of birth",
            swap("/register/", b'<input id="f-phone"', b'<input name="date_of_birth"><input id="f-phone"'),
        )
        yield Sabotage(
            "a record holds an undeclared field",
            lambda context: context.planted(
                "UPDATE vault.record SET present = present | (1::bigint << 61) WHERE record_id = (SELECT record_id FROM vault.record LIMIT 1)"
            ),
        )
