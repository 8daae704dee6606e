"""Fonts, styles and icons made at set-up (`armonika.design.build`), served under names that hold their hash."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import lru_cache
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse

from armonika.settings import CHECKOUT
from armonika.web.session import public

FOLDER = CHECKOUT / "build" / "static"


@lru_cache(maxsize=1)
def _files() -> dict[str, tuple[bytes, str]]:
    found = {}
    for path in sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []:
        raw = path.read_bytes()
        stem, dot, ending = path.name.rpartition(".")
        found[path.name] = (raw, f"{stem}.{hashlib.sha256(raw).hexdigest()[:12]}{dot}{ending}")
    return found


@lru_cache(maxsize=1)
def urls() -> dict[str, str]:
    """Address of each asset by its name with dots and hyphens as underscores."""
    return {name.replace(".", "_").replace("-", "_"): f"/static/{hashed}" for name, (_, hashed) in _files().items()}


@lru_cache(maxsize=64)
def _served(hashed: str) -> tuple[bytes, str] | None:
    for name, (raw, address) in _files().items():
        if address == hashed:
            if name.endswith(".css"):
                for other, (_, target) in _files().items():
                    raw = raw.replace(f"url({other})".encode(), f"url(/static/{target})".encode())
            kind = {".woff2": "font/woff2", ".js": "text/javascript", ".svg": "image/svg+xml"}.get(
                Path(name).suffix
            ) or mimetypes.guess_type(name)[0]
            return raw, kind or "application/octet-stream"
    return None


@public
def serve(request: HttpRequest, name: str) -> HttpResponse:
    """One asset, kept by browsers for a year: another content has another name."""
    found = _served(name)
    if found is None:
        raise Http404
    return HttpResponse(found[0], content_type=found[1], headers={"Cache-Control": "public, max-age=31536000, immutable"})


serve.armonika_access = "static"  # type: ignore[attr-defined]
