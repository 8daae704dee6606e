"""7a.3: no byte at rest holds a person's data in clear."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage
from armonika.verify.scan import Scanner


class Claim:
    """A member with unique tokens in every field is registered, read, corrected and looked up; then every file of the installation, and every
    environment and command line, is searched for the tokens in every encoding. Planted tokens must be found in the same pass."""

    claim, hours = "7a.3", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        canary = context.member()
        visitor = context.signed_in(canary)
        visitor.get(context.site("/ar/me/"))
        context.vault.find(
            context.vault.service, "account", "email", canary.values["email"].upper(), ["name", "phone"], "legal", "verification"
        )
        context.database.execute("CHECKPOINT")
        tokens = [part for value in canary.values.values() for part in value.replace("@canary.example", "").split()] + [
            canary.password
        ]
        control = context.token()
        home = context.settings.home
        planted = home / "run" / "positive-control"
        planted.write_bytes(b"\x00" + control.encode("utf-16-le") + b"\n" + control.encode().hex().encode())
        try:
            scanner = Scanner([*tokens, control])
            memory = context.settings.credentials
            places: list[Path] = [home, *([memory] if memory.exists() else [])]
            found: dict[str, set[str]] = {}
            for path, token, name in [*scanner.files_below(places), *scanner.processes()]:
                found.setdefault("control" if token == control else "leak", set()).add(f"{path} ({name})")
        finally:
            planted.unlink(missing_ok=True)
        evidence.examined = scanner.files
        evidence.failures = sorted(found.get("leak", ()))
        evidence.control = len(found.get("control", ())) >= 2
        evidence.summary = f"{len(tokens)} tokens in {scanner.files} files, {scanner.bytes // 1048576} MiB"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        @contextmanager
        def in_log(context: Context) -> Iterator[Context]:
            path = context.settings.logs / "sabotage.log"
            path.write_text(f'{{"body": "{context.member().values["role"]}"}}\n')
            try:
                yield context
            finally:
                path.unlink()

        @contextmanager
        def in_table(context: Context) -> Iterator[Context]:
            context.database.execute("CREATE SCHEMA sabotage")
            try:
                context.database.execute(
                    "CREATE TABLE sabotage.plain AS SELECT %s::text AS name", (context.member().values["company"],)
                )
                context.database.execute("CHECKPOINT")
                yield context
            finally:
                context.database.execute("DROP SCHEMA sabotage CASCADE")
                # Its tokens stay in the write-ahead log for a while: later examinations use another canary.
                context.clear()

        yield Sabotage("a request body in a log", in_log)
        yield Sabotage("a column in clear", in_table)
