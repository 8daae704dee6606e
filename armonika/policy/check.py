"""Every contradiction of a policy, with its place and its mend."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from armonika.policy.model import BASES, LANGUAGES, OPERATIONS, ROLE_KINDS, SCOPES, STARTS, Policy, Text

KNOWN_MARKS = ("attested", "unproven")
JOB = "retention"
"""Role and reason of the job that ends what has expired."""
MONTHS = {
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
    "fr": ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"),
    "ar": ("جانفي", "فيفري", "مارس", "أفريل", "ماي", "جوان", "جويلية", "أوت", "سبتمبر", "أكتوبر", "نوفمبر", "ديسمبر"),
}  # fmt: skip
_EASTERN = str.maketrans("٠١٢٣٤٥٦٧٨٩", "0123456789")


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: where it stands, what is wrong, how to mend it."""

    where: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem} {self.mend}"


def numbers(text: str) -> Counter[str]:
    """The numbers of a text, in Western digits; spaces that group thousands are taken out."""
    plain = re.sub(r"(?<=\d)[\u00a0\u202f](?=\d)", "", text.translate(_EASTERN))
    return Counter(re.findall(r"\d+(?:[.,-]\d+)*", plain))


def dates(text: str, language: str) -> Counter[tuple[str, int]]:
    """Days with a named month: (day, month)."""
    found = re.findall(rf"(\d{{1,2}})(?:er)?\s+({'|'.join(MONTHS[language])})", text.translate(_EASTERN), re.I)
    months = [name.lower() for name in MONTHS[language]]
    return Counter((day, months.index(month.lower()) + 1) for day, month in found)


def check(policy: Policy, checks: Iterable[str] | None = None) -> list[Finding]:
    """All contradictions of `policy`; an empty list means none. `checks` are the names of the checks that exist, when known."""
    return [
        *_structure(policy),
        *_fields(policy),
        *_rules(policy),
        *_ends(policy),
        *_doors(policy),
        *_claims(policy, checks),
        *_texts(policy),
        *_cookies(policy),
    ]


def _repeated(kind: str, names: Iterable[str]) -> Iterator[Finding]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding(f"{kind} {name}", f"is declared {count} times.", "Keep one.")


def _structure(policy: Policy) -> Iterator[Finding]:
    yield from _repeated("purpose", (p.name for p in policy.purposes))
    yield from _repeated("basis", (b.name for b in policy.bases))
    yield from _repeated("retention", (r.name for r in policy.retention))
    yield from _repeated("dataset", (d.name for d in policy.datasets))
    yield from _repeated("role", (r.name for r in policy.roles))
    yield from _repeated("reason", (r.name for r in policy.reasons))
    yield from _repeated("claim", (c.id for c in policy.claims))
    yield from _repeated("compartment", policy.compartments)
    if set(policy.languages) != set(LANGUAGES):
        yield Finding("languages", "must be en, fr and ar.", "List exactly these three.")
    if not set(policy.governing_languages) <= set(policy.languages) or not policy.governing_languages:
        yield Finding("governing_languages", "must be among the languages.", "Name at least one of them.")
    if not 0 < policy.copies.epoch_days <= 365 or policy.copies.keep_days <= 0:
        yield Finding("copies", "has no end.", "Give epoch_days from 1 to 365 and keep_days > 0 (claims 6a.6, 7a.6).")
    if policy.copies.site != policy.controller.country:
        yield Finding("copies", "are kept in another country than the data.", "Name the controller's country (claim 3a.3).")
    bases = {basis.name for basis in policy.bases}
    for basis in bases - set(BASES):
        yield Finding(
            f"basis {basis}", "is none of the four that the policy declares.", f"Use one of {', '.join(BASES)} (claim 4a.0)."
        )
    for purpose in policy.purposes:
        if not purpose.basis:
            yield Finding(
                f"purpose {purpose.name}", "has no legal basis.", "Add basis = one of the declared bases (Law 18-07 art. 7)."
            )
        elif purpose.basis not in bases:
            yield Finding(
                f"purpose {purpose.name}",
                f"rests on `{purpose.basis}`, which is not declared.",
                "Declare the basis or name another.",
            )
    declared = {purpose.name for purpose in policy.purposes}
    for name in policy.while_restricted:
        if name not in declared:
            yield Finding("while_restricted", f"names `{name}`, which is no purpose.", "Name a declared purpose.")
    for reason in policy.reasons:
        for name in reason.purposes or ("",):
            if name not in declared:
                yield Finding(f"reason {reason.name}", f"serves `{name}`, which is no purpose.", "Name declared purposes.")
    for role in policy.roles:
        if role.kind not in ROLE_KINDS:
            yield Finding(f"role {role.name}", f"is of kind `{role.kind}`.", f"Use one of {', '.join(ROLE_KINDS)}.")
    for entry in policy.retention:
        if entry.days <= 0 or not entry.after:
            yield Finding(f"retention {entry.name}", "has no end.", "Give days > 0 and the event they count from (claim 6a.0).")
        if entry.starts not in STARTS:
            yield Finding(f"retention {entry.name}", f"starts with `{entry.starts}`.", f"Use one of {', '.join(STARTS)}.")
    for place in policy.places:
        if place.kind != policy.controller.country:
            yield Finding(
                f"place {place.name}",
                "lies outside the country in which the policy promises to keep data.",
                "Remove the place (claim 3a.1).",
            )


