"""Proofs from tiles are those of the whole tree, for every shape that matters."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from armonika.trust.audit import proofs, tree
from armonika.trust.audit.proofs import Tiles
from tests.trust.memory_log import MemoryLog

SIZES = [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 700]
LOGS = {size: MemoryLog(size) for size in [*SIZES, 65_540]}


@pytest.mark.parametrize("size", SIZES)
def test_proofs_are_those_of_the_tree(size: int) -> None:
    log = LOGS[size]
    held = Tiles(log.files.get, size)
    assert held.root() == log.root
    for index in {0, 1, size // 2, 255, 256, 511, size - 1} & set(range(size)):
        assert held.inclusion(index) == tree.inclusion(log.leaves, index)
        assert held.node(0, index) == log.leaves[index]
    for old in {1, 2, 3, 255, 256, 257, 512, size - 1, size} & set(range(1, size + 1)):
        assert held.consistency(old) == tree.consistency(log.leaves, old)
    for bad in (-1, size):
        with pytest.raises(tree.ProofError):
            held.inclusion(bad)
    for bad in (0, size + 1):
        with pytest.raises(tree.ProofError):
            held.consistency(bad)


def test_nodes_of_every_height_and_the_last_tile_of_an_earlier_size() -> None:
    log = LOGS[65_540]
    held = Tiles(log.files.get, 65_540)
    for level in (0, 1, 4, 7, 8, 9, 12, 15, 16):
        assert held.node(level, 0) == tree.root(log.leaves[: 1 << level])
    assert held.node(3, 5) == tree.root(log.leaves[40:48])
    assert held.node(9, 3) == tree.root(log.leaves[1536:2048])
    assert held.root() == log.root
    assert held.partial(0, 700) == log.leaves[512:700]
    assert held.partial(1, 700) == [tree.root(log.leaves[0:256]), tree.root(log.leaves[256:512])]
    assert held.partial(2, 700) == held.partial(0, 512) == []


def test_each_tile_is_fetched_once_and_few_of_them() -> None:
    log, asked = LOGS[65_540], []

    def fetch(name: str) -> bytes | None:
        asked.append(name)
        return log.files.get(name)

    held = Tiles(fetch, 65_540)
    assert held.inclusion(5) == tree.inclusion(log.leaves, 5)
    assert held.inclusion(6) == tree.inclusion(log.leaves, 6)
    assert len(asked) == len(set(asked)) <= 5


def test_a_full_tile_stands_for_a_partial_one_and_nothing_else_does() -> None:
    small, large = LOGS[257], LOGS[512]
    files = dict(small.files)
    partial = files.pop("tile/0/001.p/1")
    with pytest.raises(tree.ProofError, match="not there"):
        Tiles(files.get, 257).root()
    files["tile/0/001"] = large.files["tile/0/001"]
    assert Tiles(files.get, 257).root() == small.root
    for content in (partial[:31], b""):
        with pytest.raises(tree.ProofError):
            Tiles((small.files | {"tile/0/001.p/1": content}).get, 257).root()


def test_a_proof_file_is_text_of_the_specification(tmp_path: Path) -> None:
    log = LOGS[3]
    lines = log.proof(1).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra eyJ2IjoxLCJhdWRpdF9pZCI6MX0=")
    assert lines[2] == "index 1"
    assert lines[3:5] == [base64.b64encode(one).decode() for one in tree.inclusion(log.leaves, 1)]
    assert lines[5] == ""
    assert "\n".join(lines[6:]) == log.checkpoint.decode()
    with pytest.raises(tree.ProofError, match="not the one"):
        proofs.proof_file(log.entries[0], 1, log.checkpoint, log.files.get)
    (tmp_path / "checkpoint").write_bytes(b"x")
    assert proofs.folder(tmp_path)("checkpoint") == b"x"
    assert proofs.folder(tmp_path)("tile/0/000") is None
