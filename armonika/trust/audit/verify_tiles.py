"""Verifies a log from its tiles alone, as anybody can who reaches them over HTTP: every hash is recomputed up to the signed root, and an older
checkpoint that was kept must be a prefix. Entries are not needed. Independent of what writes the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from armonika.trust import crypto
from armonika.trust.audit.verify import Broken, Report, fold, merge, read_checkpoint, stack_at, stored_in, tile_name
from armonika.trust.audit.verify_proof import ProofRefused, cosignatures

Fetch = Callable[[str], bytes | None]


def verify_tiles(
    fetch: Fetch, checkpoint: bytes, vkey: str, witness_vkeys: Sequence[str] = (), kept: bytes | None = None
) -> Report:
    """Looks at every tile from the kept checkpoint on, or at all of them. `fetch` gives the bytes of a path below the log, or None.

    The report's findings name the first tile that is missing or wrong, a log that was cut off or forked, and a witness that has not signed.
    """
    report = Report()
    try:
        origin, size, root = read_checkpoint(checkpoint, vkey)
        report.size, report.root = size, root.hex()
        _witnessed(checkpoint, origin, size, root, witness_vkeys)
        old = read_checkpoint(kept, vkey) if kept is not None else None
        if old and old[1] > size:
            raise Broken(f"truncated: the kept checkpoint has {old[1]} entries, this log {size}")
        _leaves(fetch, size, root, old, report)
        _upper(fetch, size, old[1] if old else 0)
    except Broken as broken:
        report.findings.append(str(broken))
    return report


def _witnessed(checkpoint: bytes, origin: str, size: int, root: bytes, witness_vkeys: Sequence[str]) -> None:
    body, _, signatures = checkpoint.decode().partition("\n\n")
    try:
        cosignatures(body + "\n", [line for line in signatures.split("\n") if line], origin, size, root, witness_vkeys)
    except (ProofRefused, crypto.Unauthentic, ValueError) as error:
        said = str(error) if isinstance(error, ProofRefused) else "a cosignature is not of its witness"
        raise Broken(f"{said}. A checkpoint that is seconds old may not have it yet: try again") from None


def _leaves(fetch: Fetch, size: int, root: bytes, old: tuple[str, int, bytes] | None, report: Report) -> None:
    first = old[1] // 256 * 256 if old else 0
    hash_of = stored_in(fetch, size)
    stack = stack_at(hash_of, first)
    for index in range(first, size):
        if old and index == old[1] and fold(stack) != old[2]:
            raise Broken(f"forked: the first {old[1]} entries are not those of the kept checkpoint")
        leaf = hash_of(0, index)
        if leaf is None:
            raise Broken(f"tile 0/{tile_name(index // 256)} is missing or cut off: entry {index} cannot be placed")
        merge(stack, leaf)
        report.entries += 1
    if old and old[1] == size and fold(stack) != old[2]:
        raise Broken(f"forked: the first {old[1]} entries are not those of the kept checkpoint")
    if fold(stack) != root:
        raise Broken("the tiles do not make the root of the checkpoint")


def _upper(fetch: Fetch, size: int, old: int) -> None:
    """Each hash above the leaves is that of the full tile below it: proofs are made from them."""
    level = 1
    while size >> 8 * level:
        above, below = stored_in(fetch, size), stored_in(fetch, size)
        for index in range((old >> 8 * level), size >> 8 * level):
            hashes = [below(level - 1, index * 256 + at) or b"" for at in range(256)]
            while len(hashes) > 1:
                hashes = [hashlib.sha256(b"\x01" + hashes[n] + hashes[n + 1]).digest() for n in range(0, len(hashes), 2)]
            if above(level, index) != hashes[0]:
                raise Broken(
                    f"tile {level}/{tile_name(index // 256)} does not hold the hash of tile {level - 1}/{tile_name(index)}"
                )
        level += 1
