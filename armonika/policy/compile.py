"""The compiled catalogue: what the database and the doors are told (docs/data-model.md)."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from armonika.policy.model import Policy


def catalogue(policy: Policy) -> dict[str, Any]:
    """The policy's names and rules as plain JSON, rules written out one role and operation each."""
    moment = datetime.combine(policy.effective_from, time(), ZoneInfo(policy.time_zone))
    rules = [
        {
            "role": role, "purpose": rule.purpose, "dataset": rule.dataset, "operation": operation, "scope": rule.scope,
            "fields": [field.name for field in policy.dataset(rule.dataset).fields if "*" in rule.fields or field.name in rule.fields],
        }
        for rule in policy.rules for role in rule.roles for operation in rule.operations
    ]  # fmt: skip
    return {
        "version": policy.version,
        "effective_from": moment.isoformat(),
        "sha256": policy.sha256,
        "time_zone": policy.time_zone,
        "while_restricted": list(policy.while_restricted),
        "compartments": list(policy.compartments),
        "doors": [{"door": door, "compartment": name, "mode": mode} for door, held in policy.doors.items() for name, mode in held.items()],
        "datasets": [
            {
                "name": dataset.name, "compartment": dataset.compartment, "fields": [field.name for field in dataset.fields],
                "unique": [field.name for field in dataset.fields if field.unique], "indexed": [field.name for field in dataset.fields if field.indexed],
                "retention": [
                    {"class": entry.name, "days": entry.days, "starts": entry.starts, "locked": entry.locked}
                    for entry in policy.retention if entry.name in {field.retention for field in dataset.fields}
                ],
            }
            for dataset in policy.datasets
        ],
        "purposes": [purpose.name for purpose in policy.purposes],
        "roles": [{"name": role.name, "kind": role.kind} for role in policy.roles],
        "reasons": [{"name": reason.name, "purposes": list(reason.purposes)} for reason in policy.reasons],
        "rules": rules,
        "document": policy.document,
    }  # fmt: skip
