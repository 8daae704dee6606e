"""Headers of every answer of the API, whoever gives it: nothing is guessed, framed, kept by caches, or asked in clear again (ASVS 3.4.1, 3.4.4)."""

from __future__ import annotations

import re
from typing import Any

from litestar.types import ASGIApp, Receive, Send

ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
ENCRYPTED = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
# Errors too: a 404 may be kept by any cache that is not told otherwise (RFC 9110 §15.5.5), and what is not there yet is there a second later.
UNLESS_SAID = (b"cache-control", b"no-store")
CALL = b"armonika-call"
"""What a client names its request by: it comes back with the answer, so that an answer to another request is known as such, whatever stands between the two."""
_CALL = re.compile(rb"[0-9A-Za-z-]{1,64}")


class Headers:
    """An ASGI application before another. `encrypted`: the listener speaks TLS."""

    def __init__(self, following: Any, encrypted: bool) -> None:
        self._following: ASGIApp = following
        self._more = [*ALWAYS, ENCRYPTED] if encrypted else [*ALWAYS]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        named = [(name, value) for name, value in scope.get("headers", ()) if name == CALL and _CALL.fullmatch(value)][:1]

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                said = list(message["headers"])
                keeping = [value for name, value in said if name.lower() == UNLESS_SAID[0]]
                kept = [] if keeping else [UNLESS_SAID]
                # What a cache may keep goes to others, who named their requests otherwise.
                message["headers"] = [*said, *self._more, *kept, *(named if keeping in ([], [UNLESS_SAID[1]]) else [])]
            await send(message)

        await self._following(scope, receive, told if scope["type"] == "http" else send)
