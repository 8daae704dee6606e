"""Reads HTML the way the verifier needs it: inputs, sentences, text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Sentence:
    """One bound sentence of the policy page."""

    id: str
    claims: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Inputs by name with their attributes; sentences bound to claims; paragraphs inside clauses that are bound to nothing; clause order."""

    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    sentences: list[Sentence] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    clauses: list[str] = field(default_factory=list)
    optional: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._sentence: Sentence | None = None
        self._hint = self._label = self._section = ""
        self._paragraph: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "input" and "name" in values:
            self.inputs[values["name"]] = values
        if tag == "section" and "data-clause" in values:
            self._section = values["data-clause"]
            self.clauses.append(self._section)
        if tag == "label":
            self._label = values.get("for", "")
        if values.get("class") == "optional":
            self.optional.add(self._label.removeprefix("f-"))
        if tag == "p":
            if "data-sentence" in values:
                self._sentence = Sentence(values["data-sentence"], tuple(values.get("data-claims", "").split()))
            elif values.get("id", "").startswith("h-"):
                self._hint = values["id"].removeprefix("h-")
            elif self._section:
                self._paragraph = ""

    def handle_data(self, data: str) -> None:
        if self._sentence is not None:
            self._sentence.text += data
        elif self._hint:
            self.hints[self._hint] = self.hints.get(self._hint, "") + data
        elif self._paragraph is not None:
            self._paragraph += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "p":
            if self._sentence is not None:
                self.sentences.append(self._sentence)
            elif self._paragraph:
                self.loose.append(self._paragraph)
            self._sentence, self._hint, self._paragraph = None, "", None
        if tag == "section":
            self._section = ""


def read(text: str) -> Page:
    """The page in `text`."""
    page = Page()
    page.feed(text)
    return page
