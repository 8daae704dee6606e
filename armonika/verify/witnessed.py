"""The newest checkpoint and its witness, for claim 7a.5; and ways in which the two can be wrong, planted in a folder that stands for theirs."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

from armonika.trust import crypto
from armonika.trust.audit import cosign, note
from armonika.trust.audit.verify import Broken, read_checkpoint
from armonika.trust.audit.verify_proof import ProofRefused, cosignatures
from armonika.trust.keys import Keyring
from armonika.verify.context import Context


def cosigned(log: Path, vkey: str, witness: Path, least: int) -> str:
    """What is wrong with the newest checkpoint: it lacks entries, or a signature of the witness. Empty: nothing."""
    try:
        raw = (log / "checkpoint").read_bytes()
        origin, size, root = read_checkpoint(raw, vkey)
        if size < least:
            return f"stands at {size} of {least} entries"
        body, _, signatures = raw.decode().partition("\n\n")
        keys = (witness / "witness.vkey").read_text().splitlines()
        own = base64.b64decode(vkey.strip().split("+", 2)[2])[1:]
        if any(base64.b64decode(key.split("+", 2)[2])[1:] == own for key in keys):
            return "is cosigned with the log's own key"
        lines = [line for line in signatures.split("\n") if line]
        seen = cosignatures(body + "\n", lines, origin, size, root, keys)
        return "" if len(seen) >= 2 else f"has {len(seen)} signatures of the witness, not of both its keys"
    except (OSError, Broken, ProofRefused, crypto.Unauthentic, ValueError, IndexError) as error:
        return f"is not the witness's too ({error})"


def still(context: Context, place: Path) -> None:
    """The checkpoint of a moment ago in front of the log of today."""
    log = place / "log"
    log.unlink()
    log.mkdir()
    for name in ("checkpoint", "log.vkey"):
        shutil.copy(context.settings.audit_log / name, log)
    (log / "tile").symlink_to(context.settings.audit_log / "tile")


def unseen(context: Context, place: Path) -> None:
    del context
    kinds = ((cosign.ED25519, crypto.ed25519_public(bytes(32))), (cosign.MLDSA44, crypto.mldsa44_public(bytes(32))))
    (place / "witness" / "witness.vkey").write_text("".join(cosign.vkey("armonika.dz/witness", *kind) + "\n" for kind in kinds))


def own_key(context: Context, place: Path) -> None:
    path = place / "witness" / "witness.vkey"
    name, _, public = (context.settings.audit_log / "log.vkey").read_text().strip().split("+", 2)
    del name
    mine = cosign.vkey("armonika.dz/witness", cosign.ED25519, base64.b64decode(public)[1:])
    path.write_text("\n".join([mine, *path.read_text().splitlines()[1:]]) + "\n")


def shorter(context: Context, place: Path) -> None:
    private = Keyring.open(context.settings.keys).log_key()
    (kept,) = (place / "witness").glob("*.checkpoint")
    origin, size = kept.read_text().split("\n", 2)[:2]
    kept.write_bytes(note.sign(note.checkpoint(origin, int(size) + 1000, bytes(32)), origin, private))
