"""Addresses that every web door has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path
from django.utils.translation import get_language_from_request
from django.views.decorators.http import require_safe

from armonika import policy as policies
from armonika.web import assets
from armonika.web.headers import plain
from armonika.web.session import public
from armonika.web.store import vault


@public
@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """To the reader's language, by Accept-Language alone: no cookie remembers it."""
    response = HttpResponseRedirect(f"/{get_language_from_request(request)[:2]}/")
    response.headers["Vary"] = "Accept-Language"
    return response


@public
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Whether this door reaches its vault."""
    vault().policies()
    return plain("ok\n")


@public
@require_safe
def gpc(request: HttpRequest) -> HttpResponse:
    """Global Privacy Control: it is honoured, for nothing is sold (claim 2b.1)."""
    return JsonResponse({"gpc": True, "lastUpdate": policies.load().effective_from.isoformat()})


@public
@require_safe
def security_txt(request: HttpRequest) -> HttpResponse:
    """RFC 9116."""
    until = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
    return plain(
        f"Contact: mailto:{policies.load().controller.privacy_email}\nExpires: {until}\nPreferred-Languages: ar, fr, en\n"
    )


@public
@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Personal pages are for nobody's index."""
    return plain("User-agent: *\nDisallow: /en/me/\nDisallow: /fr/me/\nDisallow: /ar/me/\n")


def urls(localised: Sequence[Any]) -> list[Any]:
    """The whole address table of a door: common addresses, and its own below each language."""
    return [
        path("", front),
        path("healthz", healthz),
        path("robots.txt", robots),
        path(".well-known/gpc.json", gpc),
        path(".well-known/security.txt", security_txt),
        path("static/<str:name>", assets.serve),
        *i18n_patterns(*localised),
    ]
