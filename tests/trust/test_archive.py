"""Sealed archives, byte by byte: the form, the chunks, and every way in which one can be wrong."""

from __future__ import annotations

import io
import zlib

import pytest

from armonika.trust import archive, crypto
from armonika.trust.archive import ArchiveDamaged, opened, seal

PRIVATE, PUBLIC = crypto.hpke_from_secret(bytes(32))
PLACE = b"backup/1"
SIZE = 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.CHUNK == 1024 * 1024
    monkeypatch.setattr(archive, "CHUNK", SIZE)


def made(*pieces: bytes, place: bytes = PLACE) -> bytes:
    target = io.BytesIO()
    assert seal(pieces, target, PUBLIC, place) == len(target.getvalue())
    return target.getvalue()


def read(raw: bytes, private: bytes = PRIVATE, place: bytes = PLACE) -> bytes:
    return b"".join(opened(io.BytesIO(raw), private, place))


def parts(raw: bytes) -> tuple[bytes, list[bytes]]:
    """Header, and each chunk with its length."""
    at = len(archive.MAGIC) + 2 + int.from_bytes(raw[len(archive.MAGIC) : len(archive.MAGIC) + 2], "big")
    head, chunks = raw[:at], []
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        chunks.append(raw[at:end])
        at = end
    return head, chunks


def noise(count: int) -> bytes:
    return crypto.random_bytes(count)


@pytest.mark.parametrize(
    "pieces", [(), (b"",), (b"a",), (noise(10), noise(200), b"", noise(3)), (noise(SIZE),) * 5, (b"a" * 100_000,)]
)
def test_what_goes_in_comes_out(pieces: tuple[bytes, ...]) -> None:
    assert read(made(*pieces)) == b"".join(pieces)


def test_the_form_is_header_chunks_and_bound_numbers() -> None:
    content = noise(400)
    raw = made(content)
    assert archive.MAGIC == b"armonika-archive/1\n"
    assert raw.startswith(archive.MAGIC)
    head, chunks = parts(raw)
    key = crypto.hpke_open(PRIVATE, head[len(archive.MAGIC) + 2 :], archive.MAGIC + PLACE)
    plain = b""
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        data = crypto.unseal(key, chunk[4:], PLACE + number.to_bytes(8, "big") + bytes((last,)))
        assert len(data) == SIZE or (last and 0 < len(data) <= SIZE)
        plain += data
    assert len(chunks) == -(-len(plain) // SIZE) > 5
    assert zlib.decompress(plain) == content
    assert plain == zlib.compress(content, 1)
    assert len(made(b"a" * 100_000)) < 4000, "deflated"


def test_a_content_that_fills_its_last_chunk_has_no_empty_one_behind() -> None:
    content = next(part for size in range(100, 200) if len(zlib.compress(part := noise(size), 1)) % SIZE == 0)
    raw = made(content)
    _, chunks = parts(raw)
    assert len(chunks) == len(zlib.compress(content, 1)) // SIZE
    assert len({len(chunk) for chunk in chunks}) == 1
    assert read(raw) == content


def test_a_long_stream_comes_out_whole_and_without_empty_pieces() -> None:
    pieces = [noise(1000) for _ in range(100)] + [b"a" * 200_000]
    out = list(opened(io.BytesIO(made(*pieces)), PRIVATE, PLACE))
    assert b"".join(out) == b"".join(pieces)
    assert all(out)


def test_a_stream_is_given_as_it_comes() -> None:
    """The first pieces are there before the last chunk is read: a backup of any size fits."""
    source = io.BytesIO(made(*[noise(1000) for _ in range(100)]))
    pieces = opened(source, PRIVATE, PLACE)
    assert next(pieces)
    assert source.tell() < 3000
    taken: list[int] = []
    target = io.BytesIO()

    def content() -> object:
        for _ in range(50):
            taken.append(len(target.getvalue()))
            yield noise(1000)

    seal(content(), target, PUBLIC, PLACE)  # type: ignore[arg-type]
    assert taken[-1] > 10_000, "written while it is read"


def test_every_fault_is_named_and_nothing_false_comes_out() -> None:
    content = noise(300)
    raw = made(content)
    head, chunks = parts(raw)

    def refused(damaged: bytes, why: str, **other: bytes) -> None:
        out = b""
        with pytest.raises(ArchiveDamaged, match=why):
            for piece in opened(io.BytesIO(damaged), other.get("private", PRIVATE), other.get("place", PLACE)):
                out += piece
        assert content.startswith(out)

    refused(b"", "not a sealed archive")
    refused(archive.MAGIC + b"\0", "not a sealed archive")
    refused(b"x" + raw[1:], "not a sealed archive")
    refused(raw, "another key or place", private=crypto.hpke_generate()[0])
    refused(raw, "another key or place", place=b"backup/2")
    refused(archive.MAGIC + b"\0\0", "another key or place")
    refused(head, "chunk 0 is cut off")
    for number in range(len(chunks)):
        # Cut after it: the chunk before the cut is not the last.
        if number + 1 < len(chunks):
            refused(head + b"".join(chunks[: number + 1]), f"chunk {number} is cut off or altered")
        refused(head + b"".join(chunks[:number]) + chunks[number][:-1], f"chunk {number} is cut off or altered")
        refused(head + b"".join(chunks[:number] + chunks[number + 1 :]), "is cut off or altered")
        flipped = bytearray(chunks[number])
        flipped[-1] ^= 1
        refused(
            head + b"".join([*chunks[:number], bytes(flipped), *chunks[number + 1 :]]), f"chunk {number} is cut off or altered"
        )
    refused(head + chunks[1] + chunks[0] + b"".join(chunks[2:]), "chunk 0 is")
    refused(raw + b"x", "is cut off or altered")
    refused(raw + chunks[-1], "is cut off or altered")


def test_a_content_whose_own_end_is_missing_is_told() -> None:
    """Sealed rightly by somebody with the public key, and not whole all the same."""
    key = bytes(32)
    sealed = crypto.hpke_seal(PUBLIC, key, archive.MAGIC + PLACE)
    head = archive.MAGIC + len(sealed).to_bytes(2, "big") + sealed

    def one(data: bytes) -> bytes:
        body = crypto.seal(key, data, PLACE + bytes(8) + b"\1")
        return head + len(body).to_bytes(4, "big") + body

    whole = zlib.compress(b"abc" * 50)
    assert read(one(whole)) == b"abc" * 50
    with pytest.raises(ArchiveDamaged, match="content is cut off"):
        read(one(whole[:-5]))
    with pytest.raises(ArchiveDamaged, match="chunk 0 is cut off or altered"):
        read(one(b"\xff" * 20))
