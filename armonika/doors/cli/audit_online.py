"""`armonika audit verify --url`: the log as anybody sees it over HTTP, from tiles and checkpoint alone."""

from __future__ import annotations

import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from armonika.trust.audit.verify import Report
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
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unreachable(
            f"{base} does not answer: {getattr(error, 'reason', error)}. Check the address: it ends in /log"
        ) from None
    if len(content) > _MOST_BYTES:
        raise Unreachable(f"{base} sends more than a file of a log can have")
    return content


def check(url: str, vkey: Path | None, witness: Path | None, kept: Path | None, keep: Path | None) -> Report:
    """One look at the log. `keep` gets the checkpoint when nothing was found, for the next look. Raises Unreachable, OSError."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Unreachable("name the log with http:// or https://")
    if vkey is None:
        print(
            "armonika: the log's key is taken from the log itself. Keep log.vkey and name it with --vkey next time.",
            file=sys.stderr,
        )
    key = vkey.read_text() if vkey else (fetch(url, "log.vkey") or b"").decode(errors="replace")
    witnesses = [line for line in witness.read_text().splitlines() if line.strip()] if witness else []
    checkpoint = fetch(url, "checkpoint")
    if checkpoint is None or not key:
        raise Unreachable(f"{url} is no log: it has no checkpoint or no log.vkey")
    older = kept.read_bytes() if kept and kept.exists() else None
    report = verify_tiles(lambda name: fetch(url, name), checkpoint, key, witnesses, older)
    if keep and not report.findings:
        made = keep.with_name(f".{keep.name}.new")
        made.write_bytes(checkpoint)
        made.replace(keep)
    return report
