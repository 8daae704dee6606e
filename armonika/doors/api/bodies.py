"""What a request's body may be before it is decoded: whole, JSON in UTF-8 as it stands, and each name once."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.exceptions import ClientException, HTTPException, InternalServerException


class NotJson(HTTPException):
    """Declared as something else than JSON, or packed."""

    status_code = 415


async def check_body(request: Request[Any, Any, Any]) -> None:
    """Raises NotJson, ClientException, and the framework's error for a body over its bound.

    A name that comes twice has two meanings (RFC 8259 §4): a guard before this door could have judged by the one and this door act by the other.
    """
    if request.method not in ("POST", "PUT", "PATCH"):
        return
    if not all(map(_is_json, request.headers.getall("content-type", []))):
        raise NotJson
    if any(value.strip().lower() != "identity" for value in request.headers.getall("content-encoding", [])):
        raise NotJson
    try:
        body = await request.body()
    except InternalServerException:
        # Chunks of a wrong size, or the sender hung up.
        raise ClientException from None
    try:
        json.loads(body, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise ClientException from None


def _is_json(value: str) -> bool:
    if value == MediaType.JSON:
        return True
    header = Message()
    header["content-type"] = value
    charset = header.get_param("charset", "utf-8")
    return header.get_content_type() == MediaType.JSON and isinstance(charset, str) and charset.lower() == "utf-8"


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError
