"""P1: version, exact date and hash on the page are those of the one version in force."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from armonika import policy as policies
from armonika.policy.check import MONTHS, dates
from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.sabotage import swap


class Claim:
    """The page's date is the day on which the version in force took effect; its hash is the stored one; versions succeed each other."""

    claim, hours = "P1", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        versions = context.rows("SELECT version, effective_from, sha256 FROM vault.policy_version ORDER BY effective_from")
        now = datetime.now(UTC)
        past = [row for row in versions if row[1] <= now]
        evidence.expect(bool(past), "no version is in force")
        evidence.expect(
            len({row[1] for row in versions}) == len(versions) == len({row[2] for row in versions}),
            "two versions share a date or a hash",
        )
        told = context.rows("SELECT version, effective_from, sha256 FROM vault.policies() WHERE in_force")
        evidence.expect(len(told) == 1 and bool(past) and told[0][2] == past[-1][2], "not exactly the newest version is in force")
        evidence.expect(bool(past) and past[-1][2] == context.policy.sha256, "the policy in force is not the one in the checkout")
        for language in context.policy.languages:
            page = context.visitor().get(context.site(f"/{language}/privacy/")).text
            day = context.policy.effective_from
            head = re.sub(r"<[^>]+>", " ", page.partition('class="tag"')[2].partition("</p>")[0])
            evidence.expect(
                (str(day.day), day.month) in dates(head, language) and str(day.year) in head,
                f"{language}: the page shows another date",
            )
            shown = re.sub(r"\s", "", head)
            evidence.expect(shown.rpartition("SHA-256")[2] == context.policy.sha256, f"{language}: the page shows another hash")
            evidence.expect(context.policy.version in head, f"{language}: the page shows another version")
        for _, _, sha256 in past:
            answer = context.visitor().get(context.site(f"/en/privacy/{sha256}/"))
            evidence.expect(
                answer.status == 200 and sha256 in re.sub(r"\s", "", re.sub(r"<[^>]+>", "", answer.text)),
                "an earlier version cannot be read",
            )
        for _, effective, sha256 in versions:
            if effective > now:
                evidence.expect(
                    context.visitor().get(context.site(f"/en/privacy/{sha256}/")).status == 404,
                    "a later version is shown before its time",
                )
        evidence.summary = f"{len(versions)} version(s); in force since {context.policy.effective_from.isoformat()}"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        day = policies.load().effective_from
        shown, wrong = (f"{day.day} {MONTHS['en'][(day.month + step) % 12]} {day.year}".encode() for step in (-1, 0))
        yield Sabotage("the page shows the next month", swap("/en/privacy/", shown, wrong))
        yield Sabotage("the page shows another hash", swap("/fr/privacy/", b'class="hash">', b'class="hash">0'))
        yield Sabotage(
            "another version took effect unnoticed",
            lambda context: context.planted(
                "INSERT INTO vault.policy_version (policy_id, version, effective_from, sha256, document, catalogue) "
                "VALUES (32000, 'x', clock_timestamp() - interval '1 minute', repeat('0', 64), '', '{}')"
            ),
        )
