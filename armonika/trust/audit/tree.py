"""The Merkle tree of RFC 6962 §2: pure, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32


class ProofError(Exception):
    """A proof does not prove what it claims."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes; of none, SHA-256 of nothing."""
    if not leaves:
        return hashlib.sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


class Frontier:
    """The right edge of a growing tree: append leaves, know the root, without the rest. `edge` are the whole subtrees of a tree of `size`, as
    (height, hash), the widest first."""

    def __init__(self, size: int = 0, edge: Sequence[tuple[int, bytes]] = ()) -> None:
        self.size = size
        self._edge = list(edge)

    def append(self, leaf: bytes) -> None:
        """Adds one leaf hash."""
        height, value = 0, leaf
        while self._edge and self._edge[-1][0] == height:
            value = node_hash(self._edge.pop()[1], value)
            height += 1
        self._edge.append((height, value))
        self.size += 1

    def root(self) -> bytes:
        """The root of what was appended so far."""
        if not self._edge:
            return root([])
        value = self._edge[-1][1]
        for _, left in reversed(self._edge[:-1]):
            value = node_hash(left, value)
        return value


def inclusion(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of leaf `index` (RFC 6962 §2.1.1). Raises ProofError for a leaf that is not there."""
    if not 0 <= index < len(leaves):
        raise ProofError("no such leaf")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion(leaves[:k], index), root(leaves[k:])]
    return [*inclusion(leaves[k:], index - k), root(leaves[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> None:
    """Raises ProofError unless `leaf` is number `index` of the tree of `size` with root `expected` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError("no such leaf")
    fn, sn, value = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise ProofError("the path is too long")
        if fn & 1 or fn == sn:
            value = node_hash(sibling, value)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = node_hash(value, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or value != expected:
        raise ProofError("the entry is not in this tree at this place")


def consistency(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """The proof that the tree of `old` leaves is a prefix of this one (RFC 6962 §2.1.2). Raises ProofError for a size that is not there."""
    if not 0 < old <= len(leaves):
        raise ProofError("no such size")
    return _subproof(leaves, old, True)


def _subproof(leaves: Sequence[bytes], old: int, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = _split(len(leaves))
    if old <= k:
        return [*_subproof(leaves[:k], old, whole), root(leaves[k:])]
    return [*_subproof(leaves[k:], old - k, False), root(leaves[:k])]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises ProofError unless the older tree is a prefix of the newer (RFC 9162 §2.1.4.2)."""
    if not 0 < old <= new:
        raise ProofError("no such size")
    path = list(proof)
    if old == new:
        if path or old_root != new_root:
            raise ProofError("the trees differ")
        return
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("the proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise ProofError("the proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or first != old_root or second != new_root:
        raise ProofError("the older tree is no prefix of the newer")
