"""The policy as immutable data. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

LANGUAGES = ("en", "fr", "ar")
BASES = ("contract", "legal_obligation", "consent", "legitimate_interest")
OPERATIONS = ("read", "find", "describe", "accesses", "create", "correct", "erase", "restrict", "event", "review")
STARTS = ("recording", "event", "latest-event")
SCOPES = ("own", "org", "all")
ROLE_KINDS = ("member", "staff", "service", "machine")


@dataclass(frozen=True, slots=True)
class Text:
    """One text in the three languages, each written, none translated word for word."""

    en: str
    fr: str
    ar: str

    def __getitem__(self, language: str) -> str:
        return {"en": self.en, "fr": self.fr, "ar": self.ar}[language[:2]]


@dataclass(frozen=True, slots=True)
class Controller:
    name: str
    address: str
    country: str
    country_name: Text
    privacy_email: str
    authority: Text


@dataclass(frozen=True, slots=True)
class Purpose:
    name: str
    basis: str
    label: Text


@dataclass(frozen=True, slots=True)
class Basis:
    name: str
    label: Text


@dataclass(frozen=True, slots=True)
class Retention:
    """Kept until `days` after the event `after` (claim 6a.0). `starts`: the event is the recording itself, or one that is told (`event`), or the
    latest of several, the recording being the first (`latest-event`). `locked`: a law forbids to end it earlier, whoever asks."""

    name: str
    after: str
    days: int
    starts: str
    locked: bool
    label: Text


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field (claims 1a.1, 1a.4; Law 18-07 art. 32: whether replying is obligatory, and what follows if one does not)."""

    name: str
    category: str
    required: bool
    indexed: bool
    unique: bool
    max_length: int
    purposes: tuple[str, ...]
    retention: str
    label: Text
    why: Text
    otherwise: Text


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    compartment: str
    subject: str
    collected: tuple[str, ...]
    label: Text
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field:
        """A field by name; KeyError when undeclared."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    kind: str
    label: Text


@dataclass(frozen=True, slots=True)
class Reason:
    name: str
    purposes: tuple[str, ...]
    label: Text


@dataclass(frozen=True, slots=True)
class Rule:
    roles: tuple[str, ...]
    purpose: str
    dataset: str
    operations: tuple[str, ...]
    scope: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cookie:
    name: str
    flags: tuple[str, ...]
    max_age_hours: int
    journey: str
    purpose: Text


@dataclass(frozen=True, slots=True)
class Named:
    """A recipient, place or measure: a name with what is said of it."""

    name: str
    kind: str
    label: Text
    claims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """One atom of a sentence: proven by a check, attested by a person, or still unproven with the reason."""

    id: str
    check: str
    severity: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    id: str
    claims: tuple[str, ...]
    text: Text
    note: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    id: str
    heading: Text
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Copies:
    """How long an epoch of keys is written and a backup kept, in days, and the country where backups are."""

    epoch_days: int
    keep_days: int
    site: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a policy. `sha256` is of the canonical compiled form, `document` the source text."""

    version: str
    effective_from: date
    languages: tuple[str, ...]
    governing_languages: tuple[str, ...]
    governing_law: str
    time_zone: str
    while_restricted: tuple[str, ...]
    controller: Controller
    bases: tuple[Basis, ...]
    purposes: tuple[Purpose, ...]
    retention: tuple[Retention, ...]
    copies: Copies
    compartments: tuple[str, ...]
    doors: Mapping[str, Mapping[str, str]]
    datasets: tuple[Dataset, ...]
    roles: tuple[Role, ...]
    reasons: tuple[Reason, ...]
    rules: tuple[Rule, ...]
    cookies: tuple[Cookie, ...]
    recipients: tuple[Named, ...]
    places: tuple[Named, ...]
    measures: tuple[Named, ...]
    clauses: tuple[Clause, ...]
    claims: tuple[Claim, ...]
    document: str
    sha256: str

    def dataset(self, name: str) -> Dataset:
        """A dataset by name; KeyError when undeclared."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise KeyError(name)

    def purpose(self, name: str) -> Purpose:
        """A purpose by name; KeyError when undeclared."""
        return {purpose.name: purpose for purpose in self.purposes}[name]

    def basis_of(self, purpose: str) -> Basis:
        """The legal basis of a purpose."""
        return {basis.name: basis for basis in self.bases}[self.purpose(purpose).basis]

    def retention_of(self, field: Field) -> Retention:
        """The retention class of a field."""
        return {entry.name: entry for entry in self.retention}[field.retention]

    def role(self, name: str) -> Role:
        """A role by name; KeyError when undeclared."""
        return {role.name: role for role in self.roles}[name]

    def reason(self, name: str) -> Reason:
        """A reason by name; KeyError when undeclared."""
        return {reason.name: reason for reason in self.reasons}[name]

    def claim(self, claim_id: str) -> Claim:
        """A claim by id; KeyError when undeclared."""
        return {claim.id: claim for claim in self.claims}[claim_id]


def frozen(mapping: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """A read-only copy of a mapping of mappings."""
    return MappingProxyType({name: MappingProxyType(dict(inner)) for name, inner in mapping.items()})
