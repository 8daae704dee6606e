"""T0: the page is the policy, sentence by sentence, in each language."""

from __future__ import annotations

from collections.abc import Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.page import read
from armonika.verify.sabotage import swap


class Claim:
    """Every sentence on the page is bound to its claims and says what the stored policy says; clauses stand in order; nothing else stands there."""

    claim, hours = "T0", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        policy = context.policy
        order = [clause.id for clause in policy.clauses]
        wanted = {sentence.id: sentence for clause in policy.clauses for sentence in clause.sentences}
        for language in policy.languages:
            page = read(context.visitor().get(context.site(f"/{language}/privacy/")).text)
            evidence.expect([c for c in page.clauses if c in order] == order, f"{language}: clauses are missing or out of order")
            shown = {sentence.id: sentence for sentence in page.sentences}
            for name, sentence in wanted.items():
                there = shown.get(name)
                evidence.expect(there is not None, f"{language}: sentence {name} is not on the page")
                if there is not None:
                    evidence.expect(
                        there.text.strip() == sentence.text[language], f"{language}: sentence {name} says something else"
                    )
                    evidence.expect(there.claims == sentence.claims, f"{language}: sentence {name} is bound to other claims")
            for name in shown.keys() - wanted.keys():
                evidence.expect(False, f"{language}: orphan sentence {name}")
            for text in page.loose:
                evidence.expect(False, f"{language}: a sentence of {len(text)} letters is bound to nothing")
        declared = {claim.id for claim in policy.claims}
        bound = [claim for sentence in wanted.values() for claim in sentence.claims]
        evidence.expect(sorted(bound) == sorted(declared), "claims and sentences are not one to one")
        evidence.summary = f"{len(wanted)} sentences in {len(policy.languages)} languages, {len(declared)} claims bound"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "an orphan sentence on the English page",
            swap("/en/privacy/", b"<p data-sentence=", b"<p>We may do anything.</p><p data-sentence="),
        )
        yield Sabotage("one word changed only in Arabic", swap("/ar/privacy/", "الجزائر".encode(), "تونس".encode()))
        yield Sabotage("a clause is gone from the French page", swap("/fr/privacy/", b'data-clause="7"', b'data-x="7"'))
