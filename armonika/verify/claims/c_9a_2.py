"""9a.2: each cookie is necessary: without it its journey breaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from armonika.policy.model import Cookie, Text
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage


class Claim:
    """One registered cookie is thrown away at a time, and the critical journeys are run. All work with all cookies; with one missing, something must break."""

    claim, hours = "9a.2", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        whole = self._journeys(context, frozenset())
        evidence.control = all(whole.values())
        for name, works in whole.items():
            evidence.expect(works, f"the journey {name} does not work with every cookie")
        for cookie in context.policy.cookies:
            broken = [name for name, works in self._journeys(context, frozenset({cookie.name})).items() if not works]
            evidence.expect(bool(broken), f"nothing breaks without {cookie.name}: it is not necessary")
        evidence.summary = f"{len(context.policy.cookies)} cookies taken away one by one, {len(whole)} journeys each"
        return evidence

    def _journeys(self, context: Context, blocked: frozenset[str]) -> dict[str, bool]:
        canary = context.member()
        visitor = context.visitor(blocked)
        form = visitor.submit(context.site("/fr/demo/"), {})
        visitor.submit(context.site("/en/sign-in/"), {"email": canary.values["email"], "password": canary.password})
        return {
            "demo form": form.status == 422,
            "sign in": visitor.get(context.site("/en/me/")).status == 200,
            "language": context.visitor().get(context.site("/ar/")).status == 200,
        }

    def sabotages(self) -> Iterator[Sabotage]:
        @contextmanager
        def themed(context: Context) -> Iterator[Context]:
            extra = Cookie("pref_theme", (), 1, "theme", Text("theme", "thème", "مظهر"))
            yield replace(context, policy=replace(context.policy, cookies=(*context.policy.cookies, extra)))

        yield Sabotage("a cookie for taste in the register", themed)
