"""The register of what ended, line by line: the form of a line, the chain, and every change of the file."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from armonika.trust import crypto
from armonika.trust.audit import register
from armonika.trust.audit.register import FILE, Register, RegisterBroken, lines

KEY = bytes(range(32))
PUBLIC = crypto.ed25519_public(KEY)
AT = datetime(2026, 11, 25, 13, 4, 5, 6, tzinfo=timezone(timedelta(hours=1)))


class Ended:
    """The database's side: rows that ended, and which of them are registered."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.done: set[int] = set()
        self.folder, self.durable = folder, 0

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Ended:
        if (
            statement
            == "SELECT ended_no, at, subject, record, compartment, epoch, audit_id, records, kept FROM vault.unregistered(%s)"
        ):
            assert parameters == (1000,)
            self.found = [row for row in self.rows if row[0] not in self.done][: parameters[0]]
        else:
            assert statement == "SELECT vault.mark_registered(%s::bigint[])"
            # Said to the database only when the lines are in the file.
            assert len((self.folder / FILE).read_bytes().splitlines()) >= len(self.done) + len(parameters[0])
            self.done |= set(parameters[0])
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.found


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    made = Ended(tmp_path)
    made.rows = [
        (1, AT, UUID(int=1), UUID(int=2), "account", 3, 10, None, None), (2, AT, UUID(int=1), None, None, None, 10, 1, 0), (5, AT, UUID(int=9), UUID(int=8), "support", 1, 12, None, None),
    ]  # fmt: skip
    return made


def writer(ended: Ended) -> Register:
    made = Register(ended, ended.folder, KEY)  # type: ignore[arg-type]
    made.load()
    return made


