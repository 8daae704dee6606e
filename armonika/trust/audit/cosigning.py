"""Asks the witness for its cosignatures of a new checkpoint. Sealing goes on without them: a checkpoint that lacks them shows that it does."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Callable

from armonika.trust.audit.proofs import Fetch, Tiles
from armonika.trust.audit.tree import ProofError

SECONDS = 2.0
MOST_BYTES = 16384
_TRIES = 3
_LINES = re.compile(r"(?:\u2014 [^\s+]+ (?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\n)+")
Post = Callable[[bytes], tuple[int, bytes]]
"""Sends a body to the witness's `add-checkpoint` over an authenticated channel; status and body of its answer. Raises OSError, HTTPException."""


def post(connect: Callable[[], http.client.HTTPConnection]) -> Post:
    """Over connections of `connect`, one a request."""

    def send(body: bytes) -> tuple[int, bytes]:
        connection = connect()
        try:
            connection.request("POST", "/add-checkpoint", body)
            response = connection.getresponse()
            return response.status, response.read(MOST_BYTES)
        finally:
            connection.close()

    return send


def cosignatures(ask: Post, note: bytes, fetch: Fetch, known: int) -> tuple[bytes, int] | None:
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
            status, said = ask(body)
        except (OSError, http.client.HTTPException):
            return None
        if status == 200:
            return (said, size) if _readable(said, note) else None
        if status != 409 or not said.strip().isdigit() or int(said) > size:
            return None
        known = int(said)
    return None


def _readable(said: bytes, note: bytes) -> bool:
    """Whether these are signature lines (c2sp.org/signed-note) of somebody else than the log: anything else would spoil the checkpoint for everybody."""
    try:
        text, name = said.decode(), note.decode().partition("\n")[0]
    except UnicodeDecodeError:
        return False
    return _LINES.fullmatch(text) is not None and all(line.split(" ")[1] != name for line in text.splitlines())
