"""9a.3: cookies carry the least they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.http import Answer


class Claim:
    """Every Set-Cookie line met on the way is Secure, HttpOnly, SameSite=Lax or Strict, Path=/, `__Host-` and at most 12 hours; the first page that an
    anonymous visitor sees sets none but what its own form needs."""

    claim, hours = "9a.3", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        first = context.visitor()
        for path in ("/en/", "/ar/privacy/", "/fr/trust/", "/en/nothing-here/"):
            first.get(context.site(path))
        evidence.expect(not first.seen, f"a page without a form sets {len(first.seen)} cookie(s)")
        visitor = context.signed_in(context.member())
        visitor.get(context.site("/en/me/"))
        register = {cookie.name: cookie for cookie in context.policy.cookies}
        for line in visitor.seen:
            name, *rest = line.split(";")
            flags = {part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in rest}
            cookie = register.get(name.partition("=")[0])
            evidence.expect(cookie is not None, "a cookie is not in the register")
            evidence.expect(
                name.startswith("__Host-") and flags.get("path") == "/" and "domain" not in flags,
                "a cookie is not bound to its host",
            )
            evidence.expect("secure" in flags and "httponly" in flags, "a cookie is not Secure and HttpOnly")
            evidence.expect(flags.get("samesite") in ("Lax", "Strict"), "a cookie is sent to other sites")
            evidence.expect(0 <= int(flags.get("max-age") or 0) <= 12 * 3600, "a cookie lives longer than 12 hours")
        evidence.control = any(line.startswith("__Host-session=") for line in visitor.seen)
        evidence.summary = f"{len(visitor.seen)} Set-Cookie lines"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage("SameSite=None", _lines(lambda line: line.replace("SameSite=Lax", "SameSite=None")))
        yield Sabotage("a life of a year", _lines(lambda line: line.replace("Max-Age=43200", "Max-Age=31536000")))


def _lines(change: Callable[[str], str]):  # type: ignore[no-untyped-def]
    def route(url: str, answer: Answer) -> Answer:
        answer.cookies = [change(line) for line in answer.cookies]
        return answer

    return lambda context: context.altered(route)
