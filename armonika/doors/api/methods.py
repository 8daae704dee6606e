"""What every path owes to every request: HEAD and OPTIONS (RFC 9110 §9.1, §9.3.2, §9.3.7), one Host (RFC 9112 §3.2), and one way to write it.

The framework answers HEAD with 405, and OPTIONS with the first method that a path was given; its 405 names them all. The server takes a request with no
Host, or with two, of which a guard before this door could have judged by the one that this door does not mean. So could it by a path: the framework takes
`//`, a slash at the end and `%2F` for what they are not (RFC 3986 §6), and Python takes an id in braces, as a URN, or with its dashes anywhere. A body that is packed
for its way (`Transfer-Encoding: gzip, chunked`) the server hands on as it came.
"""

from __future__ import annotations

import re
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from armonika.doors.api.problems import document, send_problem

_UNKNOWN = "ARMONIKA-OPTIONS"
"""A method that no path has."""
_ALL = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_PEOPLE = "/v1/people/"
_LONGEST = 12
"""Letters that a part of an address which is no id has at most."""
_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Methods:
    """An ASGI application before another."""

    def __init__(self, following: Any) -> None:
        self._following: ASGIApp = following

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        asked = scope["method"] if scope["type"] == "http" else ""
        # The server puts an empty one where there is none.
        if (
            asked
            and scope["http_version"] == "1.1"
            and [bool(value) for name, value in scope["headers"] if name == b"host"] != [True]
        ):
            await send_problem(send, 400, document(400, "http", "Send exactly one Host header."), {})
            return
        if asked and any(
            name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in scope["headers"]
        ):
            await send_problem(
                send, 400, document(400, "http", "Send no transfer coding but `chunked`."), {"Connection": "close"}
            )
            return
        if asked == "OPTIONS" and scope["path"] == "*":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", _ALL)]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if asked and not _canonical(scope["path"], scope.get("raw_path", b"")):
            scope = {**scope, "path": "/-", "raw_path": b"/-"}
        if asked == "GET":
            await self._following(scope, receive, send)
            return
        if asked == "HEAD":
            scope = {**scope, "method": "GET"}
        elif asked == "OPTIONS":
            scope = {**scope, "method": _UNKNOWN}

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_with_head(name, value) for name, value in message["headers"]]
                if asked == "OPTIONS" and message["status"] == 405:
                    message["status"] = 204
                    # RFC 9110 §8.6: a 204 has no Content-Length.
                    message["headers"] = [
                        (name, value) for name, value in message["headers"] if not name.lower().startswith(b"content-")
                    ]
            elif message["type"] == "http.response.body" and asked in ("HEAD", "OPTIONS"):
                message["body"] = b""
            await send(message)

        await self._following(scope, receive, told)


def _canonical(path: str, raw: bytes) -> bool:
    """Whether a path is written in the one way in which it is answered; escapes that stand for the letter itself are no other way, nor are capitals of an
    id (RFC 9562 §4)."""
    if "//" in path or (path != "/" and path.endswith("/")) or (b"%" in raw and b"%2f" in raw.lower()):
        return False
    if not path.startswith(_PEOPLE):
        return True
    named = path[len(_PEOPLE) :].partition("/")[0]
    return len(named) <= _LONGEST or _ID.fullmatch(named) is not None


def _with_head(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Where GET is allowed, HEAD is."""
    if name.lower() != b"allow":
        return name, value
    allowed = {method.strip() for method in value.split(b",")} | {b"OPTIONS"}
    return name, b", ".join(sorted(allowed | ({b"HEAD"} if b"GET" in allowed else set())))
