"""One-time codes by time (RFC 6238 over RFC 4226), the arithmetic alone: steps, windows, truncation, what people type. Whoever has the key makes the HMAC."""

from __future__ import annotations

import unicodedata

SECONDS = 30
DIGITS = 6
WINDOW = (-1, 0, 1)
"""Steps beside the present one in which a code is looked for: a clock may be half a minute off (RFC 6238 §5.2)."""

KEY_BYTES = 20
"""160 bits, as long as the hash (RFC 4226 §4, R6)."""

RECOVERY_CHARACTERS = 16
"""Of 32 letters each: 80 bits (NIST SP 800-63B §5.1.2 asks for 20)."""

RECOVERY_CODES = 10
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""Base32 (RFC 4648 §6)."""

_MISREAD = str.maketrans("018", "OIB")


def step_of(seconds: float) -> int:
    """The number of the 30 seconds in which the moment `seconds` (Unix time) lies (RFC 6238 §4.2)."""
    return int(seconds // SECONDS)


def steps_around(step: int) -> tuple[int, ...]:
    """The steps whose codes are looked for, the present one first."""
    return tuple(sorted((step + shift for shift in WINDOW), key=lambda at: (abs(at - step), at)))


def counter(step: int) -> bytes:
    """The moving factor as eight bytes, the highest first (RFC 4226 §5.1)."""
    return step.to_bytes(8, "big")


def code(digest: bytes, digits: int = DIGITS) -> str:
    """The code in an HMAC (dynamic truncation, RFC 4226 §5.3)."""
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def typed_code(text: str) -> str | None:
    """What was typed as six digits, in any script's digits and with spaces or hyphens; None when it is no such code."""
    kept = []
    for character in text:
        if character.isspace() or character in "-\u200e\u200f":
            continue
        value = unicodedata.decimal(character, None)
        if value is None:
            return None
        kept.append(str(value))
    return "".join(kept) if len(kept) == DIGITS else None


def typed_recovery(text: str) -> str | None:
    """What was typed as a recovery code: capitals without separators, 0, 1 and 8 read as the letters they are taken for; None when it is none."""
    kept = "".join(character for character in text.upper() if not character.isspace() and character not in "-\u200e\u200f")
    kept = kept.translate(_MISREAD)
    return kept if len(kept) == RECOVERY_CHARACTERS and set(kept) <= set(ALPHABET) else None


def recovery_from(random: bytes) -> str:
    """A recovery code from random bytes, one for each character."""
    return "".join(ALPHABET[byte & 31] for byte in random[:RECOVERY_CHARACTERS])


def grouped(text: str, size: int = 4) -> str:
    """Characters in groups, for reading and typing."""
    return " ".join(text[at : at + size] for at in range(0, len(text), size))
