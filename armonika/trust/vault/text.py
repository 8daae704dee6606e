"""What a value may be before it is encrypted."""

from __future__ import annotations

import unicodedata

from armonika.trust.vault.errors import Invalid

MAX_BYTES = 65536
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(value: str) -> str:
    """NFC-normalised `value`, or `Invalid`: at most 64 KiB of UTF-8, no NUL or other control but TAB and LF (CR LF becomes LF), no lone
    surrogate, no overriding or isolating bidirectional control (they can make a text read as another), no more than 16 combining marks in a row.
    """
    if len(value) > MAX_BYTES:
        raise Invalid("a value has at most 64 KiB")
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n"))
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc" and character not in "\t\n":
            raise Invalid("a value holds a control character")
        if category == "Cs":
            raise Invalid("a value holds half a character")
        if character in _BIDI:
            raise Invalid("a value holds a character that reverses the direction of text")
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > 16:
            raise Invalid("a value holds too many marks on one letter")
    if len(text.encode()) > MAX_BYTES:
        raise Invalid("a value has at most 64 KiB")
    if not text.strip():
        raise Invalid("a value is empty")
    return text
