"""QR codes (ISO/IEC 18004) as SVG inside a page: shapes and attributes only, so that the content security policy needs no exception."""

from __future__ import annotations

import io

import segno
from django.utils.safestring import SafeString, mark_safe


def svg(text: str) -> SafeString:
    """The code of `text`, dark on white in every colour scheme, for cameras need that. Its size is the style sheet's; it is hidden from screen readers,
    for the same key stands beside it to be typed."""
    out = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, svgns=False, omitsize=True, dark="#000", light="#fff", svgclass="qr", lineclass=None, border=4, nl=False
    )  # fmt: skip
    return mark_safe(out.getvalue().decode().replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))  # noqa: S308
