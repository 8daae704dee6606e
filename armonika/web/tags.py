"""Filters for dates in Algerian usage and for values that keep their direction."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from armonika.gates.clock import ALGIERS
from armonika.policy.check import MONTHS

register = template.Library()


@register.filter
def day(value: datetime, language: str) -> str:
    """23 November 2026, 23 novembre 2026, 23 نوفمبر 2026."""
    local = value.astimezone(ALGIERS)
    return f"{local.day} {MONTHS[language][local.month - 1]} {local.year}"


@register.filter
def moment(value: datetime, language: str) -> SafeString:
    """Day and time in Algiers, with its machine form."""
    local = value.astimezone(ALGIERS)
    return format_html(
        '<time datetime="{}">{} <bdi dir="ltr">{}</bdi></time>',
        local.isoformat(timespec="seconds"),
        day(value, language),
        local.strftime("%H:%M"),
    )


@register.filter
def listed(values: list[str], language: str) -> str:
    """Words in a row, with the comma of the script."""
    return ("، " if language == "ar" else ", ").join(values)


@register.filter
def groups(value: str) -> SafeString:
    """A hash in groups of four, always left to right."""
    return format_html('<bdi dir="ltr" class="hash">{}</bdi>', " ".join(value[at : at + 4] for at in range(0, len(value), 4)))


@register.filter
def at(mapping: dict[str, object], key: str) -> object:
    """A value of a mapping by key."""
    return mapping.get(key, "") if mapping else ""
