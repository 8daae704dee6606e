"""8a.1: the export holds everything about the person, and nothing about anybody else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.http import Answer

NEEDED = {
    "manifest.json",
    "report.en.html",
    "report.fr.html",
    "report.ar.html",
    "data/account.json",
    "access-log.csv",
    "processing.jsonld",
    "withheld.json",
}


class Claim:
    """A canary signs in and exports: every value is there in the data and in each report (recall), none of another canary (precision)."""

    claim, hours = "8a.1", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        canary = context.member()
        other = context.member(fresh=True)
        context.canaries.remove(canary)
        context.canaries.append(canary)
        visitor = context.signed_in(canary)
        page = visitor.get(context.site("/fr/me/"))
        for name, value in canary.values.items():
            evidence.expect(value in page.text, f"the privacy centre lacks {name}")
        answer = visitor.submit_from(context.site("/en/me/"), context.site("/en/me/export/"), {})
        evidence.expect(
            answer.status == 200 and answer.headers.get("content-type") == "application/zip",
            f"the export answered {answer.status}",
        )
        if answer.status != 200:
            return evidence
        try:
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                files = {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}
        except zipfile.BadZipFile:
            evidence.expect(False, "the export is no archive")
            return evidence
        evidence.expect(files.keys() >= NEEDED, f"the export lacks {sorted(NEEDED - files.keys())}")
        for name, value in canary.values.items():
            evidence.expect(value in files.get("data/account.json", ""), f"data/account.json lacks {name}")
            for language in context.policy.languages:
                evidence.expect(value in files.get(f"report.{language}.html", ""), f"the {language} report lacks {name}")
        everything = "".join(files.values())
        evidence.expect(not any(value in everything for value in other.values.values()), "the export holds another person's data")
        evidence.expect("read" in files.get("access-log.csv", ""), "the export lacks the log of uses")
        evidence.control = str(canary.subject) in files.get("manifest.json", "")
        evidence.summary = f"{len(files)} files, {len(canary.values)} of {len(canary.values)} values in data and three reports, 0 of another person"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "a store is left out",
            lambda context: context.altered(_rezip(lambda name, data: None if name == "data/account.json" else data)),
        )

        def foreign(context: Context) -> Callable[[str, bytes], bytes | None]:
            return lambda name, data: (
                data + "".join(value for other in context.canaries for value in other.values.values()).encode()
                if name == "access-log.csv"
                else data
            )

        yield Sabotage("another person's data slip in", lambda context: context.altered(_rezip(foreign(context))))


def _rezip(change: Callable[[str, bytes], bytes | None]) -> Callable[[str, Answer], Answer]:
    def route(url: str, answer: Answer) -> Answer:
        if url.endswith("/export/") and answer.status == 200:
            buffer = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(answer.body)) as old, zipfile.ZipFile(buffer, "w") as new:
                for name in old.namelist():
                    data = change(name, old.read(name))
                    if data is not None:
                        new.writestr(name, data)
            answer.body = buffer.getvalue()
        return answer

    return route
