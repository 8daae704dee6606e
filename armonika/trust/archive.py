"""Sealed archives: a stream of any length that can be written with a public key alone and opened only with the private one.

Header: the magic line, the length (2 bytes, big-endian) and bytes of an HPKE-sealed key (RFC 9180, hybrid suite). Then chunks: length (4 bytes) and
AES-256-GCM ciphertext whose associated data are the chunk's number and whether it is the last, so that chunks cannot be reordered, left out or cut
off (the STREAM construction, Hoang et al. 2015). The content is deflated first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from armonika.trust import crypto

MAGIC = b"armonika-archive/1\n"
CHUNK = 1024 * 1024


class ArchiveDamaged(Exception):
    """The archive is cut off, altered, or sealed for another key or place."""


def _aad(place: bytes, number: int, last: bool) -> bytes:
    return place + number.to_bytes(8, "big") + bytes((last,))


def seal(content: Iterable[bytes], target: BinaryIO, public: bytes, place: bytes) -> int:
    """Seals `content` to `public`, bound to `place`. Returns the number of bytes written."""
    key = crypto.random_bytes(crypto.KEY_BYTES)
    sealed = crypto.hpke_seal(public, key, MAGIC + place)
    written = target.write(MAGIC + len(sealed).to_bytes(2, "big") + sealed)
    packer, held, number = zlib.compressobj(1), b"", 0

    def chunk(data: bytes, last: bool) -> int:
        body = crypto.seal(key, data, _aad(place, number, last))
        return target.write(len(body).to_bytes(4, "big") + body)

    for piece in content:
        held += packer.compress(piece)
        while len(held) > CHUNK:
            written += chunk(held[:CHUNK], False)
            held, number = held[CHUNK:], number + 1
    held += packer.flush()
    while len(held) > CHUNK:
        written += chunk(held[:CHUNK], False)
        held, number = held[CHUNK:], number + 1
    return written + chunk(held, True)


def opened(source: BinaryIO, private: bytes, place: bytes) -> Iterator[bytes]:
    """The content, piece by piece. Raises ArchiveDamaged at the first fault; what came before it is authentic, but not the whole."""
    head = source.read(len(MAGIC) + 2)
    if head[: len(MAGIC)] != MAGIC or len(head) < len(MAGIC) + 2:
        raise ArchiveDamaged("not a sealed archive")
    try:
        key = crypto.hpke_open(private, source.read(int.from_bytes(head[len(MAGIC) :], "big")), MAGIC + place)
    except crypto.Unauthentic:
        raise ArchiveDamaged("sealed for another key or place: made by another installation, or renamed") from None
    unpacker, number = zlib.decompressobj(), 0
    size = source.read(4)
    while True:
        body = source.read(int.from_bytes(size, "big")) if len(size) == 4 else b""
        size = source.read(4)
        last = not size
        try:
            data = crypto.unseal(key, body, _aad(place, number, last))
            piece = unpacker.decompress(data)
        except (crypto.Unauthentic, zlib.error):
            raise ArchiveDamaged(f"chunk {number} is cut off or altered") from None
        if piece:
            yield piece
        if last:
            tail = unpacker.flush()
            if not unpacker.eof:
                raise ArchiveDamaged("the content is cut off")
            if tail:
                yield tail
            return
        number += 1
