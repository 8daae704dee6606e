"""Conditions of a read (RFC 9110 §13), for every address whose answer carries an ETag: 304 for what the caller has, 412 for what it did not expect.

The read is decided, done and entered in the log as ever: whether the values are those that the caller has is told by the values alone. Only what is
sent is less. An ETag names versions, so that 304 tells that nobody corrected anything, and nothing that the token could not read.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Receive, Send

from armonika.doors.api.conditions import any_of, tags_of
from armonika.doors.api.problems import document, headers_of


class Conditional:
    """An ASGI application before another."""

    def __init__(self, following: Any) -> None:
        self._following: ASGIApp = following

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._following(scope, receive, send)
            return
        wanted = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-match"]
        known = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-none-match"]
        if not wanted and not known:
            await self._following(scope, receive, send)
            return
        instead: bytes | None = None

        async def told(message: Any) -> None:
            nonlocal instead
            if message["type"] == "http.response.start" and message["status"] == 200:
                etag = next((value.decode("latin-1") for name, value in message["headers"] if name.lower() == b"etag"), "")
                kept = [(name, value) for name, value in message["headers"] if not name.lower().startswith(b"content-")]
                # §13.2.2: If-Match first; §13.1.1 compares strongly, §13.1.2 weakly.
                if wanted and not _matches(wanted, etag, weakly=False):
                    instead = document(412, "version-conflict", "If-Match names another version than there is: read it again.")
                    kept = [(name, value) for name, value in kept if name.lower() not in (b"cache-control", b"etag")]
                    message = {**message, "status": 412, "headers": kept + headers_of(instead, {})}
                elif known and _matches(known, etag, weakly=True):
                    instead = b""
                    message = {**message, "status": 304, "headers": kept}
            elif message["type"] == "http.response.body" and instead is not None:
                message = {**message, "body": b"" if message.get("more_body", False) else instead}
            await send(message)

        await self._following(scope, receive, told)


def _matches(headers: list[str], etag: str, weakly: bool) -> bool:
    """Whether a condition names the representation with this ETag; `*` names any."""
    return any_of(headers) or any(f'"{tag}"' == etag for weak, tag in tags_of(headers) if weakly or not weak)