def _fields(policy: Policy) -> Iterator[Finding]:
    purposes = {purpose.name for purpose in policy.purposes}
    kept = {entry.name for entry in policy.retention}
    reasons = {reason.name for reason in policy.reasons}
    for dataset in policy.datasets:
        where = f"dataset {dataset.name}"
        if dataset.compartment not in policy.compartments:
            yield Finding(where, f"belongs to `{dataset.compartment}`, which is no compartment.", "Declare it or name another.")
        yield from _repeated(f"field of {dataset.name}:", (field.name for field in dataset.fields))
        if not dataset.collected:
            yield Finding(where, "says not when it is collected.", "Name the reasons in `collected` (claim 1a.3).")
        for event in dataset.collected:
            if event not in reasons and any(
                rule.dataset == dataset.name and "create" in rule.operations for rule in policy.rules
            ):
                yield Finding(where, f"is collected by `{event}`, which is no reason.", "Declare the reason.")
        for field in dataset.fields:
            here = f"field {dataset.name}.{field.name}"
            if not field.purposes:
                yield Finding(
                    here, "has no purpose.", "Name the purposes it may be read for, or do not collect it (Law 18-07 art. 9)."
                )
            for name in field.purposes:
                if name not in purposes:
                    yield Finding(here, f"serves `{name}`, which is no purpose.", "Name declared purposes.")
            if field.retention not in kept:
                yield Finding(here, "has no declared retention class.", "Name one of [[retention]] (claim 6a.0).")
            if field.unique and not field.indexed:
                yield Finding(here, "is unique but not indexed.", "Add indexed = true: uniqueness is known by the blind index.")
            if not 0 < field.max_length <= 65536:
                yield Finding(here, "has no usable length.", "Give max_length from 1 to 65536.")
            for language in LANGUAGES:
                if not field.why[language].strip() or not field.otherwise[language].strip():
                    yield Finding(
                        here,
                        f"says not in `{language}` why it is asked, or what follows without it.",
                        "Write both (Law 18-07 art. 32).",
                    )


def _rules(policy: Policy) -> Iterator[Finding]:
    datasets = {dataset.name: dataset for dataset in policy.datasets}
    purposes, roles = {p.name for p in policy.purposes}, {r.name for r in policy.roles}
    for number, rule in enumerate(policy.rules, start=1):
        where = f"rule {number} ({rule.dataset}, {rule.purpose})"
        if rule.dataset not in datasets:
            yield Finding(where, "is about a dataset that is not declared.", "Declare it, or correct its name.")
            continue
        if rule.purpose not in purposes:
            yield Finding(where, "is for a purpose that is not declared.", "Use one of the purposes.")
        for role in rule.roles:
            if role not in roles:
                yield Finding(where, f"is for `{role}`, which is no role.", "Declare the role.")
        for operation in rule.operations:
            if operation not in OPERATIONS:
                yield Finding(where, f"allows `{operation}`.", f"Use {', '.join(OPERATIONS)}.")
        if rule.scope not in SCOPES:
            yield Finding(where, f"has the scope `{rule.scope}`.", f"Use {', '.join(SCOPES)}.")
        known = {field.name: field for field in datasets[rule.dataset].fields}
        for name in rule.fields:
            if name != "*" and name not in known:
                yield Finding(where, f"names the field `{name}`, which {rule.dataset} does not declare.", "Correct the name.")
        reads = {"read", "find"} & set(rule.operations) and not set(rule.roles) & {"verifier"}
        for name in known if "*" in rule.fields else rule.fields:
            if reads and rule.scope != "own" and name in known and rule.purpose not in known[name].purposes:
                yield Finding(
                    where,
                    f"reads {name} for `{rule.purpose}`, a purpose that the field does not declare.",
                    "Add the purpose to the field, or take the field out.",
                )


def _ends(policy: Policy) -> Iterator[Finding]:
    """What makes a period end, and nothing end before it (claims 6a.0, 6a.3, 6a.6)."""
    classes = {entry.name: entry for entry in policy.retention}
    ended = {rule.dataset for rule in policy.rules if JOB in rule.roles and "erase" in rule.operations and rule.scope == "all"}
    told = {rule.dataset for rule in policy.rules if "event" in rule.operations}
    if JOB not in {role.name for role in policy.roles} or JOB not in {reason.name for reason in policy.reasons}:
        yield Finding(f"role and reason {JOB}", "are not both declared: nothing would end.", "Declare them (claim 6a.6).")
    for dataset in policy.datasets:
        where, names = f"dataset {dataset.name}", {field.retention for field in dataset.fields} & set(classes)
        if len(names) > 1:
            yield Finding(
                where,
                f"has fields that end at different times ({', '.join(sorted(names))}).",
                "What ends alone needs a key of its own: give it a dataset of its own.",
            )
        if dataset.name not in ended:
            yield Finding(where, "is ended by nobody.", f'Add a rule: roles = ["{JOB}"], operations = ["erase"], scope = "all".')
        for entry in (classes[name] for name in sorted(names)):
            if entry.starts == "recording" and dataset.name in told:
                yield Finding(where, "is kept from its recording, but a rule tells its event.", "Take the operation away.")
            if entry.locked:
                for rule in policy.rules:
                    if rule.dataset == dataset.name and "erase" in rule.operations and set(rule.roles) != {JOB}:
                        yield Finding(
                            where,
                            f"is locked by law, but {', '.join(rule.roles)} may erase it.",
                            "Take the operation away (claim 6a.3).",
                        )


def _doors(policy: Policy) -> Iterator[Finding]:
    for door, held in policy.doors.items():
        for name, mode in held.items():
            if name not in policy.compartments:
                yield Finding(f"doors.{door}", f"holds `{name}`, which is no compartment.", "Correct the name.")
            if mode not in ("full", "seal"):
                yield Finding(f"doors.{door}", f"holds {name} as `{mode}`.", 'Use "full" or "seal".')
        if {"traffic", "applicants"} <= {name for name, mode in held.items() if mode == "full"}:
            yield Finding(f"doors.{door}", "could read traffic and applicants together.", "Take one of the two away.")


