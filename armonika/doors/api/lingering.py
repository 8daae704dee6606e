"""The rest of a request that is answered before it was read is read and thrown away, so that its sender gets the answer (RFC 9112 §9.6).

A server that answers 413 and closes while the client is still sending makes the client's kernel throw the answer away: what comes to a closed
socket is answered by a reset. So the answer is sent at once but for its last byte, which ends it, and that byte waits until the rest has come. All
bounds hold, so that nobody is served for sending without end.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from litestar.types import ASGIApp, Receive, Send

MOST_BYTES = 4 * 1024 * 1024
"""Bytes that are thrown away at most."""
SECONDS = 3.0
"""How long is waited for them at most."""
PAUSE = 0.5
"""How long a sender may be silent meanwhile."""


class Lingering:
    """An ASGI application before another."""

    def __init__(self, following: Any, most_bytes: int = MOST_BYTES, seconds: float = SECONDS, pause: float = PAUSE) -> None:
        self._following: ASGIApp = following
        self._most, self._seconds, self._pause = most_bytes, seconds, pause

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._following(scope, receive, send)
            return
        # Who waits for leave to send (RFC 9110 §10.1.1) has not sent: reading would give the leave.
        expecting = any(name == b"expect" for name, _ in scope["headers"])
        whole = False

        async def heard() -> Any:
            nonlocal whole
            message: Any = await receive()
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def answered(message: Any) -> None:
            if whole or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            body = message.get("body", b"")
            first, last = message | {"body": body[:-1], "more_body": True}, message | {"body": body[-1:]}
            if len(body) > 1:
                await send(first)
            with contextlib.suppress(TimeoutError):
                if not expecting:
                    await asyncio.wait_for(rest(), self._seconds)
            await send(last)
            # The server closes once nobody holds the body, and misses it when that falls together with the end of the answer: the connection would stay
            # for as long as its sender likes. Asked again, now that all is said, it lets go.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard(), self._pause)

        async def rest() -> None:
            thrown_away = 0
            while not whole and thrown_away < self._most:
                thrown_away += len((await asyncio.wait_for(heard(), self._pause)).get("body", b""))

        await self._following(scope, heard, answered)
