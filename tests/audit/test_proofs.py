"""Proofs from tiles against the plain tree, for every shape; and the independent verifier against every damage of a proof file."""

from __future__ import annotations

import base64
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armonika.trust import crypto
from armonika.trust.audit import note, tree
from armonika.trust.audit.proofs import Tiles, proof_file
from armonika.trust.audit.tiles import WIDTH, tile_path, up
from armonika.trust.audit.verify_proof import ProofRefused, verify_proof
from armonika.trust.audit.witness import Witness

ORIGIN = "log.example/audit"


class Log:
    """A log in memory: its files as the sealer would write them."""

    def __init__(self, size: int) -> None:
        self.entries = [b'{"v":1,"audit_id":%d}' % number for number in range(size)]
        self.leaves = [tree.leaf_hash(entry) for entry in self.entries]
        self.files: dict[str, bytes] = {}
        level, hashes = 0, self.leaves
        while hashes:
            for number in range((len(hashes) + WIDTH - 1) // WIDTH):
                part = hashes[number * WIDTH : (number + 1) * WIDTH]
                self.files[tile_path(level, number, len(part))] = b"".join(part)
            level, hashes = level + 1, [up(hashes[at : at + WIDTH]) for at in range(0, len(hashes) // WIDTH * WIDTH, WIDTH)]
        self.private, self.public = crypto.ed25519_generate()
        self.vkey = note.vkey(ORIGIN, self.public)
        self.checkpoint = note.sign(note.checkpoint(ORIGIN, size, tree.root(self.leaves)), ORIGIN, self.private)


@settings(max_examples=120)
@given(st.integers(1, 1200), st.data())
def test_tiles_give_the_same_proofs_as_the_whole_tree(size: int, data: st.DataObject) -> None:
    log = Log(size)
    tiles = Tiles(log.files.get, size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert tiles.root() == tree.root(log.leaves)
    path = tiles.inclusion(index)
    assert path == tree.inclusion(log.leaves, index)
    tree.verify_inclusion(log.leaves[index], index, size, path, tiles.root())
    proof = tiles.consistency(old)
    assert proof == tree.consistency(log.leaves, old)
    tree.verify_consistency(old, size, tree.root(log.leaves[:old]), tiles.root(), proof)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 70003])
def test_large_trees_take_few_tiles(size: int) -> None:
    log = Log(size)
    fetched = []

    def fetch(name: str) -> bytes | None:
        fetched.append(name)
        return log.files.get(name)

    tiles = Tiles(fetch, size)
    root = tree.root(log.leaves)
    for index in (0, size - 1, random.Random(size).randrange(size)):
        tree.verify_inclusion(log.leaves[index], index, size, tiles.inclusion(index), root)
    for old in (1, 256, 65000, size - 1):
        tree.verify_consistency(old, size, tree.root(log.leaves[:old]), root, tiles.consistency(old))
    assert len(set(fetched)) < 30


def test_a_partial_tile_may_be_gone_once_the_full_one_is_there() -> None:
    small, large = Log(300), Log(512)
    del small.files[tile_path(0, 1, 44)]
    assert Tiles(lambda name: small.files.get(name) or large.files.get(name), 300).root() == tree.root(large.leaves[:300])
    with pytest.raises(tree.ProofError, match="not there"):
        Tiles(small.files.get, 300).root()


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Log, list[str], str]:
    log = Log(777)
    witness = Witness(tmp_path_factory.mktemp("witness"), "witness.example/w", {ORIGIN: log.vkey})
    status, _, lines = witness.add_checkpoint(b"old 0\n\n" + log.checkpoint, 1_790_000_000)
    assert status == 200
    log.checkpoint += lines
    return log, witness.vkeys().splitlines(), proof_file(log.entries[300], 300, log.checkpoint, log.files.get)


def test_a_proof_is_accepted_with_and_without_witnesses(proven: tuple[Log, list[str], str]) -> None:
    log, witnesses, text = proven
    found = verify_proof(text, log.vkey, witnesses)
    assert (found.index, found.size, found.entry) == (300, 777, {"v": 1, "audit_id": 300})
    assert found.cosigned == [("witness.example/w", 1_790_000_000)] * 2
    assert verify_proof(text, log.vkey).cosigned == []


def test_every_damage_is_refused_and_nothing_else_is_raised(proven: tuple[Log, list[str], str]) -> None:
    log, witnesses, text = proven
    lines = text.split("\n")
    damaged = [
        text.replace("index 300", "index 301"), text.replace("index 300", "index 0300"), text.replace("\n777\n", "\n778\n"), text.replace(ORIGIN, "other.example/log"),
        "\n".join(lines[:3] + lines[4:]), "\n".join([*lines[:3], lines[4], lines[3], *lines[5:]]), text[: len(text) // 2], "", "c2sp.org/tlog-proof@v1\n",
        text.replace("extra " + base64.b64encode(log.entries[300]).decode(), "extra " + base64.b64encode(log.entries[301]).decode()),
        text.replace("\n", "\r\n"), text.replace("witness.example/w", "witness.example/x"), "x" * 300_000,
    ]  # fmt: skip
    dice = random.Random(7)
    for _ in range(600):
        at = dice.randrange(len(text))
        damaged.append(text[:at] + chr(dice.choice([ord(text[at]) ^ 1, 0, 10, 32, 43, 65, 0x2014, 0xFFFD])) + text[at + 1 :])
    refused = 0
    for one in damaged:
        if one == text:
            continue
        try:
            found = verify_proof(one, log.vkey, witnesses)
        except ProofRefused:
            refused += 1
        else:
            assert (found.index, found.entry, found.cosigned) == (
                300,
                {"v": 1, "audit_id": 300},
                [("witness.example/w", 1_790_000_000)] * 2,
            ), one
    assert refused > 550
    other = crypto.ed25519_generate()[1]
    with pytest.raises(ProofRefused, match="not signed"):
        verify_proof(text, note.vkey(ORIGIN, other))
    with pytest.raises(ProofRefused, match="damaged"):
        verify_proof(text, "nonsense")


def test_the_command_verifies_a_proof_with_nothing_else_of_ours(proven: tuple[Log, list[str], str], tmp_path: Path) -> None:
    import subprocess
    import sys

    log, witnesses, text = proven
    for name, content in (
        ("p.tlog-proof", text),
        ("log.vkey", log.vkey),
        ("witness.vkey", "\n".join(witnesses)),
        ("bad", text.replace("index 300", "index 299")),
    ):
        (tmp_path / name).write_text(content)
    words = ["--vkey", str(tmp_path / "log.vkey"), "--witness", str(tmp_path / "witness.vkey")]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", "audit", "verify", "--proof", str(tmp_path / name), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("p.tlog-proof").returncode == 0
    assert "Proven: entry 300 of 777" in run("p.tlog-proof").stdout
    assert run("bad").returncode == 1
    assert run("missing").returncode == 2
    assert hashlib.sha256(log.entries[300]).digest()
