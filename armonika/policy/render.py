"""A policy as a document in one language: clauses, sentences with their claims, and tables made from what is enforced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armonika.policy.check import MONTHS
from armonika.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence with the ids of the claims it makes."""

    id: str
    text: str
    claims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    heading: str
    lines: tuple[Line, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Document:
    language: str
    title: str
    version: str
    effective_from: str
    sha256: str
    sections: tuple[Section, ...]


_WORDS = {
    "fields": ("What we hold", "Ce que nous détenons", "ما نحتفظ به"), "data": ("Data", "Donnée", "المعطى"), "why": ("Why", "Pourquoi", "لماذا"),
    "purpose": ("Purposes", "Finalités", "الأغراض"), "kept": ("Kept", "Durée", "مدة الحفظ"), "basis": ("Legal basis", "Base légale", "الأساس القانوني"),
    "cookie": ("Cookie", "Cookie", "ملف تعريف الارتباط"), "hours": ("Longest life, hours", "Durée maximale, heures", "أقصى مدة بالساعات"),
    "cookies": ("Cookies that we set", "Cookies que nous déposons", "ملفات تعريف الارتباط المستعملة"),
    "periods": ("How long", "Durées", "المدد"), "who": ("Recipients", "Destinataires", "المرسل إليهم"), "optional": ("optional", "facultatif", "اختياري"),
}  # fmt: skip


def exact_date(policy: Policy, language: str) -> str:
    """The exact date on which the version took effect, such as 1 June 2026."""
    day = policy.effective_from
    return f"{day.day} {MONTHS[language][day.month - 1]} {day.year}"


def render(policy: Policy, language: str) -> Document:
    """The whole policy in `language` (en, fr, ar)."""
    language = language[:2]
    sections = tuple(
        Section(
            clause.id, clause.heading[language],
            tuple(Line(sentence.id, sentence.text[language], sentence.claims) for sentence in clause.sentences), tuple(_tables(policy, clause.id, language)),
        )
        for clause in policy.clauses if clause.id != "T"
    )  # fmt: skip
    title = next((clause for clause in policy.clauses if clause.id == "T"), None)
    head = Section(
        "T", title.heading[language] if title else policy.controller.name,
        tuple(Line(s.id, s.text[language], s.claims) for s in title.sentences) if title else (), (),
    )  # fmt: skip
    return Document(language, head.heading, policy.version, exact_date(policy, language), policy.sha256, (head, *sections))


def render_text(policy: Policy, language: str) -> str:
    """The policy as plain text, for the terminal and for letters."""
    document = render(policy, language)
    blocks = []
    for section in document.sections:
        blocks.append(section.heading if section.id in ("T", "P") else f"{section.id}. {section.heading}")
        blocks += [line.text for line in section.lines]
        for table in section.tables:
            blocks.append("\n".join([table.caption, *("  " + " · ".join(row) for row in (table.head, *table.rows))]))
    return "\n\n".join(blocks) + "\n"


def _tables(policy: Policy, clause: str, language: str) -> Sequence[Table]:
    index = ("en", "fr", "ar").index(language)

    comma = "، " if language == "ar" else ", "

    def word(key: str) -> str:
        return _WORDS[key][index]

    if clause == "1":
        return [
            Table(
                f"{word('fields')}: {dataset.label[language]}", (word("data"), word("why"), word("purpose"), word("kept")),
                tuple(
                    (field.label[language] + ("" if field.required else f" ({word('optional')})"), field.why[language],
                     comma.join(policy.purpose(name).label[language] for name in field.purposes), policy.retention_of(field).label[language])
                    for field in dataset.fields
                ),
            )
            for dataset in policy.datasets
        ]  # fmt: skip
    if clause == "4":
        return [
            Table(
                word("basis"),
                (word("purpose"), word("basis")),
                tuple((p.label[language], policy.basis_of(p.name).label[language]) for p in policy.purposes),
            )
        ]
    if clause == "5":
        return [Table(word("who"), (word("who"),), tuple((recipient.label[language],) for recipient in policy.recipients))]
    if clause == "6":
        return [
            Table(
                word("periods"), (word("data"), word("kept")),
                tuple((comma.join(dict.fromkeys(d.label[language] for d in policy.datasets if any(f.retention == r.name for f in d.fields))), r.label[language]) for r in policy.retention),
            )
        ]  # fmt: skip
    if clause == "9":
        return [
            Table(
                word("cookies"),
                (word("cookie"), word("why"), word("hours")),
                tuple((c.name, c.purpose[language], str(c.max_age_hours)) for c in policy.cookies),
            )
        ]
    return []
