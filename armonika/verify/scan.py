"""Looks for tokens byte by byte, in every encoding in which they could have been kept (claim 7a.3)."""

from __future__ import annotations

import base64
import bz2
import io
import json
import lzma
import quopri
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MOST_UNPACKED = 64 * 1024 * 1024
_WINDOW = 1024 * 1024
_GZIP = b"\x1f\x8b\x08"


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


def pieces(path: Path, overlap: int) -> Iterator[bytes]:
    """A file in pieces of 64 MiB that overlap by what could stand across their edge. It is read, not mapped: a mapped file that somebody cuts off ends the reader."""
    with path.open("rb") as file:
        before = b""
        while read := file.read(MOST_UNPACKED):
            yield before + read
            before = read[-overlap:] if overlap else b""


def unpacked(content: bytes) -> Iterator[bytes]:
    """What is packed in `content`: gzip members wherever one begins, members of a ZIP archive, and a whole file of zlib, xz or bzip2. At most 64 MiB of each."""
    at = content.find(_GZIP)
    while at >= 0:
        with suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(content[at : at + MOST_UNPACKED], MOST_UNPACKED)
        at = content.find(_GZIP, at + 1)
    head = content[:6]
    try:
        if head[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
            yield zlib.decompressobj().decompress(content, MOST_UNPACKED)
        elif head == b"\xfd7zXZ\0":
            yield lzma.LZMADecompressor().decompress(content, MOST_UNPACKED)
        elif head[:3] == b"BZh":
            yield bz2.BZ2Decompressor().decompress(content, MOST_UNPACKED)
        elif head[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in archive.namelist():
                    with archive.open(name) as member:
                        yield member.read(MOST_UNPACKED)
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile):
        return


class Scanner:
    """One pass over many files for many tokens."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._forms = {form: (token, name) for token in tokens for form, name in forms(token).items()}
        self._longest = max((len(form) for form in self._forms), default=0)
        self.bytes = 0
        self.files = 0

    def data(self, content: bytes, depth: int = 0) -> set[tuple[str, str]]:
        """(token, encoding) of everything found in `content`, and in what is packed in it, twice over at most."""
        self.bytes += len(content)
        found = set()
        # One search a form is many times faster than one expression of them all, in windows that stay in the processor's cache.
        for begin in range(0, len(content), _WINDOW):
            window = content[begin : begin + _WINDOW + self._longest]
            found |= {what for form, what in self._forms.items() if form in window}
        for inside in unpacked(content) if depth < 2 else ():
            found |= self.data(inside, depth + 1)
        return found

    def files_below(self, folders: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
        """(path, token, encoding) of everything found below `folders`. Files that vanish meanwhile are no fault."""
        for folder in folders:
            for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
                if not path.is_symlink() and path.is_file():
                    yield from self.file(path)

    def file(self, path: Path) -> Iterator[tuple[Path, str, str]]:
        """The same of one file."""
        try:
            if path.stat().st_size:
                self.files += 1
                for piece in pieces(path, self._longest):
                    for token, name in self.data(piece):
                        yield path, token, name
        except OSError:
            return

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
