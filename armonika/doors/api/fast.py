"""A short way for the one request that matters for speed: the read of a person. Everything else, and every irregular form, goes to Litestar.

Measured (docs/performance.md): the framework's own work was the larger part of a gathered read. The checks are the same; only the way is shorter.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar.types import ASGIApp, Receive, Send

from armonika.doors.api.gather import Gatherer
from armonika.doors.api.people import PersonOut, etag, shown
from armonika.doors.api.problems import content_of
from armonika.doors.api.tokens import token_in
from armonika.trust.vault.errors import Refused, VaultError
from armonika.trust.vault.types import Ask

_ENCODE = msgspec.json.Encoder().encode
_PREFIX = "/v1/people/"
_KNOWN = frozenset(("dataset", "fields", "purpose", "reason"))
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-,=&")


def parameters(query: bytes) -> dict[str, str] | None:
    """The four needed parameters, each once and without escapes; None for any other form."""
    if not query or len(query) > 2000 or not _PLAIN.issuperset(query):
        return None
    found: dict[str, str] = {}
    for part in query.decode().split("&"):
        name, _, value = part.partition("=")
        if name not in _KNOWN or name in found or not value or "=" in value or (len(value) > 64 and name != "fields"):
            return None
        found[name] = value
    return found if len(found) == 4 else None


class FastRead:
    """An ASGI application before another, behind Metered, which has read the token."""

    def __init__(self, following: Any) -> None:
        self._following: ASGIApp = following
        self._state = following.state

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            path = scope["path"]
            asked = parameters(scope["query_string"]) if len(path) == 47 and path.startswith(_PREFIX) else None
            if asked is not None:
                try:
                    person = UUID(path[11:])
                except ValueError:
                    person = None
                if person is not None and str(person) == path[11:]:
                    await self._read(scope, send, person, asked)
                    return
        await self._following(scope, receive, send)

    async def _read(self, scope: Any, send: Send, person: UUID, asked: dict[str, str]) -> None:
        gatherer: Gatherer[Ask] = self._state.gatherer
        headers: list[tuple[bytes, bytes]] = []
        try:
            secret = token_in(scope)
            records = await gatherer.read(
                Ask(secret, person, asked["dataset"], asked["fields"].split(","), asked["purpose"], asked["reason"])
            )
            if not records:
                raise Refused("nothing here")
        except VaultError as error:
            status, body, more = content_of(error)
            headers += [
                (b"content-type", b"application/problem+json"),
                *((name.lower().encode(), value.encode()) for name, value in more.items()),
            ]
        else:
            out: PersonOut = shown(person, records)
            status, body = 200, _ENCODE(out)
            headers += [(b"content-type", b"application/json"), (b"etag", etag(records).encode())]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
