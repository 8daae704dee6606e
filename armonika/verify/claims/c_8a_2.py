"""8a.2: a correction holds everywhere, and the old value is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.http import Answer
from armonika.verify.page import read


class Claim:
    """A canary corrects every field that can be corrected; each language's page and the vault show the new values and none of the old ones."""

    claim, hours = "8a.2", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        canary = context.member(fresh=True)
        visitor = context.signed_in(canary)
        centre = visitor.get(context.site("/en/me/")).text
        link = re.search(r"/en/me/correct/[0-9a-f-]{36}/", centre)
        evidence.expect(link is not None, "the privacy centre offers no correction")
        if link is None:
            return evidence
        address = context.site(link.group())
        form = {
            name: values.get("value", "")
            for name, values in read(visitor.get(address).text).inputs.items()
            if name.startswith("version-")
        }
        new = {name: context.token() for name in ("name", "company", "phone", "role")}
        answer = visitor.submit(address, {**form, **new})
        evidence.expect(answer.status == 200, f"the correction answered {answer.status}")
        for language in context.policy.languages:
            shown = visitor.get(context.site(f"/{language}/me/")).text
            for name, value in new.items():
                evidence.expect(value in shown, f"{language}: {name} is not corrected on the page")
                evidence.expect(canary.values[name] not in shown, f"{language}: the old {name} is still on the page")
        (record,) = context.vault.read(context.vault.service, canary.subject, "account", [*new, "email"], "legal", "verification")
        for name, value in new.items():
            evidence.expect(record.values[name] == value and record.versions[name] == 2, f"the vault holds another {name}")
        again = visitor.submit(address, {**form, **{name: context.token() for name in new}})
        evidence.expect(again.status == 409, "a correction made from an old page was stored")
        evidence.control = record.values["email"] == canary.values["email"]
        evidence.summary = f"{len(new)} fields corrected, seen in {len(context.policy.languages)} languages and the vault"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        def stale(context: Context):  # type: ignore[no-untyped-def]
            kept: dict[str, bytes] = {}

            def route(url: str, answer: Answer) -> Answer:
                if url.endswith("/me/") and answer.status == 200:
                    answer.body = kept.setdefault("page", answer.body)
                return answer

            return context.altered(route)

        yield Sabotage("a page shows what it kept from before", stale)
