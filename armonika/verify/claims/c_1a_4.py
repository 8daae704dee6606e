"""1a.4: what is needed and what is not is said at each field, with what follows."""

from __future__ import annotations

from collections.abc import Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.page import read
from armonika.verify.sabotage import swap


class Claim:
    """Marks and consequences stand on the forms; a request without the optional field passes, one without a needed field is refused and stores nothing."""

    claim, hours = "1a.4", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        for dataset, path in (("account", "register"), ("demo", "demo")):
            for language in context.policy.languages:
                page = read(context.visitor().get(context.site(f"/{language}/{path}/")).text)
                for field in context.policy.dataset(dataset).fields:
                    there = page.inputs.get(field.name, {})
                    evidence.expect(
                        ("required" in there) == field.required,
                        f"{language}/{path}: {field.name} is marked wrongly as needed or not",
                    )
                    evidence.expect(
                        (field.name in page.optional) == (not field.required), f"{language}/{path}: {field.name} lacks its mark"
                    )
                    hint = page.hints.get(field.name, "")
                    evidence.expect(
                        field.why[language] in hint and field.otherwise[language] in hint,
                        f"{language}/{path}: {field.name} says not why, or what follows",
                    )
        before = self._count(context)
        address = f"{context.token().lower()}@canary.example"
        good = {"name": "Canary", "email": address, "company": "Canary", "role": "Canary"}
        for missing in good:
            answer = context.visitor().submit(
                context.site("/en/demo/"), {name: value for name, value in good.items() if name != missing}
            )
            evidence.expect(answer.status == 422, f"a demo request without {missing} answered {answer.status}")
        evidence.expect(self._count(context) == before, "a refused request was stored")
        answer = context.visitor().submit(context.site("/en/demo/"), good)
        evidence.control = answer.status == 200 and self._count(context) == before + 1
        for record in context.vault.find(context.vault.service, "demo", "email", address, ["email"], "legal", "verification"):
            context.vault.erase(context.vault.service, [record.subject], "legal", "verification")
        evidence.summary = "6 forms; 4 incomplete requests refused, 1 without the optional field taken"
        return evidence

    def _count(self, context: Context) -> int:
        return int(
            context.rows("SELECT count(*) FROM vault.record r JOIN vault.dataset d ON d.id = r.dataset WHERE d.name = 'demo'")[0][
                0
            ]
        )

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage("the phone is silently needed", swap("/demo/", b'id="f-phone"', b'id="f-phone" required'))
        yield Sabotage("the consequence is left out", swap("/register/", b'id="h-phone">', b'id="h-phone"></p><p>'))
