"""Inclusion and consistency proofs from the tiles of a log (C2SP tlog-tiles), reading O(log n) of them; and proof files (C2SP tlog-proof).

`Fetch` gives the bytes of a path below the log (`checkpoint`, `tile/0/000`, …) or None: a folder and an HTTP server are the same to it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from armonika.trust.audit.files import MOST_NOTE, read_beneath
from armonika.trust.audit.tiles import WIDTH, tile_path
from armonika.trust.audit.tree import ProofError, leaf_hash, node_hash

Fetch = Callable[[str], bytes | None]
_HEIGHT = 8


def folder(path: Path) -> Fetch:
    """The files of a log's folder."""

    def fetch(name: str) -> bytes | None:
        try:
            return read_beneath(path, name, MOST_NOTE)
        except OSError:
            return None

    return fetch


class Tiles:
    """Hashes of a tree of `size` leaves. Each tile is fetched once."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self._fetch, self.size = fetch, size
        self._held: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """The hash of the whole subtree of 2^level leaves that begins at leaf index·2^level."""
        tile_level, inside = divmod(level, _HEIGHT)
        first = index << inside
        tile, at = divmod(first, WIDTH)
        hashes = self._tile(tile_level, tile)
        found = [hashes[32 * (at + n) : 32 * (at + n + 1)] for n in range(1 << inside)]
        while len(found) > 1:
            found = [node_hash(found[n], found[n + 1]) for n in range(0, len(found), 2)]
        return found[0]

    def subtree(self, first: int, last: int) -> bytes:
        """The hash over leaves [first, last) as RFC 6962 splits them."""
        count = last - first
        if count & (count - 1) == 0 and first % count == 0:
            return self.node(count.bit_length() - 1, first // count)
        split = 1 << (count - 1).bit_length() - 1
        return node_hash(self.subtree(first, first + split), self.subtree(first + split, last))

    def root(self) -> bytes:
        """The root of the tree."""
        return self.subtree(0, self.size)

    def partial(self, level: int, size: int) -> list[bytes]:
        """Hashes of the last tile of a tile level when the tree had `size` leaves; empty when that tile was full."""
        count = size >> (_HEIGHT * level)
        return [self.node(_HEIGHT * level, at) for at in range(count // WIDTH * WIDTH, count)]

    def inclusion(self, index: int) -> list[bytes]:
        """The audit path of leaf `index` (RFC 6962 §2.1.1), from the leaf's sibling up. Raises ProofError for a leaf or tile that is not there."""
        if not 0 <= index < self.size:
            raise ProofError("no such leaf")
        return self._path(index, 0, self.size)

    def _path(self, index: int, first: int, last: int) -> list[bytes]:
        if last - first == 1:
            return []
        split = first + (1 << (last - first - 1).bit_length() - 1)
        if index < split:
            return [*self._path(index, first, split), self.subtree(split, last)]
        return [*self._path(index, split, last), self.subtree(first, split)]

    def consistency(self, old: int) -> list[bytes]:
        """The proof that the first `old` leaves are a prefix (RFC 6962 §2.1.2). Raises ProofError for a size that is not there."""
        if not 0 < old <= self.size:
            raise ProofError("no such size")
        return self._prefix(old, 0, self.size, True)

    def _prefix(self, old: int, first: int, last: int, whole: bool) -> list[bytes]:
        if old == last - first:
            return [] if whole else [self.subtree(first, last)]
        split = 1 << (last - first - 1).bit_length() - 1
        if old <= split:
            return [*self._prefix(old, first, first + split, whole), self.subtree(first + split, last)]
        return [*self._prefix(old - split, first + split, last, False), self.subtree(first, first + split)]

    def _tile(self, level: int, number: int) -> bytes:
        if (level, number) not in self._held:
            width = min(WIDTH, (self.size >> (_HEIGHT * level)) - number * WIDTH)
            # A partial tile may be gone once the full one is there.
            content = self._fetch(tile_path(level, number, width)) or self._fetch(tile_path(level, number))
            if content is None or len(content) < 32 * width:
                raise ProofError(f"tile {level}/{number} of the log is not there")
            self._held[level, number] = content
        return self._held[level, number]


def proof_file(entry: bytes, index: int, checkpoint: bytes, fetch: Fetch) -> str:
    """A proof that this entry is in the log at `index` (c2sp.org/tlog-proof@v1). The entry itself is in the `extra` line. Raises ProofError when it is not that
    leaf, or a tile lacks."""
    size = int(checkpoint.split(b"\n", 2)[1])
    tiles = Tiles(fetch, size)
    if tiles.node(0, index) != leaf_hash(entry):
        raise ProofError("the entry is not the one of this index")
    path = "".join(base64.b64encode(one).decode() + "\n" for one in tiles.inclusion(index))
    return f"c2sp.org/tlog-proof@v1\nextra {base64.b64encode(entry).decode()}\nindex {index}\n{path}\n{checkpoint.decode()}"
