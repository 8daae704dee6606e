"""The token of a request (RFC 6750), and whether it lives: asked before a body is read, so that a stranger cannot make this process read or keep any.

What is done is decided by the store again, in the transaction that does it: a token that ends in between does nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litestar import Request

from armonika.doors.api.gather import Gatherer
from armonika.doors.api.problems import NoToken
from armonika.trust.vault import secret_hash
from armonika.trust.vault.errors import SessionEnded
from armonika.trust.vault.types import Outcome, SecretHash

SECRET = "armonika.secret"  # noqa: S105 (a name)
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
Living = Callable[[Sequence[SecretHash]], Awaitable[frozenset[SecretHash]]]


def token_of(request: Request[Any, Any, Any]) -> SecretHash:
    """The hash of the bearer token (RFC 6750: one header, scheme in any letter case). Raises NoToken, SessionEnded."""
    return token_in(request.scope)


def token_in(scope: Any) -> SecretHash:
    """The hash of the token that came with a request, made once and kept in its scope. Raises NoToken, SessionEnded."""
    held: SecretHash | None = scope.get(SECRET)
    if held is None:
        held = scope[SECRET] = token_from(
            [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        )
    return held


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

    def __init__(self, living: Living) -> None:
        self._living = living
        self._gathered: Gatherer[SecretHash] = Gatherer(self._answered)

    async def check(self, secret: SecretHash) -> None:
        """Raises SessionEnded when the token does not live, Unavailable when the store does not answer."""
        await self._gathered.read(secret)

    async def _answered(self, secrets: Sequence[SecretHash]) -> list[Outcome]:
        alive = await self._living(list(set(secrets)))
        return [
            Outcome() if secret in alive else Outcome(error=SessionEnded("the token is unknown or has ended"))
            for secret in secrets
        ]
