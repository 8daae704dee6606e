"""Form fields made from what the policy declares, with why each is asked and what follows without it (claim 1a.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.http import HttpRequest

from armonika.policy.model import Dataset

_KINDS = {
    "email": ("email", "email"),
    "phone": ("tel", "tel"),
    "name": ("text", "name"),
    "company": ("text", "organization"),
    "role": ("text", "organization-title"),
}


@dataclass(frozen=True, slots=True)
class FormField:
    """One input of a page."""

    name: str
    kind: str
    autocomplete: str
    label: str
    why: str
    otherwise: str
    required: bool
    max_length: int
    value: str
    fault: str


def form_fields(dataset: Dataset, language: str, typed: Mapping[str, str], faults: Mapping[str, str]) -> Sequence[FormField]:
    """The inputs of a dataset, keeping what was typed."""
    return [
        FormField(
            field.name, *_KINDS.get(field.name, ("text", "off")), field.label[language], field.why[language], field.otherwise[language],
            field.required, field.max_length, typed.get(field.name, ""), faults.get(field.name, ""),
        )
        for field in dataset.fields
    ]  # fmt: skip


def client_of(request: HttpRequest) -> str:
    """The network address of the other side, for counting tries only: it is hashed under a key before it is stored, and never logged."""
    return request.META.get("REMOTE_ADDR") or "unknown"
