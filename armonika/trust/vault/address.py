"""One canonical form of an e-mail address, for exact look-up in any letter case, script and domain form."""

from __future__ import annotations

import unicodedata

import idna

from armonika.trust.vault.errors import Invalid

MAX_LOCAL_BYTES = 64
MAX_ADDRESS_BYTES = 254


def canonical_email(address: str) -> str:
    """The canonical form: NFKC and case-folded local part (RFC 6531 allows any script), domain as lower-case A-labels (IDNA 2008, UTS 46).

    Local parts are compared without letter case, as every large provider does; dots and plus tags are kept, for they may be other people.
    Raises `Invalid` for what is not one plain address (no quoted local parts, comments, spaces, controls or address literals).
    """
    text = unicodedata.normalize("NFKC", address.strip())
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or "@" in local:
        raise Invalid("an e-mail address has one @ between two parts")
    local = unicodedata.normalize("NFKC", local.casefold())
    if any(
        character in '"(),:;<>[\\]' or unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Cn", "Co")
        for character in local
    ):
        raise Invalid("the part before the @ holds a character that no address may hold")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise Invalid("dots in the part before the @ stand alone between other characters")
    try:
        domain = idna.encode(domain.rstrip("."), uts46=True, transitional=False).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise Invalid("the part after the @ is no domain name") from None
    if "." not in domain:
        raise Invalid("the part after the @ is no full domain name")
    canonical = f"{local}@{domain}"
    if len(local.encode()) > MAX_LOCAL_BYTES or len(canonical.encode()) > MAX_ADDRESS_BYTES:
        raise Invalid("the address is too long")
    return canonical
