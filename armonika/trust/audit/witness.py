"""A witness (C2SP tlog-witness): cosigns a checkpoint only when it extends the last one that it cosigned, and remembers that before it answers."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from armonika.store.private_files import KeyFileError, read_private, write_private
from armonika.trust import crypto
from armonika.trust.audit import cosign, tiles
from armonika.trust.audit.files import MOST_NOTE, MOST_VKEYS, read_beneath, read_file
from armonika.trust.audit.tree import ProofError, verify_consistency
from armonika.trust.audit.verify import Broken, read_checkpoint, verifier_key

TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
MOST_BYTES, MOST_LINES = 65536, 63
_EMPTY = hashlib.sha256().digest()


class Witness:
    """One witness over one folder. `logs` maps origins to the logs' verifier keys. Two processes over one folder cannot both cosign."""

    def __init__(self, folder: Path, name: str, logs: Mapping[str, str]) -> None:
        self._folder, self._name, self._logs = folder, name, logs
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "witness.key"
        if not path.exists():
            made = {"ed25519": crypto.ed25519_generate()[0], "mldsa44": crypto.mldsa44_generate()[0]}
            write_private(path, json.dumps({part: base64.b64encode(seed).decode() for part, seed in made.items()}).encode())
        try:
            held = json.loads(read_private(path))
            self._ed25519, self._mldsa44 = (base64.b64decode(held[part], validate=True) for part in ("ed25519", "mldsa44"))
        except (ValueError, KeyError, TypeError):
            raise KeyFileError(
                f"{path} is damaged. Put it back from a copy, or verifiers must take new keys; nothing was changed."
            ) from None

    def vkeys(self) -> str:
        """Both verifier keys, a line each (`witness.vkey`)."""
        kinds = ((cosign.ED25519, crypto.ed25519_public(self._ed25519)), (cosign.MLDSA44, crypto.mldsa44_public(self._mldsa44)))
        return "".join(cosign.vkey(self._name, kind, public) + "\n" for kind, public in kinds)

    def checkpoint(self, origin_hash: str) -> bytes | None:
        """The last cosigned checkpoint of the log whose origin has this SHA-256 in hex."""
        if not re.fullmatch("[0-9a-f]{64}", origin_hash):
            return None
        try:
            return read_beneath(self._folder, f"{origin_hash}.checkpoint", MOST_NOTE)
        except FileNotFoundError:
            return None

    def add_checkpoint(self, body: bytes, now: int) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer to a POST of add-checkpoint (c2sp.org/tlog-witness): 400, 403, 404, 409 and 422 refuse, and nothing is
        remembered then. Raises OSError when what was cosigned cannot be kept."""
        try:
            head, separator, raw = body.decode().partition("\n\n")
            first, *encoded = head.split("\n")
            old = _decimal(first.removeprefix("old "))
            if not separator or not first.startswith("old ") or len(encoded) > MOST_LINES or len(body) > MOST_BYTES:
                raise ValueError
            proof = [base64.b64decode(line, validate=True) for line in encoded]
            origin, size_text, root_text = raw.split("\n", 3)[:3]
            size, root = _decimal(size_text), base64.b64decode(root_text, validate=True)
            if any(len(one) != 32 for one in (*proof, root)) or "\n\n" not in raw or not raw.endswith("\n"):
                raise ValueError
        except (ValueError, IndexError):
            return 400, TEXT, b"not an add-checkpoint request\n"
        if origin not in self._logs:
            return 404, TEXT, b"this log is not known here\n"
        try:
            read_checkpoint(raw.encode(), self._logs[origin])
        except Broken:
            return 403, TEXT, b"no valid signature of the log\n"
        if old > size:
            return 400, TEXT, b"the old size is beyond the checkpoint\n"
        with self._alone():
            return self._extend(origin, old, size, root, proof, raw.encode(), now)

    def _extend(
        self, origin: str, old: int, size: int, root: bytes, proof: list[bytes], raw: bytes, now: int
    ) -> tuple[int, str, bytes]:
        name = hashlib.sha256(origin.encode()).hexdigest()
        known_size, known_root = 0, _EMPTY
        try:
            if (kept := self.checkpoint(name)) is not None:
                _, known_size, known_root = read_checkpoint(kept, self._logs[origin])
        except (OSError, Broken):
            return 500, TEXT, b"what was cosigned last cannot be read here: nothing is cosigned\n"
        if old != known_size:
            return 409, SIZE, f"{known_size}\n".encode()
        if (size == 0 and root != _EMPTY) or (old == 0 and proof):
            return 422, TEXT, b"the checkpoint is not consistent\n"
        if old:
            try:
                verify_consistency(old, size, known_root, root, proof)
            except ProofError:
                return 422, TEXT, b"the checkpoint is not consistent with the one before\n"
        text = raw.partition(b"\n\n")[0] + b"\n"
        lines = cosign.lines(self._name, self._ed25519, self._mldsa44, text, origin, size, root, now)
        signed = b"".join(
            line + b"\n" for line in raw.partition(b"\n\n")[2].split(b"\n") if line.startswith(f"\u2014 {origin} ".encode())
        )
        tiles.write(self._folder / f"{name}.checkpoint", text + b"\n" + signed + lines)
        return 200, TEXT, lines

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def trusted_key(folder: Path, known: Path) -> str:
    """The log's verifier key that this witness trusts: the first that it was given, kept in its own folder. Another one that `known` names later is not
    believed: who can write the log's folder would choose it. Raises OSError, and KeyFileError for what is no key."""
    kept = folder / "log.vkey"
    if not kept.exists():
        named = read_file(known, MOST_VKEYS)
        _checked(named, known)
        tiles.write(kept, named)
    return _checked(read_file(kept, MOST_VKEYS), kept)


def _checked(raw: bytes, path: Path) -> str:
    try:
        text = raw.decode().strip()
        verifier_key(text)
    except (UnicodeDecodeError, Broken):
        raise KeyFileError(f"{path} is no verifier key of a log; nothing was changed.") from None
    return text


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or str(int(text)) != text:
        raise ValueError
    return int(text)
