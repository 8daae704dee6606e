"""The texts of the templates that need translation, and whether the catalogues hold them all (part of `make check`)."""

from __future__ import annotations

import re

from babel.messages.pofile import read_po

from armonika.settings import CHECKOUT

TEMPLATES = CHECKOUT / "armonika" / "design" / "templates"
LOCALE = CHECKOUT / "armonika" / "locale"
_PLAIN = re.compile(r'{%\s*translate\s+"([^"]+)"\s*%}')
_BLOCK = re.compile(r"{%\s*blocktranslate[^%]*%}(.*?){%\s*endblocktranslate\s*%}", re.S)


def wanted() -> dict[str, str]:
    """Every text with the template where it first stands."""
    found: dict[str, str] = {}
    for path in sorted(TEMPLATES.glob("*.html")):
        text = path.read_text()
        for plain in _PLAIN.findall(text):
            found.setdefault(plain, path.name)
        for block in _BLOCK.findall(text):
            found.setdefault(re.sub(r"{{\s*(\w+)\s*}}", r"%(\1)s", block), path.name)
    return found


def faults() -> list[str]:
    """What is missing, empty, fuzzy, left over or has other placeholders, by catalogue."""
    problems = []
    texts = wanted()
    for language in ("fr", "ar"):
        with (LOCALE / f"{language}.po").open("rb") as file:
            entries = {str(message.id): message for message in read_po(file, locale=language) if message.id}
        for text in texts:
            message = entries.get(text)
            if message is None or not message.string:
                problems.append(f"{language}: not translated: {text!r} ({texts[text]})")
            elif message.fuzzy:
                problems.append(f"{language}: fuzzy: {text!r}")
            elif sorted(re.findall(r"%\(\w+\)s", text)) != sorted(re.findall(r"%\(\w+\)s", str(message.string))):
                problems.append(f"{language}: other placeholders: {text!r}")
        problems += [f"{language}: left over: {text!r}" for text in entries if text not in texts]
    return problems
