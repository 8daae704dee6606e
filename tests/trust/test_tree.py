"""The Merkle tree, exactly: reference roots, every proof of small trees, and every damage of one."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from armonika.trust.audit import tree

LEAVES = [tree.leaf_hash(str(n).encode()) for n in range(20)]


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + plain_root(leaves[:k]) + plain_root(leaves[k:])).digest()


def test_hashes_are_separated() -> None:
    assert tree.leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest()
    assert tree.node_hash(b"l", b"r") == hashlib.sha256(b"\x01lr").digest()
    assert len(tree.leaf_hash(b"")) == tree.HASH_BYTES


@pytest.mark.parametrize("size", range(20))
def test_roots_and_edges_of_every_small_size(size: int) -> None:
    leaves = LEAVES[:size]
    frontier = tree.Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert tree.root(leaves) == plain_root(leaves) == frontier.root()
    assert frontier.size == size
    again = tree.Frontier(size, frontier._edge)
    again.append(LEAVES[0])
    assert again.root() == plain_root([*leaves, LEAVES[0]])
    assert again.size == size + 1


@pytest.mark.parametrize("size", range(1, 14))
def test_every_inclusion_proof_and_every_damage_of_it(size: int) -> None:
    leaves, root = LEAVES[:size], plain_root(LEAVES[:size])
    for index in range(size):
        path = tree.inclusion(leaves, index)
        tree.verify_inclusion(leaves[index], index, size, path, root)
        wrong: list[tuple[bytes, int, int, list[bytes], bytes]] = [
            (LEAVES[19], index, size, path, root), (leaves[index], index, size, path, LEAVES[19]), (leaves[index], index, size, [*path, LEAVES[19]], root),
            (leaves[index], size, size, path, root), (leaves[index], -1, size, path, root), (leaves[index], index, index, path, root),
        ]  # fmt: skip
        wrong += [(leaves[index], other, size, path, root) for other in range(size) if other != index]
        wrong += [(leaves[index], index, size, path[:cut], root) for cut in range(len(path))]
        wrong += [(leaves[index], index, size, [*path[:at], LEAVES[19], *path[at + 1 :]], root) for at in range(len(path))]
        for leaf, at, of, given, expected in wrong:
            with pytest.raises(tree.ProofError):
                tree.verify_inclusion(leaf, at, of, given, expected)
    for index in (-1, size):
        with pytest.raises(tree.ProofError):
            tree.inclusion(leaves, index)


@pytest.mark.parametrize("new", range(1, 14))
def test_every_consistency_proof_and_every_damage_of_it(new: int) -> None:
    leaves, root = LEAVES[:new], plain_root(LEAVES[:new])
    for old in range(1, new + 1):
        before, proof = plain_root(leaves[:old]), tree.consistency(leaves, old)
        tree.verify_consistency(old, new, before, root, proof)
        wrong = [(old, new, LEAVES[19], root, proof), (old, new, before, LEAVES[19], proof), (0, new, before, root, proof), (new + 1, new, before, root, proof),
                 (old, new, before, root, [*proof, LEAVES[19]])]  # fmt: skip
        wrong += [(old, new, before, root, proof[:cut]) for cut in range(len(proof))]
        wrong += [(old, new, before, root, [*proof[:at], LEAVES[19], *proof[at + 1 :]]) for at in range(len(proof))]
        wrong += [(other, new, before, root, proof) for other in range(1, new + 1) if other != old]
        for values in wrong:
            with pytest.raises(tree.ProofError):
                tree.verify_consistency(*values)
    for old in (0, new + 1):
        with pytest.raises(tree.ProofError):
            tree.consistency(leaves, old)


def test_proofs_are_those_of_the_rfc() -> None:
    """RFC 6962 §2.1.3: the tree of seven leaves."""
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = tree.node_hash(a, b), tree.node_hash(c, d), tree.node_hash(e, f)
    k, last = tree.node_hash(g, h), tree.node_hash(i, j)
    assert tree.inclusion(LEAVES[:7], 0) == [b, h, last]
    assert tree.inclusion(LEAVES[:7], 3) == [c, g, last]
    assert tree.inclusion(LEAVES[:7], 4) == [f, j, k]
    assert tree.inclusion(LEAVES[:7], 6) == [i, k]
    assert tree.consistency(LEAVES[:7], 3) == [c, d, g, last]
    assert tree.consistency(LEAVES[:7], 4) == [last]
    assert tree.consistency(LEAVES[:7], 6) == [i, j, k]
    assert tree.consistency(LEAVES[:7], 7) == []
    assert len({tuple(tree.inclusion(LEAVES[:7], n)) for n in range(7)}) == 7
    assert list(itertools.chain(*[tree.inclusion(LEAVES[:1], 0)])) == []


@pytest.mark.parametrize("size", range(1, 20))
def test_an_edge_made_of_whole_subtrees_goes_on(size: int) -> None:
    """Heights are those of the tree: an edge that comes from tiles and one that grew are the same."""
    edge, begin = [], 0
    for height in reversed(range(size.bit_length())):
        if size >> height & 1:
            edge.append((height, plain_root(LEAVES[begin : begin + (1 << height)])))
            begin += 1 << height
    grown = tree.Frontier()
    for leaf in LEAVES[:size]:
        grown.append(leaf)
    assert grown._edge == edge
    resumed = tree.Frontier(size, edge)
    for more in range(size, 20):
        resumed.append(LEAVES[more])
        assert resumed.root() == plain_root(LEAVES[: more + 1])
