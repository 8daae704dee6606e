"""Asks the witness for its cosignatures of a new checkpoint. Sealing goes on without them: a checkpoint that lacks them shows that it does."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable, Sequence

from armonika.trust import crypto
from armonika.trust.audit import verify_proof
from armonika.trust.audit.proofs import Fetch, Tiles
from armonika.trust.audit.tree import ProofError

SECONDS, LONGEST = 2.0, 5.0
"""How long each answer of the network, and how long a whole request may take."""
MOST_BYTES = 16384
_TRIES = 3
_LINES = re.compile(r"(?:\u2014 [^\s+]+ (?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\n)+")
Post = Callable[[bytes], tuple[int, bytes]]
"""Sends a body to the witness's `add-checkpoint` over an authenticated channel; status and body of its answer. Raises OSError, HTTPException."""


def post(connect: Callable[[], http.client.HTTPConnection], longest: float = LONGEST) -> Post:
    """Over connections of `connect`, one a request, `longest` seconds each: who sends a byte now and then must not hold up sealing."""

    def send(body: bytes) -> tuple[int, bytes]:
        connection = connect()
        watch = threading.Timer(longest, _cut, (connection,))
        watch.daemon = True
        watch.start()
        try:
            connection.request("POST", "/add-checkpoint", body)
            response = connection.getresponse()
            return response.status, response.read(MOST_BYTES)
        finally:
            watch.cancel()
            connection.close()

    return send


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            # Of the plain socket: the reader is in the middle of what TLS would end.
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def cosignatures(
    ask: Post, note: bytes, fetch: Fetch, known: int, keys: Sequence[str] = (), told: Callable[[str], object] = len
) -> tuple[bytes, int] | None:
    """The witness's signature lines for `note` and the size that it now knows; None when it does not answer or refuses. `known` is the size that
    it is believed to have cosigned last: when it says another (409), that one is taken. With its verifier `keys` only lines that they verify are taken.
    `told` hears why it refused."""
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
            if _readable(said, note) and _signed(said, note, keys):
                return said, size
            told("what the witness answered are not its signatures of this checkpoint")
            return None
        if status != 409 or not said.strip().isdigit() or len(said.strip()) > 20:
            told(f"the witness answers {status} to a checkpoint of {size} entries")
            return None
        known = int(said)
        if known > size:
            told(
                f"the witness has cosigned {known} entries and this log has {size}: it was put back, or is another. Run `armonika audit verify`"
            )
            return None
    return None


def _signed(said: bytes, note: bytes, keys: Sequence[str]) -> bool:
    """Whether these lines are of the witness's keys and nobody else's (c2sp.org/tlog-witness: others are not taken over)."""
    if not keys:
        return True
    body = note.decode().partition("\n\n")[0] + "\n"
    origin, size, root = body.split("\n")[:3]
    lines = said.decode().splitlines()
    try:
        verify_proof.cosignatures(body, lines, origin, int(size), base64.b64decode(root), keys)
    except (verify_proof.ProofRefused, crypto.Unauthentic, ValueError):
        return False
    return len(lines) == len(keys)


def _readable(said: bytes, note: bytes) -> bool:
    """Whether these are signature lines (c2sp.org/signed-note) of somebody else than the log: anything else would spoil the checkpoint for everybody."""
    try:
        text, name = said.decode(), note.decode().partition("\n")[0]
    except UnicodeDecodeError:
        return False
    return _LINES.fullmatch(text) is not None and all(line.split(" ")[1] != name for line in text.splitlines())