def test_a_line_is_canonical_json_chained_and_signed(ended: Ended, tmp_path: Path) -> None:
    assert not list(lines(tmp_path / FILE, PUBLIC))
    one = Register(ended, tmp_path, KEY)  # type: ignore[arg-type]
    assert one.load() == 0
    mask = os.umask(0o077)
    try:
        assert one.write() == 3
    finally:
        os.umask(mask)
    assert FILE == "ended.jsonl"
    assert ended.done == {1, 2, 5}
    assert one.write() == 0
    raw = (tmp_path / FILE).read_bytes()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o644
    texts = raw.split(b"\n")
    assert texts.pop() == b""
    before = ""
    for text, row in zip(texts, ended.rows, strict=True):
        content = json.loads(text)
        signature = base64.b64decode(content.pop("sig"), validate=True)
        assert content == {
            "v": 1, "n": row[0], "at": "2026-11-25T12:04:05.000006+00:00", "subject": str(row[2]), "record": str(row[3]) if row[3] else None, "compartment": row[4],
            "epoch": row[5], "entry": row[6], "prev": before,
        } | ({"records": 1, "kept": 0} if row[3] is None else {})  # fmt: skip
        crypto.ed25519_verify(PUBLIC, signature, json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()
        before = crypto.sha256(text).hex()
    assert [line["n"] for line in lines(tmp_path / FILE, PUBLIC)] == [1, 2, 5]
    assert datetime.fromisoformat(json.loads(texts[0])["at"]) == AT.astimezone(UTC)


def test_the_chain_goes_on_over_calls_and_restarts(ended: Ended, tmp_path: Path) -> None:
    later = ended.rows[1:]
    ended.rows = ended.rows[:1]
    one = writer(ended)
    assert one.write() == 1
    ended.rows += later[:1]
    assert one.write() == 1
    ended.rows += later[1:]
    again = Register(ended, tmp_path, KEY)  # type: ignore[arg-type]
    assert again.load() == 2
    assert again.write() == 1
    assert [line["n"] for line in lines(tmp_path / FILE, PUBLIC)] == [1, 2, 5]


def test_lines_are_durable_before_the_database_hears_of_them(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        done.append("fsync")
        assert os.fstat(descriptor).st_size == (tmp_path / FILE).stat().st_size > 0
        assert not ended.done
        real(descriptor)

    monkeypatch.setattr(register.os, "fsync", watched)
    writer(ended).write()
    assert done == ["fsync"]


def test_a_line_that_a_crash_cut_off_is_left_out_and_written_again(ended: Ended, tmp_path: Path) -> None:
    writer(ended).write()
    path = tmp_path / FILE
    raw = path.read_bytes()
    for cut in (raw.rstrip(b"\n"), raw[:-10], raw[: raw.rfind(b"\n", 0, -1) + 2]):
        path.write_bytes(cut)
        kept = len([1 for _ in lines(path, PUBLIC)])
        assert kept == (3 if cut == raw.rstrip(b"\n") else 2)
        ended.done = {1, 2}
        assert writer(ended).write() == 1
        assert path.read_bytes() == raw
    path.write_bytes(raw[:20])
    ended.done = set()
    assert writer(ended).write() == 3
    assert path.read_bytes() == raw


def test_every_change_is_named(ended: Ended, tmp_path: Path) -> None:
    writer(ended).write()
    path = tmp_path / FILE
    texts = path.read_bytes().splitlines()

    def refused(changed: Sequence[bytes], why: str, public: bytes = PUBLIC) -> None:
        path.write_bytes(b"\n".join(changed) + b"\n")
        with pytest.raises(RegisterBroken, match=why):
            list(lines(path, public))
        with pytest.raises(RegisterBroken, match=why):
            Register(ended, tmp_path, KEY if public == PUBLIC else bytes(32)).load()  # type: ignore[arg-type]

    refused([texts[0].replace(b'"epoch":3', b'"epoch":4'), *texts[1:]], "line 1 of .* is altered")
    refused(texts[1:], "before line 1 of .* a line was taken out")
    refused([texts[0], texts[2]], "before line 2 of")
    refused([texts[1], texts[0], texts[2]], "before line 1 of")
    refused([texts[0], *texts], "before line 2 of")
    refused(texts, "line 1 of .* is altered", crypto.ed25519_public(bytes(32)))
    path.write_bytes(texts[0] + b"\n\n" + b"\n".join(texts[1:]) + b"\n")
    assert [line["n"] for line in lines(path, PUBLIC)] == [1, 2, 5], "an empty line hides nothing"
    for damaged in (b"{", b"[]", b"1", b'{"n":1}', b'{"sig":"!"}', b'{"sig":1}', b"\xff"):
        refused([damaged, *texts[1:]], "line 1 of .* cannot be read")
        refused([*texts[:2], damaged], "line 3 of .* cannot be read")


def test_one_signature_stands_for_all_lines_and_none_stands_without(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start reads the whole register, and a signature takes as long as the rest of forty lines."""
    ended.rows = [(n, AT, UUID(int=n), None, None, None, n, 1, 0) for n in range(1, 51)]
    writer(ended).write()
    path, looked, real = tmp_path / FILE, [], crypto.ed25519_verify
    monkeypatch.setattr(
        register.crypto,
        "ed25519_verify",
        lambda *asked: looked.append(asked) or real(*asked),  # type: ignore[func-returns-value]
    )
    assert len(list(lines(path, PUBLIC))) == writer(ended).load() == 50
    assert len(looked) == 3, "one of each reading"
    # Whoever changes a line can chain those that follow anew, and sign none of them.
    forged, before = [], ""
    for n, text in enumerate(path.read_bytes().splitlines()):
        content = json.loads(text) | {"prev": before} | ({"entry": 9} if n == 7 else {})
        forged.append(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
        before = crypto.sha256(forged[-1]).hex()
    path.write_bytes(b"\n".join(forged) + b"\n")
    with pytest.raises(RegisterBroken, match=r"line 8 of .* is altered"):
        list(lines(path, PUBLIC))
