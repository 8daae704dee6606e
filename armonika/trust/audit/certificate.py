"""The certificate of an erasure: what was destroyed, when and how, with the proof of its entry in the log; it verifies offline.

It holds the signed lines of the register (each names record, compartment, epoch and entry) and a proof file of the entry. Method: cryptographic
erase (NIST SP 800-88 §2.5): the wrapped data key of each record was destroyed; copies of it end with its epoch's key-encryption key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from armonika.trust import crypto
from armonika.trust.audit import proofs, register
from armonika.trust.audit.verify import entries
from armonika.trust.audit.verify_proof import ProofRefused, Proven, verify_proof

METHOD = "cryptographic erase (NIST SP 800-88): the wrapped data key of each record was destroyed"


class NoErasure(Exception):
    """The register names no erasure of this person, or its entry is not sealed yet."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate proves: when, the keys of which records, and the entry. `record`: it is of the end of this record alone, and says nothing of
    the person; None: the person was erased. `kept`: how many of the person's records the law kept."""

    subject: str
    record: str | None
    at: str
    keys: list[dict[str, Any]]
    kept: int
    proven: Proven


def make(log: Path, subject: UUID, state_of: dict[tuple[str, int], str], record: UUID | None = None) -> str:
    """The newest erasure of a person, or the end of one of their records, as JSON. `state_of` gives the state of each epoch today. Raises NoErasure."""
    lines = list(_of(log / register.FILE, subject))
    own = [line for line in lines if record is None or line["record"] == str(record)]
    if not own:
        raise NoErasure("the register names no erasure of this person")
    number = own[-1]["entry"]
    fetch = proofs.folder(log)
    checkpoint = fetch("checkpoint") or b"\n0\n"
    # What cannot be it is not read as JSON: the log may be long.
    named, sealed = str(number).encode(), enumerate(entries(log, int(checkpoint.split(b"\n", 2)[1])))
    found = next(
        ((index, content) for index, content in sealed if named in content and json.loads(content)["audit_id"] == number), None
    )
    if found is None:
        raise NoErasure("the entry is not sealed yet: try again in a second")
    index, content = found
    held = [line for line in lines if line["entry"] == number]
    destroyed, whole = _destroyed(held)
    if destroyed < whole:
        raise NoErasure(f"the keys are being destroyed, {destroyed} of {whole} so far: try again in a moment")
    certificate = {
        "format": "armonika-erasure-certificate/1", "subject": str(subject), "at": held[-1]["at"], "method": METHOD, "register": held,
        "epochs": {f"{line['compartment']}/{line['epoch']}": state_of.get((line["compartment"], line["epoch"]), "unknown") for line in held if line["record"]},
        "proof": proofs.proof_file(content, index, checkpoint, fetch),
    }  # fmt: skip
    return json.dumps(certificate, ensure_ascii=False, indent=1) + "\n"


def _of(path: Path, subject: UUID) -> Iterator[dict[str, Any]]:
    """The register's lines of one person, without those of everybody else in memory."""
    if not path.exists():
        return
    named = str(subject).encode()
    with path.open("rb") as file:
        for raw in file:
            if named in raw and (line := json.loads(raw))["subject"] == str(subject):
                yield line


def _destroyed(lines: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How many different records the lines name, and how many the person's own line says there were (the same number where there is none)."""
    named = len({line["record"] for line in lines if line["record"]})
    return named, next((int(line["records"]) for line in lines if line["record"] is None and "records" in line), named)


def verify(text: str, log_vkey: str, witness_vkeys: Sequence[str] = ()) -> Certified:
    """Raises ProofRefused unless proof, register lines and subject belong together and are signed."""
    try:
        content = json.loads(text)
        lines, subject = content["register"], content["subject"]
        proven = verify_proof(content["proof"], log_vkey, witness_vkeys)
        public = base64.b64decode(log_vkey.strip().split("+", 2)[2], validate=True)[1:]
        for line in lines:
            signature = base64.b64decode(line["sig"], validate=True)
            plain = {name: value for name, value in line.items() if name != "sig"}
            crypto.ed25519_verify(public, signature, json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
            if line["subject"] != subject or line["entry"] != proven.entry["audit_id"]:
                raise ProofRefused("a line of the register is of another erasure")
        if (
            not lines
            or proven.entry.get("operation") != "erase"
            or proven.entry.get("outcome") != "granted"
            or proven.entry.get("subject") != subject
        ):
            raise ProofRefused("the entry is not this erasure")
        # Who takes the person's own line out takes the count of the records with it. Of somebody whose last record expired both are of one entry.
        alone, named = proven.entry.get("record"), {line["record"] for line in lines}
        if named - {None} != {alone} if alone else None not in named:
            raise ProofRefused("it lacks the line of the person, or of the record that the entry names")
        destroyed, whole = _destroyed(lines)
        if destroyed != whole:
            raise ProofRefused(f"it names the keys of {destroyed} records, and {whole} were erased")
        if len({line["n"] for line in lines}) != len(lines):
            raise ProofRefused("a line of the register stands in it twice")
        keys = [
            {"record": line["record"], "compartment": line["compartment"], "epoch": line["epoch"]}
            for line in lines
            if line["record"]
        ]
        kept = next((int(line.get("kept", 0)) for line in lines if line["record"] is None), 0)
        return Certified(subject, None if None in named else alone, lines[-1]["at"], keys, kept, proven)
    except crypto.Unauthentic:
        raise ProofRefused("a signature is not of its key") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise ProofRefused("this is no certificate, or it is damaged") from None
