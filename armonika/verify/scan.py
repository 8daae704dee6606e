"""Looks for tokens byte by byte, in every encoding in which they could have been kept (claim 7a.3)."""

from __future__ import annotations

import base64
import gzip
import json
import mmap
import quopri
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def forms(token: str) -> dict[bytes, str]:
    """Byte forms of a token: UTF-8, UTF-16 both ways, base64 in its three alignments, hex in both cases, URL, quoted-printable, JSON, reversed."""
    raw = token.encode()
    made = {
        raw: "utf-8", token.encode("utf-16-le"): "utf-16-le", token.encode("utf-16-be"): "utf-16-be", raw.hex().encode(): "hex",
        raw.hex().upper().encode(): "HEX", urllib.parse.quote(token, safe="").encode(): "url", quopri.encodestring(raw).strip(): "quoted-printable",
        json.dumps(token)[1:-1].encode(): "json", token[::-1].encode(): "reversed", token.casefold().encode(): "case-folded", token.upper().encode(): "upper",
    }  # fmt: skip
    for shift in range(3):
        # What stands around a token changes the first and last letters of its base64: only the middle is sure.
        encoded = base64.b64encode(b"\0" * shift + raw + b"\0" * 3)
        start = (8 * shift + 5) // 6
        end = (8 * (shift + len(raw))) // 6
        made[encoded[start:end]] = "base64"
        made[encoded[start:end].translate(bytes.maketrans(b"+/", b"-_"))] = "base64url"
    return {form: name for form, name in made.items() if len(form) >= 8}


class Scanner:
    """One pass over many files for many tokens."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._forms = {form: (token, name) for token in tokens for form, name in forms(token).items()}
        self._pattern = re.compile(b"|".join(re.escape(form) for form in sorted(self._forms, key=len, reverse=True)))
        self.bytes = 0
        self.files = 0

    def data(self, content: bytes | mmap.mmap) -> set[tuple[str, str]]:
        """(token, encoding) of everything found in `content`; gzip and zlib members are looked into where a file begins with one."""
        self.bytes += len(content)
        found = {self._forms[match.group()] for match in self._pattern.finditer(content)}
        head = bytes(content[:2])
        try:
            if head == b"\x1f\x8b":
                found |= self.data(gzip.decompress(bytes(content)))
            elif head in (b"\x78\x9c", b"\x78\xda"):
                found |= self.data(zlib.decompress(bytes(content)))
        except (OSError, EOFError, zlib.error):
            pass
        return found

    def files_below(self, folders: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
        """(path, token, encoding) of everything found below `folders`. Files that vanish meanwhile are no fault."""
        for folder in folders:
            for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
                try:
                    if path.is_symlink() or not path.is_file() or path.stat().st_size == 0:
                        continue
                    self.files += 1
                    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                        for token, name in self.data(content):
                            yield path, token, name
                except (OSError, ValueError):
                    continue

    def processes(self) -> Iterator[tuple[Path, str, str]]:
        """The same for environments and command lines of all processes that can be read."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                for part in ("environ", "cmdline"):
                    try:
                        content = (folder / part).read_bytes()
                    except OSError:
                        continue
                    for token, name in self.data(content):
                        yield folder / part, token, name
