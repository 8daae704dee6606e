"""Checks what a person typed against the fields that the policy declares, before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping

from armonika.flows.errors import Faults
from armonika.policy import Policy
from armonika.trust.vault.address import canonical_email
from armonika.trust.vault.errors import Invalid
from armonika.trust.vault.text import clean


def checked(policy: Policy, dataset: str, typed: Mapping[str, str]) -> dict[str, str]:
    """The values to store: declared fields only, optional empty ones left out. Raises Faults naming every field that cannot be used."""
    values: dict[str, str] = {}
    faults: dict[str, str] = {}
    for field in policy.dataset(dataset).fields:
        text = typed.get(field.name, "").strip()
        if not text:
            if field.required:
                faults[field.name] = "required"
            continue
        if len(text) > field.max_length:
            faults[field.name] = "long"
            continue
        try:
            values[field.name] = clean(text)
            if field.name == "email":
                canonical_email(text)
        except Invalid:
            faults[field.name] = "email" if field.name == "email" else "invalid"
        if "\n" in text:
            faults[field.name] = "invalid"
    if faults:
        raise Faults(faults)
    return values
