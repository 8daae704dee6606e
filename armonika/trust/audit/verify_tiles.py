"""Verifies a log from its tiles alone, as anybody can who reaches them over HTTP: every hash is recomputed up to the signed root, and an older
checkpoint that was kept must be a prefix. Entries are not needed. Independent of what writes the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from armonika.trust import crypto
from armonika.trust.audit.files import MOST_NOTE, read_beneath
from armonika.trust.audit.verify import (
    Broken,
    Report,
    extends,
    fold,
    merge,
    older,
    read_checkpoint,
    stack_at,
    stored_in,
    tile_name,
    upper,
)
from armonika.trust.audit.verify_proof import ProofRefused, cosignatures

Fetch = Callable[[str], bytes | None]


def verify_tiles(
    fetch: Fetch, checkpoint: bytes, vkey: str, witness_vkeys: Sequence[str] = (), kept: bytes | None = None
) -> Report:
    """Looks at every tile from the kept checkpoint on, or at all of them. `fetch` gives the bytes of a path below the log, or None.

    The report's findings name the first tile that is missing or wrong, a log that was cut off or forked, and a witness that has not signed. Raises nothing
    but what `fetch` raises.
    """
    report = Report()
    try:
        origin, size, root = read_checkpoint(checkpoint, vkey)
        report.size, report.root = size, root.hex()
        cosigned(checkpoint, origin, size, root, witness_vkeys)
        olds = older(kept, None, vkey)
        if olds and olds[0][0] > size:
            raise Broken(f"truncated: the kept checkpoint has {olds[0][0]} entries, this log {size}")
        _leaves(fetch, size, root, olds, report)
    except Broken as broken:
        report.findings.append(str(broken))
    return report


def cosigned(checkpoint: bytes, origin: str, size: int, root: bytes, witness_vkeys: Sequence[str]) -> None:
    """Raises Broken unless every named witness has signed the checkpoint, whose signature by the log holds."""
    body, _, signatures = checkpoint.decode().partition("\n\n")
    try:
        cosignatures(body + "\n", signatures[:-1].split("\n"), origin, size, root, witness_vkeys)
    except (ProofRefused, crypto.Unauthentic, ValueError) as error:
        said = str(error) if isinstance(error, ProofRefused) else "a cosignature is not of its witness"
        raise Broken(f"{said}. A checkpoint that is seconds old may not have it yet: try again") from None


def _leaves(fetch: Fetch, size: int, root: bytes, olds: Sequence[tuple[int, bytes, str]], report: Report) -> None:
    first = olds[0][0] // 256 * 256 if olds else 0
    hash_of = stored_in(fetch, size)
    stack = stack_at(hash_of, first)
    for index in range(first, size):
        extends(olds, index, stack)
        leaf = hash_of(0, index)
        if leaf is None:
            raise Broken(f"tile 0/{tile_name(index // 256)} is missing or cut off: entry {index} cannot be placed")
        merge(stack, leaf)
        report.entries += 1
    extends(olds, size, stack)
    # First what lies above: it names the place.
    upper(fetch, size, olds[0][0] if olds else 0)
    if fold(stack) != root:
        raise Broken("the tiles do not make the root of the checkpoint")


def cosigned_in(folder: Path, vkey: str, witness_vkeys: Sequence[str]) -> list[str]:
    """What is missing in the checkpoint of a folder: the findings of `cosigned`."""
    try:
        raw = read_beneath(folder, "checkpoint", MOST_NOTE)
        cosigned(raw, *read_checkpoint(raw, vkey), witness_vkeys)
    except Broken as broken:
        return [str(broken)]
    return []
