"""Every error as a problem (RFC 9457). A problem names what is wrong and the way out, and never repeats what was sent."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Send

from armonika.trust.vault.errors import Forbidden, Refused, SessionEnded, Throttled, VaultError

log = logging.getLogger("armonika.api")
_TITLES = {
    400: "The request cannot be read", 401: "Sign in again", 403: "Not allowed", 404: "There is nothing here", 405: "Not done this way here", 408: "Too slow",
    409: "Taken", 412: "Changed meanwhile", 413: "Too large", 415: "Send JSON", 422: "A value cannot be used", 423: "Restricted", 428: "Say which version you saw",
    429: "Too many in this time", 500: "Something failed on our side", 503: "Not available for a moment",
}  # fmt: skip
_DETAILS = {
    400: "Send valid JSON of the documented form, with declared fields only.", 401: "Send a living token as `Authorization: Bearer …`.",
    404: "Unknown, erased and other organisations' ids look the same. Check the id and the address.", 405: "See the Allow header and /schema.",
    408: "A body must arrive within 20 seconds. Send it again.", 413: "A request has at most 1 MiB, a value at most 64 KiB.", 415: "Set `Content-Type: application/json`.",
    409: "A value that must be unique is taken.", 412: "Read again, decide again.", 422: "Check names and values against /v1/policy.",
    423: "The processing of this person is restricted.", 429: "Wait as long as Retry-After says.", 500: "Nothing half done was kept. Try again.", 503: "Nothing was lost. Try again in a moment.",
}  # fmt: skip


class NoToken(SessionEnded):
    """No token came with the request."""


class QuotaExceeded(Throttled):
    """This token asked more than its rate."""

    code = "quota-exceeded"


class TooManyItems(VaultError):
    """A batch of more items than the whole quota: it would never be taken."""

    status = 413
    code = "too-many-items"


def document(status: int, code: str, detail: str | None = None, members: dict[str, Any] | None = None) -> bytes:
    """One problem as JSON, with the further members of its type."""
    content: dict[str, Any] = (members or {}) | {
        "type": f"urn:armonika:problem:{code}",
        "title": _TITLES.get(status, "Failed"),
        "status": status,
        "detail": detail or _DETAILS.get(status, ""),
    }
    return msgspec.json.encode(content)


def problem(status: int, code: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    """One problem as an answer."""
    return Response(document(status, code), status_code=status, media_type="application/problem+json", headers=headers)


def content_of(error: VaultError) -> tuple[int, bytes, dict[str, str]]:
    """Status, document and headers of a vault error."""
    headers: dict[str, str] = {}
    if isinstance(error, SessionEnded):
        # RFC 6750 §3.1: a request that says nothing of authentication is told no error.
        told = "" if isinstance(error, NoToken) else ', error="invalid_token"'
        headers["WWW-Authenticate"] = f'Bearer realm="armonika"{told}'
    if isinstance(error, Forbidden):
        headers["WWW-Authenticate"] = 'Bearer realm="armonika", error="insufficient_scope"'
    if isinstance(error, Throttled):
        headers["Retry-After"] = str(int(error.retry_after) + 1)
    known = None if isinstance(error, Refused | SessionEnded) and error.status != 403 else str(error)
    # The member is that of draft-ietf-httpapi-ratelimit-headers-10 §5.1.
    members = {"violated-policies": ["default"]} if isinstance(error, QuotaExceeded) else None
    return error.status, document(error.status, error.code, known, members), headers


async def send_problem(send: Send, status: int, body: bytes, more: dict[str, str]) -> None:
    """One problem as a whole answer of an ASGI application that asked no framework; `more` are further headers."""
    await send({"type": "http.response.start", "status": status, "headers": headers_of(body, more)})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def headers_of(body: bytes, more: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The header fields of a problem as an ASGI application sends them."""
    named = more | {"content-type": "application/problem+json", "content-length": str(len(body))}
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]


def of_vault(request: Request[Any, Any, Any], error: VaultError) -> Response[bytes]:
    """A vault error as an answer."""
    status, body, headers = content_of(error)
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)


def of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """An error of the framework: unreadable body, unknown path, wrong method."""
    told = ("accept", "accept-encoding", "allow", "connection")
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() in told}
    return problem(error.status_code, "http", headers)


def of_any(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Anything else: logged by type and place, told as 500."""
    if isinstance(error, msgspec.DecodeError | UnicodeError | RecursionError):
        return problem(400, "http")
    log.error("a request failed", exc_info=error, extra={"route": str(request.scope.get("path_template", ""))})
    return problem(500, "http")
