"""What every template knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language

from armonika.web import assets


def page(request: HttpRequest) -> dict[str, Any]:
    """Language, direction, the same page in the other languages, who is signed in, and where the assets are."""
    language = (get_language() or "en")[:2]
    path = request.path
    parts = path.split("/", 2)
    tail = parts[2] if len(parts) > 2 and parts[1] in ("en", "fr", "ar") else ""
    query = request.META.get("QUERY_STRING", "")
    return {
        "language": language,
        "direction": "rtl" if language == "ar" else "ltr",
        "languages": [
            (code, name, f"/{code}/{tail}" + (f"?{query}" if query and request.method == "GET" else ""))
            for code, name in settings.LANGUAGES
        ],
        "member": getattr(request, "member", None),
        "door": settings.ARMONIKA_DOOR,
        "assets": assets.urls(),
    }
