"""A log in memory, as the sealer would write it, and everything that can be wrong with a proof of it."""

from __future__ import annotations

from armonika.trust import crypto
from armonika.trust.audit import cosign, note, tree
from armonika.trust.audit.proofs import proof_file
from armonika.trust.audit.tiles import WIDTH, tile_path, up

ORIGIN, WITNESS = "log.example/a", "witness.example/w"
LOG, ED, ML = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
VKEY = note.vkey(ORIGIN, crypto.ed25519_public(LOG))
WITNESSES = [
    cosign.vkey(WITNESS, cosign.ED25519, crypto.ed25519_public(ED)),
    cosign.vkey(WITNESS, cosign.MLDSA44, crypto.mldsa44_public(ML)),
]
AT = 1_790_000_000


class MemoryLog:
    """Entries, tiles, and a checkpoint with both cosignatures."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries = [b'{"v":1,"audit_id":%d}' % number for number in range(size)]
        self.leaves = [tree.leaf_hash(entry) for entry in self.entries]
        self.files: dict[str, bytes] = {}
        level, hashes = 0, self.leaves
        while hashes:
            for number in range((len(hashes) + WIDTH - 1) // WIDTH):
                part = hashes[number * WIDTH : (number + 1) * WIDTH]
                self.files[tile_path(level, number, len(part))] = b"".join(part)
            level, hashes = level + 1, [up(hashes[at : at + WIDTH]) for at in range(0, len(hashes) // WIDTH * WIDTH, WIDTH)]
        self.root = tree.root(self.leaves)
        text = note.checkpoint(ORIGIN, size, self.root)
        self.checkpoint = note.sign(text, ORIGIN, LOG) + cosign.lines(WITNESS, ED, ML, text.encode(), ORIGIN, size, self.root, AT)

    def proof(self, index: int) -> str:
        """The proof file of one entry."""
        return proof_file(self.entries[index], index, self.checkpoint, self.files.get)
