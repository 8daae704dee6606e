"""The token of a request (RFC 6750), and whether it lives: asked before a body is read, so that a stranger cannot make this process read or keep any.

What is done is decided by the store again, in the transaction that does it: a token that ends in between does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar import Request

from armonika.doors.api.problems import NoToken
from armonika.trust.vault import secret_hash
from armonika.trust.vault.errors import SessionEnded, Unavailable, VaultError
from armonika.trust.vault.types import SecretHash

MOST = 256
WAITING = 4096
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
Living = Callable[[Sequence[SecretHash]], Awaitable[frozenset[SecretHash]]]


def token_of(request: Request[Any, Any, Any]) -> SecretHash:
    """The hash of the bearer token (RFC 6750: one header, scheme in any letter case). Raises SessionEnded."""
    return token_from(request.headers.getall("authorization", []))


def token_from(values: Sequence[str]) -> SecretHash:
    """The hash of the token in the Authorization headers of a request. Raises NoToken, SessionEnded."""
    if not values:
        raise NoToken("no token")
    if len(values) == 1:
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() == "bearer" and 20 <= len(token) <= 200 and _ALPHABET.issuperset(token):
            return secret_hash(token)
    raise SessionEnded("no token of the right form")


class Tokens:
    """Questions that arrive together are one question to the store; nothing is remembered."""

    def __init__(self, living: Living, lanes: int = 2) -> None:
        self._living, self._lanes = living, lanes
        self._waiting: list[tuple[SecretHash, asyncio.Future[bool]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def check(self, secret: SecretHash) -> None:
        """Raises SessionEnded when the token does not live, Unavailable when the store does not answer."""
        if len(self._waiting) >= WAITING:
            raise Unavailable("too many requests wait; try again in a moment")
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((secret, future))
        if len(self._running) < self._lanes:
            task = asyncio.create_task(self._lane())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not await future:
            raise SessionEnded("the token is unknown or has ended")

    async def _lane(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            alive: frozenset[SecretHash] = frozenset()
            failed: VaultError | None = Unavailable("the store does not answer now; try again in a moment")
            try:
                alive, failed = await self._living(list({secret for secret, future in batch if not future.done()})), None
            except VaultError as error:
                failed = error
            finally:
                for secret, future in batch:
                    if future.done():
                        continue
                    if failed is None:
                        future.set_result(secret in alive)
                    else:
                        future.set_exception(failed)
