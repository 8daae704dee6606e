"""What a password must be (NIST SP 800-63B §3.1.1.2, ASVS 6.2): length and not guessable; no rules of composition, no expiry."""

from __future__ import annotations

import unicodedata

MIN_LENGTH = 12
MAX_LENGTH = 1024
_COMMON = frozenset(
    [
        "password",
        "passwort",
        "motdepasse",
        "azerty",
        "azertyuiop",
        "qwerty",
        "qwertyuiop",
        "123456789012",
        "abcdefghijkl",
        "iloveyou",
        "administrateur",
        "administrator",
        "changeme",
        "letmein",
        "welcome",
        "bienvenue",
        "algerie",
        "algeria",
        "alger",
        "armonika",
        "sovereign",
        "letmeinplease",
        "trustno1trustno1",
    ]
)


def problem(password: str, own: tuple[str, ...] = ()) -> str | None:
    """`short`, `long`, `common` or `own`, or None when the password may be used. `own` are the person's own words (address, company)."""
    text = unicodedata.normalize("NFC", password)
    if len(text) < MIN_LENGTH:
        return "short"
    if len(text) > MAX_LENGTH:
        return "long"
    folded = text.casefold()
    letters = folded.rstrip("0123456789!?.-_ ")
    if folded in _COMMON or letters in _COMMON or len(set(folded)) < 5:
        return "common"
    for word in own:
        for part in (word.casefold(), word.casefold().partition("@")[0]):
            if len(part) >= 5 and ((part in folded and len(part) * 2 > len(folded)) or part == letters):
                return "own"
    return None
