"""`armonika audit verify --url`: the log as anybody sees it over HTTP, from tiles and checkpoint alone."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from armonika.trust.audit.files import MOST_NOTE, MOST_VKEYS, read_file
from armonika.trust.audit.verify import Report
from armonika.trust.audit.verify_proof import witness_keys
from armonika.trust.audit.verify_tiles import verify_tiles

_MOST_BYTES = 1 << 20
_SECONDS = 20


class Unreachable(Exception):
    """The log cannot be read over HTTP; the message says what to do."""


def fetch(base: str, name: str) -> bytes | None:
    """A file of the log; None when the server says that there is none. Raises Unreachable."""
    try:
        with urllib.request.urlopen(f"{base.rstrip('/')}/{name}", timeout=_SECONDS) as response:
            content: bytes = response.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise Unreachable(f"{base} answers {error.code} for {name}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise Unreachable(
            f"{base} does not answer: {getattr(error, 'reason', error)}. Check the address: it ends in /log"
        ) from None
    if len(content) > _MOST_BYTES:
        raise Unreachable(f"{base} sends more than a file of a log can have")
    return content


def _older(kept: Path | None, keep: Path | None) -> bytes | None:
    """The checkpoint that the log must extend. It may be missing only at the first look, which writes it: without it a log that was cut off or forked
    looks whole. Raises OSError."""
    if kept is not None and kept == keep and not kept.exists():
        print(f"armonika: {kept} is not there: this is the first look. What the log was before is not compared.", file=sys.stderr)
        return None
    return read_file(kept, MOST_NOTE) if kept else None


def check(url: str, vkey: Path | None, witness: Path | None, kept: Path | None, keep: Path | None) -> Report:
    """One look at the log. `keep` gets the checkpoint when nothing was found, for the next look. Raises Unreachable, OSError, UnicodeError, NoWitness."""
    if not url.startswith(("http://", "https://")):
        raise Unreachable("name the log with http:// or https://")
    if vkey is None:
        print(
            "armonika: the log's key is taken from the log itself. Keep log.vkey and name it with --vkey next time.",
            file=sys.stderr,
        )
    key = read_file(vkey, MOST_VKEYS).decode() if vkey else (fetch(url, "log.vkey") or b"").decode(errors="replace")
    witnesses = witness_keys(witness)
    checkpoint = fetch(url, "checkpoint")
    if checkpoint is None or not key:
        raise Unreachable(f"{url} is no log: it has no checkpoint or no log.vkey")
    older = _older(kept, keep)
    report = verify_tiles(lambda name: fetch(url, name), checkpoint, key, witnesses, older)
    if keep and not report.findings:
        made = keep.with_name(f".{keep.name}.new")
        made.write_bytes(checkpoint)
        made.replace(keep)
    return report
