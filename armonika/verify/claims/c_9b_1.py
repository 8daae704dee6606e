"""9b.1: no request to anybody else, and a policy in force that would stop one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from armonika.verify.browser import crawl
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.http import Answer


class Claim:
    """Every request of a crawling browser goes to the first party; each page carries an enforced CSP without any other origin, which blocks a planted probe."""

    claim, hours = "9b.1", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        own = urlsplit(context.settings.site_url).netloc
        seen = crawl(context)
        for origin in seen.origins:
            evidence.expect(origin == own, "a page asks another origin")
        for language in context.policy.languages:
            for path in ("", "privacy/", "trust/", "register/", "sign-in/", "demo/"):
                answer = context.visitor().get(context.site(f"/{language}/{path}"))
                csp = answer.headers.get("content-security-policy", "")
                parts = {piece.split()[0]: piece.split()[1:] for piece in csp.split(";") if piece.split()}
                evidence.expect(parts.get("default-src") == ["'none'"], f"{path}: the CSP lets through what it does not name")
                evidence.expect(
                    all(set(sources) <= {"'self'", "'none'"} for sources in parts.values()),
                    f"{path}: the CSP names another origin",
                )
                evidence.expect(
                    "http" not in answer.text.replace(context.settings.site_url, "").replace("http://www.w3.org", ""),
                    f"{path}: the page names another address",
                )
        evidence.control = seen.probe_blocked and len(seen.pages) >= 20
        evidence.summary = (
            f"{len(seen.pages)} pages, {seen.requests} requests, {len(seen.origins)} origin; a planted probe was blocked"
        )
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        def report_only(url: str, answer: Answer) -> Answer:
            answer.headers["content-security-policy-report-only"] = answer.headers.pop("content-security-policy", "")
            return answer

        def pixel(url: str, answer: Answer) -> Answer:
            answer.body = answer.body.replace(b"</main>", b'<img src="http://tracker.invalid/p.gif" alt=""></main>')
            return answer

        yield Sabotage("the CSP only reports", lambda context: context.altered(report_only))
        yield Sabotage("a pixel of somebody else", lambda context: context.altered(pixel))
