"""Everything held about a person as one archive (Law 18-07 art. 34: in intelligible form). Made in memory, never on a disk. Claim 8a.1."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import zipfile
from collections.abc import Sequence
from datetime import datetime

from armonika.flows.privacy import HeldField, overview, who_read
from armonika.policy import Policy
from armonika.trust.vault import Vault
from armonika.trust.vault.types import Access, Actor, SecretHash

SCHEMA = "armonika-export/1"
_WORDS = {
    "en": ("Your data", "Data", "Value", "Why we may use it", "Legal basis", "Origin", "Kept", "Who used your data", "When", "Who", "What", "Why", "Nothing was withheld."),
    "fr": ("Vos données", "Donnée", "Valeur", "Pourquoi nous pouvons l'utiliser", "Base légale", "Origine", "Durée", "Qui a utilisé vos données", "Quand", "Qui", "Quoi", "Pourquoi", "Rien n'a été retenu."),
    "ar": ("معطياتكم", "المعطى", "القيمة", "لماذا يجوز لنا استعماله", "الأساس القانوني", "المصدر", "مدة الحفظ", "من استعمل معطياتكم", "متى", "من", "ماذا", "لماذا", "لم يُحجب أي شيء."),
}  # fmt: skip
ORIGINS = {
    "subject": {"en": "you", "fr": "vous", "ar": "أنتم"}, "organisation": {"en": "your organisation", "fr": "votre organisation", "ar": "مؤسستكم"},
    "operator": {"en": "our staff", "fr": "notre personnel", "ar": "موظفونا"}, "system": {"en": "the system", "fr": "le système", "ar": "النظام"},
}  # fmt: skip


def export(vault: Vault, policy: Policy, secret: SecretHash, actor: Actor, at: datetime) -> bytes:
    """A zip: manifest with the hash of every file, a readable report a language, the data as JSON and CSV, the log of accesses, the processing in
    DPV terms, and what was withheld. Raises the vault's errors."""
    held = {language: overview(vault, policy, secret, actor, language) for language in ("en", "fr", "ar")}
    accesses = who_read(vault, secret, actor, limit=10000)
    files: dict[str, bytes] = {
        f"report.{language}.html": _report(language, rows, accesses, policy) for language, rows in held.items()
    }
    rows = held["en"]
    for dataset in dict.fromkeys(row.dataset for row in rows):
        mine = [row for row in rows if row.dataset == dataset]
        files[f"data/{dataset}.json"] = _json(
            {
                row.name: {
                    "value": row.value,
                    "version": row.version,
                    "origin": row.origin,
                    "written_at": row.written_at.isoformat() if row.written_at else None,
                }
                for row in mine
            }
        )
        files[f"data/{dataset}.csv"] = _csv(
            ["field", "value", "origin", "written_at"],
            [[row.name, row.value, row.origin, row.written_at.isoformat() if row.written_at else ""] for row in mine],
        )
    files["access-log.csv"] = _csv(
        ["entry", "at", "operation", "outcome", "role", "dataset", "fields", "purpose", "reason", "reference"],
        [
            [
                str(a.audit_id),
                a.at.isoformat(),
                a.operation,
                a.outcome,
                a.role,
                a.dataset or "",
                " ".join(a.fields),
                a.purpose,
                a.reason,
                a.reference or "",
            ]
            for a in accesses
        ],
    )
    files["processing.jsonld"] = _json(_processing(policy, rows))
    files["withheld.json"] = _json({"withheld": [], "explanation": {language: words[-1] for language, words in _WORDS.items()}})
    files["README.txt"] = (
        b"report.en.html, report.fr.html and report.ar.html are for reading; data/ and access-log.csv are for machines; manifest.json lists every file with its SHA-256.\n"
    )
    manifest = {
        "schema": SCHEMA, "subject": str(actor.actor_id), "generated_at": at.isoformat(timespec="seconds"), "policy": {"version": policy.version, "sha256": policy.sha256},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"manifest.json": _json(manifest), **files}.items():
            archive.writestr(zipfile.ZipInfo(name, at.timetuple()[:6]), content)
    return buffer.getvalue()


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _csv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """CSV for spreadsheets: a cell that could be taken for a formula is quoted with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(head)
    for row in rows:
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell for cell in row])
    return ("\ufeff" + buffer.getvalue()).encode()


def _processing(policy: Policy, rows: Sequence[HeldField]) -> dict[str, object]:
    return {
        "@context": {"dpv": "https://w3id.org/dpv#"},
        "@graph": [
            {
                "@type": "dpv:Process", "dpv:hasPersonalData": f"{row.dataset}.{row.name}", "dpv:hasPurpose": list(policy.dataset(row.dataset).field(row.name).purposes),
                "dpv:hasLegalBasis": [policy.purpose(name).basis for name in policy.dataset(row.dataset).field(row.name).purposes],
                "dpv:hasStorageCondition": row.retention, "dpv:hasDataSource": row.origin,
                "dpv:hasRecipient": [recipient.name for recipient in policy.recipients], "dpv:hasDataController": policy.controller.name,
            }
            for row in rows
        ],
    }  # fmt: skip


def _report(language: str, rows: Sequence[HeldField], accesses: Sequence[Access], policy: Policy) -> bytes:
    title, data, value, why, basis, origin, kept, used, when, who, what, reason, nothing = _WORDS[language]
    e = html.escape
    held = "".join(
        f"<tr><th scope=row>{e(row.dataset_label)}: {e(row.label)}</th><td><bdi>{e(row.value)}</bdi></td><td>{e(', '.join(row.purposes))}</td><td>{e(', '.join(row.bases))}</td>"
        f"<td>{e(ORIGINS[row.origin][language])}</td><td>{e(row.retention)}</td></tr>"
        for row in rows
    )
    labels = {role.name: role.label[language] for role in policy.roles}
    reasons = {entry.name: entry.label[language] for entry in policy.reasons}
    log = "".join(
        f"<tr><td><bdi dir=ltr>{e(a.at.isoformat(sep=' ', timespec='seconds'))}</bdi></td><td>{e(labels.get(a.role, a.role))}</td><td><bdi dir=ltr>{e(a.operation)}</bdi></td>"
        f"<td>{e(reasons.get(a.reason, ''))}</td></tr>"
        for a in accesses
    )
    style = "body{font:16px/1.6 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}table{border-collapse:collapse;width:100%;margin-block:1rem}th,td{border-block-end:1px solid #999;padding:.4rem;text-align:start;vertical-align:top}"
    direction = "rtl" if language == "ar" else "ltr"
    return (
        f'<!doctype html><html lang="{language}" dir="{direction}"><meta charset="utf-8"><title>{title}</title><style>{style}</style><main><h1>{title}</h1>'
        f"<table><thead><tr><th>{data}<th>{value}<th>{why}<th>{basis}<th>{origin}<th>{kept}</tr></thead><tbody>{held}</tbody></table>"
        f"<h2>{used}</h2><table><thead><tr><th>{when}<th>{who}<th>{what}<th>{reason}</tr></thead><tbody>{log}</tbody></table><p>{nothing}</p></main></html>"
    ).encode()
