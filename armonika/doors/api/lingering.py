"""The rest of a request that is answered before it was read is read and thrown away, so that its sender gets the answer (RFC 9112 §9.6).

A server that answers 413 and closes while the client is still sending makes the client's kernel throw the answer away: what comes to a closed
socket is answered by a reset. Both bounds hold, so that nobody is served for sending without end.
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


class Lingering:
    """An ASGI application before another."""

    def __init__(self, following: Any, most_bytes: int = MOST_BYTES, seconds: float = SECONDS) -> None:
        self._following: ASGIApp = following
        self._most, self._seconds = most_bytes, seconds

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        # Who waits for leave to send (RFC 9110 §10.1.1) has not sent: reading would give the leave.
        if (
            scope["type"] != "http"
            or scope["method"] in ("GET", "HEAD")
            or any(name == b"expect" for name, _ in scope["headers"])
        ):
            await self._following(scope, receive, send)
            return
        whole = False

        async def heard() -> Any:
            nonlocal whole
            message: Any = await receive()
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start" and not whole:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(rest(), self._seconds)
            await send(message)

        async def rest() -> None:
            thrown_away = 0
            while not whole and thrown_away < self._most:
                thrown_away += len((await heard()).get("body", b""))

        await self._following(scope, heard, answered)
