"""The certificate of an erasure, made and verified without a server; each part that is not of this erasure is refused with its reason."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from armonika.trust import crypto
from armonika.trust.audit import note, tiles, tree
from armonika.trust.audit.certificate import METHOD, NoErasure, make, verify
from armonika.trust.audit.register import FILE
from armonika.trust.audit.verify_proof import ProofRefused
from tests.trust.memory_log import LOG, ORIGIN, VKEY, WITNESSES, MemoryLog
from tests.trust.test_verifier import lay

WHOM, OTHER = UUID(int=7), UUID(int=8)
STATES = {("account", 1): "active", ("support", 2): "destroyed"}


def entry(number: int, **more: object) -> dict[str, object]:
    return {"v": 1, "audit_id": number, "operation": "erase", "outcome": "granted", "subject": str(WHOM)} | more


def line(number: int, audit: int, subject: UUID = WHOM, record: str | None = None, compartment: str | None = None, epoch: int | None = None, **more: object) -> dict[str, Any]:  # fmt: skip
    content: dict[str, Any] = {
        "v": 1, "n": number, "at": f"2026-11-25T12:00:0{number}.000000+00:00", "subject": str(subject), "record": record, "compartment": compartment, "epoch": epoch, "entry": audit,
        "prev": "",
    } | more  # fmt: skip
    plain = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return content | {"sig": base64.b64encode(crypto.ed25519_sign(LOG, plain)).decode()}


LINES = [
    line(1, 3, record="r0", compartment="account", epoch=1), line(2, 3),
    line(3, 5, record="r1", compartment="account", epoch=1), line(4, 5, record="r2", compartment="support", epoch=2), line(5, 5, record="r3", compartment="rights", epoch=9), line(6, 5),
    line(7, 6, OTHER),
]  # fmt: skip


def log_of(*contents: dict[str, object]) -> MemoryLog:
    """A log of these entries."""
    log = MemoryLog(len(contents))
    log.entries = [json.dumps(content, sort_keys=True, separators=(",", ":")).encode() for content in contents]
    log.leaves = [tree.leaf_hash(content) for content in log.entries]
    log.files = {tiles.tile_path(0, 0, log.size): b"".join(log.leaves)}
    log.root = tree.root(log.leaves)
    log.checkpoint = note.sign(note.checkpoint(ORIGIN, log.size, log.root), ORIGIN, LOG)
    return log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = lay(log_of(*[entry(number) for number in range(8)]), tmp_path / "log")
    (made / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in LINES))
    return made


def test_the_newest_erasure_is_certified_whole(folder: Path) -> None:
    text = make(folder, WHOM, STATES)
    content = json.loads(text)
    assert text == json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    assert content["proof"].startswith("c2sp.org/tlog-proof@v1\n")
    assert {name: value for name, value in content.items() if name != "proof"} == {
        "format": "armonika-erasure-certificate/1", "subject": str(WHOM), "at": "2026-11-25T12:00:06.000000+00:00", "method": METHOD, "register": LINES[2:6],
        "epochs": {"account/1": "active", "support/2": "destroyed", "rights/9": "unknown"},
    }  # fmt: skip
    assert METHOD == "cryptographic erase (NIST SP 800-88): the wrapped data key of each record was destroyed"
    proven = verify(text, VKEY)
    assert (proven.subject, proven.at) == (str(WHOM), "2026-11-25T12:00:06.000000+00:00")
    assert proven.keys == [
        {"record": "r1", "compartment": "account", "epoch": 1}, {"record": "r2", "compartment": "support", "epoch": 2}, {"record": "r3", "compartment": "rights", "epoch": 9},
    ]  # fmt: skip
    assert proven.proven.entry["audit_id"] == 5
    assert verify(text, f" {VKEY}\n").subject == str(WHOM)
    assert "\\u" not in text, "as it is read"


def test_what_is_not_there_yet_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NoErasure, match="names no erasure"):
        make(folder, UUID(int=9), STATES)
    with pytest.raises(NoErasure, match="names no erasure"):
        make(tmp_path, WHOM, STATES)
    (folder / FILE).write_bytes((folder / FILE).read_bytes() + json.dumps(line(8, 8)).encode() + b"\n")
    with pytest.raises(NoErasure, match="not sealed yet"):
        make(folder, WHOM, STATES)
    (folder / "checkpoint").unlink()
    with pytest.raises(NoErasure, match="not sealed yet"):
        make(folder, WHOM, STATES)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(make(folder, WHOM, STATES))
    change(content)
    return json.dumps(content)


CHANGES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c["register"][0].update(epoch=4), "not of its key"), (lambda c: c["register"][0].update(record="r9"), "not of its key"),
    (lambda c: c["register"][1].update(sig=c["register"][0]["sig"]), "not of its key"), (lambda c: c["register"].__setitem__(0, LINES[0]), "of another erasure"),
    (lambda c: c["register"].__setitem__(3, LINES[6]), "of another erasure"), (lambda c: c["register"].__setitem__(0, line(3, 5, OTHER)), "of another erasure"),
    (lambda c: c.update(register=[]), "not this erasure"), (lambda c: c.update(subject=str(OTHER)), "of another erasure"),
    (lambda c: c.pop("register"), "no certificate"), (lambda c: c.pop("subject"), "no certificate"), (lambda c: c.pop("proof"), "no certificate"),
    (lambda c: c["register"][0].pop("sig"), "no certificate"), (lambda c: c["register"][0].update(sig="!" + c["register"][0]["sig"]), "no certificate"),
    (lambda c: c["register"].__setitem__(0, 1), "no certificate"), (lambda c: c.update(register=1), "no certificate"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_every_change_is_refused(folder: Path, number: int) -> None:
    change, why = CHANGES[number]
    with pytest.raises(ProofRefused, match=why):
        verify(changed(folder, change), VKEY)


@pytest.mark.parametrize("more", [{"operation": "read"}, {"outcome": "refused"}, {"subject": str(OTHER)}, {"operation": None}])
def test_the_entry_must_be_this_erasure(tmp_path: Path, more: dict[str, object]) -> None:
    folder = lay(log_of(entry(5, **more), entry(6)), tmp_path / "log")
    (folder / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in LINES[2:6]))
    with pytest.raises(ProofRefused, match="the entry is not this erasure"):
        verify(make(folder, WHOM, STATES), VKEY)


def test_keys_and_form_must_be_right(folder: Path) -> None:
    text = make(folder, WHOM, STATES)
    for damaged in ("", "{}", "[]", "1", text[:-3]):
        with pytest.raises(ProofRefused, match="no certificate"):
            verify(damaged, VKEY)
    with pytest.raises(ProofRefused):
        verify(text, note.vkey(ORIGIN, crypto.ed25519_public(bytes(32))))
    with pytest.raises(ProofRefused):
        verify(text, VKEY, WITNESSES)
    for vkey in ("", "a+b"):
        with pytest.raises(ProofRefused):
            verify(text, vkey)


def laid(folder: Path, lines: list[dict[str, Any]], **more: object) -> Path:
    """A log of one erasure, entry 5, with these lines of the register."""
    made = lay(log_of(entry(5, **more)), folder)
    (made / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in lines))
    return made


COUNTED = [*LINES[2:5], line(6, 5, records=3, kept=2)]


def test_the_persons_own_line_says_how_many_records_there_were_and_how_many_are_kept(tmp_path: Path) -> None:
    folder = laid(tmp_path / "log", COUNTED)
    proven = verify(make(folder, WHOM, STATES), VKEY)
    assert (len(proven.keys), proven.kept, proven.record) == (3, 2, None)
    assert verify(make(laid(tmp_path / "plain", LINES[2:6]), WHOM, STATES), VKEY).kept == 0, "a register of before counts none"
    (folder / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in (*COUNTED[:2], COUNTED[3])))
    with pytest.raises(NoErasure, match="are being destroyed, 2 of 3 so far"):
        make(folder, WHOM, STATES)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([*COUNTED[:2], COUNTED[3]], "names the keys of 2 records, and 3 were erased"), ([*COUNTED[:3], line(6, 5, records=2)], "names the keys of 3 records, and 2 were erased"),
        (COUNTED[:3], "lacks the line of the person"), ([*COUNTED, COUNTED[0]], "stands in it twice"), ([*COUNTED, COUNTED[3]], "stands in it twice"),
    ],
)  # fmt: skip
def test_lines_that_were_taken_out_or_put_in_twice_are_missed(tmp_path: Path, lines: list[dict[str, Any]], why: str) -> None:
    """Each is signed: what is wrong is that they are not all there, or more."""
    content = json.loads(make(laid(tmp_path / "log", COUNTED), WHOM, STATES)) | {"register": lines}
    with pytest.raises(ProofRefused, match=why):
        verify(json.dumps(content), VKEY)


def test_the_certificate_of_a_record_is_of_that_record_alone(tmp_path: Path) -> None:
    """With the person's line too when it was their last one."""
    one = line(3, 5, record="r1", compartment="account", epoch=1)
    text = make(laid(tmp_path / "log", [one], record="r1"), WHOM, STATES)
    proven = verify(text, VKEY)
    assert (proven.record, proven.kept, [key["record"] for key in proven.keys]) == ("r1", 0, ["r1"])
    last = line(4, 5, records=1, kept=0)
    both = verify(json.dumps(json.loads(text) | {"register": [one, last]}), VKEY)
    assert (both.record, [key["record"] for key in both.keys]) == (None, ["r1"])
    other = line(4, 5, record="r2", compartment="account", epoch=1)
    for lines in ([other], [one, other], [last]):
        with pytest.raises(ProofRefused, match="or of the record that the entry names"):
            verify(json.dumps(json.loads(text) | {"register": lines}), VKEY)


def test_of_a_record_that_is_named_its_own_end_is_certified(tmp_path: Path) -> None:
    """Whatever of the same person ended since."""
    first, second = UUID(int=11), UUID(int=12)
    folder = lay(log_of(entry(4, record=str(first)), entry(5, record=str(second))), tmp_path / "log")
    ends = [
        line(number, 3 + number, record=str(which), compartment="account", epoch=1) for number, which in ((1, first), (2, second))
    ]
    (folder / FILE).write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in ends))
    for record, of in ((None, second), (first, first), (second, second)):
        assert verify(make(folder, WHOM, STATES, record), VKEY).record == str(of)
    with pytest.raises(NoErasure, match="names no erasure"):
        make(folder, WHOM, STATES, UUID(int=13))
