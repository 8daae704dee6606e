"""What a request's body may be before it is decoded: whole, JSON in UTF-8 as it stands, and each name once."""

from __future__ import annotations

import asyncio
import json
from email.message import Message
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.enums import MediaType
from litestar.exceptions import ClientException, HTTPException, InternalServerException

T = TypeVar("T")
SECONDS = 20.0
"""How long a body may take to arrive whole: a mebibyte at half a megabit a second takes less."""


class NotJson(HTTPException):
    """Declared as something else than JSON, or packed. Says what is taken (RFC 9110 §12.5.1, §12.5.3)."""

    status_code = 415

    def __init__(self) -> None:
        super().__init__(headers={"Accept": MediaType.JSON.value, "Accept-Encoding": "identity"})


class TooSlow(HTTPException):
    """The body did not arrive in its time. The rest of it is not waited for (RFC 9110 §15.5.9)."""

    status_code = 408

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


async def check_body(request: Request[Any, Any, Any]) -> None:
    """Reads the body. Raises NotJson, TooSlow, ClientException, and the framework's error for a body over its bound.

    A name that comes twice has two meanings (RFC 8259 §4): a guard before this door could have judged by the one and this door act by the other.
    """
    if not all(map(_is_json, request.headers.getall("content-type", []))):
        raise NotJson
    if any(value.strip().lower() != "identity" for value in request.headers.getall("content-encoding", [])):
        raise NotJson
    try:
        async with asyncio.timeout(SECONDS):
            body = await request.body()
    except TimeoutError:
        raise TooSlow from None
    except InternalServerException:
        # Chunks of a wrong size, or the sender hung up.
        raise ClientException from None
    try:
        json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise ClientException from None


def decoded(body: bytes, kind: type[T]) -> T:
    """The body as what it must be, nothing taken for something else: `"false"` and 0 are no truth values. Raises ClientException."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ClientException from None


def _is_json(value: str) -> bool:
    if value == MediaType.JSON:
        return True
    header = Message()
    header["content-type"] = value
    # A parameter that comes twice has two meanings: RFC 9110 §5.6.6 gives it none.
    charsets = [given for name, given in header.get_params([])[1:] if name.lower() == "charset"]
    plain = all(isinstance(given, str) and given.lower() == "utf-8" for given in charsets)
    return header.get_content_type() == MediaType.JSON and len(charsets) < 2 and plain


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError
