"""9a.1: nothing is kept in a browser but what the register names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from armonika.verify.browser import Crawl, crawl
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage


class Claim:
    """A real browser visits every page in three languages, anonymous and signed in, errors too; cookies and every kind of storage are then listed."""

    claim, hours = "9a.1", 24
    script = ""

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        seen: Crawl = crawl(context, self.script)
        register = {cookie.name for cookie in context.policy.cookies}
        for name in seen.cookies:
            evidence.expect(name in register, "a cookie that is not in the register was kept")
        for name, count in seen.storage.items():
            evidence.expect(count == 0, f"{name} holds {count} item(s)")
        evidence.examined += len(seen.pages)
        evidence.control = "__Host-session" in seen.cookies and len(seen.pages) >= 20
        evidence.summary = f"{len(seen.pages)} pages in a browser, {len(seen.cookies)} cookies, nothing in other storage"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        for name, script in (
            ("a cookie `ref`", "document.cookie = 'ref=1; path=/'"),
            ("an id in localStorage", "localStorage.setItem('id', '1')"),
        ):
            yield Sabotage(name, lambda context, script=script: self._with(context, script))  # type: ignore[misc]

    @contextmanager
    def _with(self, context: Context, script: str) -> Iterator[Context]:
        self.script = script
        try:
            yield context
        finally:
            self.script = ""