def _claims(policy: Policy, checks: Iterable[str] | None) -> Iterator[Finding]:
    declared = {claim.id: claim for claim in policy.claims}
    bound = Counter(claim for clause in policy.clauses for sentence in clause.sentences for claim in sentence.claims)
    for claim in policy.claims:
        if not claim.check:
            yield Finding(
                f"claim {claim.id}", "has neither a check nor a mark.", 'Add check = its check, "attested" or "unproven".'
            )
        if claim.check in KNOWN_MARKS and not claim.reason:
            yield Finding(
                f"claim {claim.id}", f"is marked {claim.check} without a reason.", "Add reason = why it is not proven by a check."
            )
        if bound[claim.id] != 1:
            yield Finding(
                f"claim {claim.id}", f"stands in {bound[claim.id]} sentences.", "Bind it to exactly one (orphan check)."
            )
    for clause in policy.clauses:
        for sentence in clause.sentences:
            if not sentence.claims and not sentence.note:
                yield Finding(
                    f"sentence {sentence.id}",
                    "makes no claim and has no note.",
                    "Bind its claims, or note which gap it fills (orphan clause).",
                )
            for name in sentence.claims:
                if name not in declared:
                    yield Finding(
                        f"sentence {sentence.id}", f"makes the claim {name}, which is not declared.", "Declare it with its check."
                    )
    yield from _repeated("sentence", (sentence.id for clause in policy.clauses for sentence in clause.sentences))
    for measure in policy.measures:
        for name in measure.claims:
            if name not in declared:
                yield Finding(f"measure {measure.name}", f"supports {name}, which is no claim.", "Correct the id.")
    if checks is not None:
        existing, wanted = set(checks), {claim.check for claim in policy.claims} - set(KNOWN_MARKS)
        for name in sorted(wanted - existing - {""}):
            yield Finding(f"claim {name}", "names a check that does not exist.", "Write the check, or mark the claim unproven.")
        # A claim whose check is newer than the policy's version is still marked unproven: marks change with the next version.
        for name in sorted(existing - wanted - set(declared)):
            yield Finding(f"check {name}", "proves no claim of this policy.", "Bind it to a claim (orphan check).")


def _texts(policy: Policy) -> Iterator[Finding]:
    address, mail = policy.controller.address, policy.controller.privacy_email
    for clause in policy.clauses:
        for where, text in [
            (f"clause {clause.id} heading", clause.heading),
            *((f"sentence {s.id}", s.text) for s in clause.sentences),
        ]:
            yield from _parity(where, Text(*(text[language].replace(address, "") for language in LANGUAGES)) if address else text)
        for sentence in clause.sentences:
            if "12a.2" in sentence.claims or "12a.1" in sentence.claims:
                for language in LANGUAGES:
                    if address not in sentence.text[language] or mail not in sentence.text[language]:
                        yield Finding(
                            f"sentence {sentence.id} ({language})",
                            "gives another address than the controller's.",
                            "Copy it byte for byte (claim 12a.2).",
                        )
            if "P1" in sentence.claims:
                day = (str(policy.effective_from.day), policy.effective_from.month)
                for language in LANGUAGES:
                    said = sentence.text[language]
                    if (
                        day not in dates(said, language)
                        or str(policy.effective_from.year) not in said
                        or policy.version not in said
                    ):
                        yield Finding(
                            f"sentence {sentence.id} ({language})",
                            "does not give the version and date in force.",
                            "Write the version and the exact date (claim P1).",
                        )
    for entry in policy.retention:
        yield from _parity(f"retention {entry.name}", entry.label)


def _parity(where: str, text: Text) -> Iterator[Finding]:
    for language in LANGUAGES:
        if not text[language].strip():
            yield Finding(f"{where} ({language})", "has no text.", "Write it.")
    for language in ("fr", "ar"):
        if numbers(text.en) != numbers(text[language]):
            yield Finding(
                f"{where} ({language})",
                "has other numbers than the English text.",
                "Give the same figures in each language, in Western digits.",
            )
        if dates(text.en, "en") != dates(text[language], language):
            yield Finding(f"{where} ({language})", "has another date than the English text.", "Give the same day and month.")
        if set(re.findall(r"\S+@\S+\.[a-z]+", text.en)) != set(re.findall(r"\S+@\S+\.[a-z]+", text[language])):
            yield Finding(f"{where} ({language})", "has another e-mail address than the English text.", "Give the same address.")


def _cookies(policy: Policy) -> Iterator[Finding]:
    yield from _repeated("cookie", (cookie.name for cookie in policy.cookies))
    for cookie in policy.cookies:
        if not cookie.journey:
            yield Finding(
                f"cookie {cookie.name}",
                "enables no journey.",
                "Name the journey that breaks without it, or drop it (claim 9a.2).",
            )
        if not {"Secure", "HttpOnly"} <= set(cookie.flags) or not cookie.name.startswith("__Host-"):
            yield Finding(f"cookie {cookie.name}", "lacks Secure, HttpOnly or the __Host- prefix.", "Add them (claim 9a.3).")
        if cookie.max_age_hours > 12:
            yield Finding(f"cookie {cookie.name}", "lives longer than 12 hours.", "Shorten it (claim 9a.3).")
