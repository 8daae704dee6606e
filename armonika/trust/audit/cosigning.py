"""Asks the witness for its cosignatures of a new checkpoint. Sealing goes on without them: a checkpoint that lacks them shows that it does."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request

from armonika.trust.audit.proofs import Fetch, Tiles
from armonika.trust.audit.tree import ProofError

SECONDS = 2.0
_TRIES = 3


def cosignatures(address: str, note: bytes, fetch: Fetch, known: int) -> tuple[bytes, int] | None:
    """The witness's signature lines for `note` and the size that it now knows; None when it does not answer or refuses. `known` is the size that
    it is believed to have cosigned last: when it says another (409), that one is taken."""
    size = int(note.split(b"\n")[1])
    for _ in range(_TRIES):
        try:
            proof = Tiles(fetch, size).consistency(known) if 0 < known < size else []
        except ProofError:
            return None
        body = f"old {known}\n".encode() + b"".join(base64.b64encode(one) + b"\n" for one in proof) + b"\n" + note
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{address}/add-checkpoint", data=body), timeout=SECONDS
            ) as response:
                return bytes(response.read()), size
        except urllib.error.HTTPError as error:
            said = error.read(32)
            if error.code != 409 or not said.strip().isdigit() or int(said) > size:
                return None
            known = int(said)
        except (urllib.error.URLError, OSError):
            return None
    return None
