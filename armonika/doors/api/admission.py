"""What is asked of a request before its handler is: a token, a living one before its body is read, and no parameter that would be passed over."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.exceptions import ClientException
from litestar.handlers import BaseRouteHandler

from armonika.doors.api.bodies import check_body
from armonika.doors.api.tokens import Tokens, token_of
from armonika.trust.vault.errors import VersionConflict

_GUARDED = ("/v1/people", "/v1/lookups")
_GIVEN = frozenset(("request", "state", "body"))


async def admit(request: Request[Any, Any, Any]) -> None:
    """Raises SessionEnded, Unavailable, ClientException, VersionConflict, and the errors of `check_body`; open addresses ask nothing."""
    if not request.scope["path"].startswith(_GUARDED):
        return
    secret = token_of(request)
    embodied = request.method in ("POST", "PUT", "PATCH")
    if embodied:
        tokens: Tokens = request.app.state.tokens
        await tokens.check(secret)
    check_query(request.scope["query_string"], request.route_handler)
    if embodied:
        if "person" not in request.path_params and "if-match" in request.headers:
            raise VersionConflict("this address holds nothing that has a version: send no If-Match")
        await check_body(request)


def check_query(query: bytes, handler: BaseRouteHandler) -> None:
    """A parameter that is not declared would be passed over (a reference that never reaches the log), one that comes twice has two meanings. Raises
    ClientException for both."""
    if not query:
        return
    try:
        names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=20)]
    except ValueError:
        raise ClientException from None
    if len(set(names)) != len(names) or not _declared(handler).issuperset(names):
        raise ClientException


@cache
def _declared(handler: BaseRouteHandler) -> frozenset[str]:
    return frozenset(handler.parsed_fn_signature.parameters) - _GIVEN - {"person"}
