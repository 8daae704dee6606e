"""Failures as pages: what happened, what it means, what to do; never what somebody typed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from armonika.trust.vault.errors import Refused, SessionEnded, Throttled, VaultError

log = logging.getLogger("armonika.web")


def page(request: HttpRequest, status: int, retry_after: float | None = None) -> HttpResponse:
    """The page of an HTTP status in the reader's language; plain words when the template itself fails."""
    try:
        response = render(request, "failure.html", {"status": status, "wait": int(retry_after or 0) + 1}, status=status)
    except Exception:
        response = HttpResponse(f"{status}", status=status, content_type="text/plain")
    if retry_after is not None:
        response.headers["Retry-After"] = str(int(retry_after) + 1)
    return response


class Failures:
    """Turns every exception of a view into its page, and logs its type and place only."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._next = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._next(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        if isinstance(error, Throttled):
            return page(request, 429, error.retry_after)
        if isinstance(error, Http404 | Refused):
            return page(request, 404)
        if isinstance(error, SessionEnded):
            return page(request, 401)
        if isinstance(error, VaultError):
            return page(request, error.status)
        if isinstance(error, RequestDataTooBig):
            return page(request, 413)
        if isinstance(error, PermissionDenied):
            return page(request, 403)
        if isinstance(error, BadRequest | SuspiciousOperation | TooManyFieldsSent | UnicodeError):
            return page(request, 400)
        log.error(
            "a view failed",
            exc_info=error,
            extra={"route": getattr(getattr(request, "resolver_match", None), "view_name", "") or ""},
        )
        return page(request, 500)


def csrf(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The answer to a form that was not sent from our own page."""
    return page(request, 403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    return page(request, 413 if isinstance(exception, RequestDataTooBig) else 400)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    return page(request, 404)


def failed(request: HttpRequest) -> HttpResponse:
    """handler500."""
    return page(request, 500)
