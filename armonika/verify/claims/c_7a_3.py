"""7a.3: no byte at rest holds a person's data in clear, and each ciphertext opens in its own place alone."""

from __future__ import annotations

import gzip
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, urlencode

from armonika.trust.vault.errors import VaultError
from armonika.verify import places
from armonika.verify.context import Canary, Context
from armonika.verify.frame import CannotProbe, Evidence, Sabotage
from armonika.verify.sabotage import Plant
from armonika.verify.scan import Scanner

BYTES, TABLES, SEALS = "bytes", "tables", "seals"
MOST_PAGES = 20_000
"""How many pages at the end of a table are read as text; its files are read whole."""
_NONCES = "SELECT count(*), count(*) - count(DISTINCT substr(v, 2, 12)), count(*) FILTER (WHERE get_byte(v, 0) <> 1 OR length(v) < 29) FROM (SELECT unnest(ciphertexts) AS v FROM vault.record ORDER BY created_at DESC LIMIT 1000000) x WHERE v IS NOT NULL"


class Claim:
    """A member with unique tokens in every field is registered, read and looked up, and the tokens are sent where they must be refused; then every file of the
    installation and of the database's server, what else changed on the machine meanwhile, files that are open and in no folder, every environment
    and command line, and every table as text is searched for the tokens in every encoding. Planted ones must be found in the same pass. No two values
    have one nonce, and a value in the place of another opens nothing."""

    claim, hours = "7a.3", 24
    parts: frozenset[str] = frozenset((BYTES, TABLES, SEALS))
    looked_in: tuple[Path, ...] = ()
    """Planted: the folders that are searched, where that is enough to see."""
    put_back = False
    """Planted: a value in another's place opens."""

    def examine(self, context: Context) -> Evidence:
        evidence, began = Evidence(), time.time()
        canary = context.member()
        said = []
        if BYTES in self.parts:
            visitor = context.signed_in(canary)
            visitor.get(context.site("/ar/me/"))
            email = canary.values["email"].upper()
            context.vault.find(context.vault.service, "account", "email", email, ["name", "phone"], "legal", "verification")
            if not self.looked_in:
                # The system slows down whoever tries so often: no planted state needs it.
                _refused(context, canary)
            said.append(self._bytes(evidence, context, canary, began))
        if TABLES in self.parts:
            said.append(self._tables(evidence, context, canary))
        if SEALS in self.parts:
            said.append(self._seals(evidence, context, canary))
        evidence.summary = "; ".join(said)
        if BYTES in self.parts and not evidence.red and not places.server(context):
            raise CannotProbe(
                "the files of the database's server cannot be read from here: run `armonika verify 7a.3` on its machine, as root"
            )
        return evidence

    def _bytes(self, evidence: Evidence, context: Context, canary: Canary, began: float) -> str:
        context.database.execute("CHECKPOINT")
        control = context.token()
        planted = context.settings.run / "positive-control"
        planted.write_bytes(b"\x00" + control.encode("utf-16-le") + b"\n" + control.encode().hex().encode())
        scanner, found = Scanner([*_tokens(canary), control]), set()
        try:
            for path in scanner.files_below(self.looked_in or places.own(context)):
                found.add(path)
        finally:
            planted.unlink(missing_ok=True)
        for file in (*places.changed(context, began), *places.deleted(context)):
            found |= set(scanner.file(file))
        found |= set(scanner.processes())
        evidence.examined += scanner.files
        evidence.failures += sorted({f"{path} ({name})" for path, token, name in found if token != control})
        evidence.control = evidence.control and len({name for _, token, name in found if token == control}) >= 2
        return f"{len(_tokens(canary))} tokens in {scanner.files} files, {scanner.bytes // 1048576} MiB"

    def _tables(self, evidence: Evidence, context: Context, canary: Canary) -> str:
        """What files do not show: a long text that the server packs, a table that is not written out yet, what statistics hold."""
        tables = context.rows(
            "SELECT c.oid::regclass::text, greatest(pg_relation_size(c.oid) / 8192 - %s, 0) FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' "
            "AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)", (MOST_PAGES,),
        )  # fmt: skip
        scanner = Scanner([*_tokens(canary), str(canary.subject)])
        seen = set()
        for table, first in [*tables, ("pg_stats", 0)]:
            only = f"WHERE t.ctid >= '({first},0)'" if first else ""
            with context.database.cursor() as cursor:
                for (text,) in cursor.stream(f"SELECT t::text FROM {table} t {only}".encode()):
                    seen |= {(table, token, name) for token, name in scanner.data(text.encode())}
        evidence.examined += len(tables)
        evidence.failures += sorted({f"{table} ({name})" for table, token, name in seen if token != str(canary.subject)})
        evidence.control = evidence.control and any(token == str(canary.subject) for _, token, _ in seen)
        return f"{len(tables)} tables as text"

    def _seals(self, evidence: Evidence, context: Context, canary: Canary) -> str:
        ((values, twice, strange),) = context.rows(_NONCES)
        evidence.expect(twice == 0, f"{twice} values have the nonce of another")
        evidence.expect(strange == 0, f"{strange} values are no ciphertexts")
        evidence.control = evidence.control and values > 0
        if context.idle:
            evidence.expect(not self._opens_elsewhere(context, canary), "a value opens in the place of another")
        return f"{values} values, each with a nonce of its own"

    def _opens_elsewhere(self, context: Context, canary: Canary) -> bool:
        """Whether the canary's name opens where its company stands. Both are put back."""
        ((record, values),) = context.rows(
            "SELECT record_id, ciphertexts FROM vault.record WHERE subject_id = %s", (canary.subject,)
        )
        names = dict(
            context.rows(
                "SELECT f.name, f.ordinal FROM vault.field f JOIN vault.dataset d ON d.id = f.dataset AND d.name = 'account'"
            )
        )
        altered = list(values)
        altered[names["company"] - 1] = values[names["name"] - 1]
        write = "UPDATE vault.record SET ciphertexts = %s WHERE record_id = %s RETURNING 1"
        try:
            context.rows(write, (values if self.put_back else altered, record))
            return bool(
                context.vault.read(context.vault.service, canary.subject, "account", ["company"], "legal", "verification")
            )
        except VaultError:
            return False
        finally:
            context.rows(write, (values, record))

    def sabotages(self) -> Iterator[Sabotage]:
        def token(context: Context) -> str:
            return context.member().values["company"]

        def body(context: Context) -> bytes:
            return json.dumps({"body": token(context)}, ensure_ascii=False).encode()

        def packed(context: Context) -> bytes:
            return b"header" + gzip.compress(body(context))

        def one(change: str) -> Plant:
            """A change of the canary's record alone, rolled back."""
            return lambda context: context.planted(
                f"UPDATE vault.record SET {change} WHERE subject_id = '{context.member().subject}'"
            )

        def long(context: Context) -> AbstractContextManager[Context]:
            return context.planted(f"CREATE TABLE public.sabotage AS SELECT repeat('{token(context)}', 500) AS text")

        yield Sabotage("a request body in a log", self._file("logs", "sabotage.log", body))
        yield Sabotage("a packed file", self._file("run", "sabotage", packed))
        yield Sabotage("a file in a temporary folder", self._file("", f"/tmp/sabotage-{secrets.token_hex(4)}", body))
        yield Sabotage("a file that is open and in no folder", self._alone(frozenset((BYTES,)), _held(token)))
        yield Sabotage("a column in clear", self._column(token))
        yield Sabotage("a long text that the server packs", self._alone(frozenset((TABLES,)), long))
        first = "overlay(ciphertexts[2] placing substr(ciphertexts[1], 2, 12) from 2)"
        yield Sabotage("a nonce twice", self._alone(frozenset((SEALS,)), one(f"ciphertexts[2] = {first}")))
        yield Sabotage("a value that is no ciphertext", self._alone(frozenset((SEALS,)), one("ciphertexts[1] = 'name'")))
        yield Sabotage("a value that opens in another's place", self._alone(frozenset((SEALS,)), nullcontext, put_back=True))

    def _alone(self, parts: frozenset[str], plant: Plant, looked_in: tuple[Path, ...] = (), put_back: bool = False) -> Plant:
        """A state that one part sees. The whole home takes long to read: where the control is planted and where the fault is are enough."""

        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            self.parts, self.looked_in, self.put_back = parts, (context.settings.run, *looked_in), put_back
            try:
                with plant(context) as altered:
                    yield altered
            finally:
                self.parts, self.looked_in, self.put_back = type(self).parts, (), False

        return planted

    def _file(self, folder: str, name: str, content: Callable[[Context], bytes]) -> Plant:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            path = context.settings.home / folder / name
            with self._alone(frozenset((BYTES,)), nullcontext, (context.settings.logs,))(context):
                path.write_bytes(content(context))
                try:
                    yield context
                finally:
                    path.unlink()

        return planted

    def _column(self, token: Callable[[Context], str]) -> Plant:
        @contextmanager
        def planted(context: Context) -> Iterator[Context]:
            context.database.execute("CREATE SCHEMA sabotage")
            try:
                context.database.execute("CREATE TABLE sabotage.plain AS SELECT %s::text AS name", (token(context),))
                with self._alone(frozenset((BYTES,)), nullcontext, tuple(places.server(context)))(context):
                    yield context
            finally:
                context.database.execute("DROP SCHEMA sabotage CASCADE")
                # Its tokens stay in the write-ahead log for a while: later examinations use another canary.
                context.clear()

        return planted


def _tokens(canary: Canary) -> list[str]:
    values = [value.replace("@canary.example", "") for value in canary.values.values()]
    return [*(part for value in values for part in value.split()), canary.password]


def _refused(context: Context, canary: Canary) -> None:
    """Sends the tokens where they are refused, in every part of a request: what is written of it somewhere is found afterwards."""
    config, values = context.settings, dict(canary.values)
    form = {**values, "password": canary.password[:5], "professional": "yes"}
    context.visitor().submit(config.site_url + "/en/register/", form)
    for base in (config.site_url, config.console_url):
        context.visitor().submit(base + "/en/sign-in/", {"email": values["email"], "password": canary.password + "x"})
    query = urlencode(values)
    headers = {
        "User-Agent": values["role"],
        "Referer": f"{config.site_url}/{values['role']}",
        "Cookie": f"__Host-session={values['role']}",
    }
    headers |= {
        "Authorization": f"Bearer {canary.password}",
        "Content-Type": "application/json",
        "Idempotency-Key": values["role"],
    }
    for url in (config.site_url, config.console_url, f"{config.api_url}/v1/people", f"{config.api_url}/v1/lookups"):
        for method, body in (
            ("GET", None),
            ("POST", json.dumps(values).encode()),
            ("POST", b"{" + query.encode()),
            ("TRACE", None),
        ):
            with suppress(OSError, HTTPException):
                context.send(method, f"{url}/{quote(values['email'])}?{query}", headers, body)
            with suppress(OSError, HTTPException):
                context.send(method, url, headers, body)


def _held(token: Callable[[Context], str]) -> Plant:
    """A process of the installation that keeps a file which it has deleted."""
    program = "import os, sys, tempfile; f = tempfile.TemporaryFile(); f.write(sys.stdin.buffer.readline()); f.flush(); print(flush=True); sys.stdin.read()"

    @contextmanager
    def planted(context: Context) -> Iterator[Context]:
        environment = {"ARMONIKA_HOME": str(context.settings.home), "CREDENTIALS_DIRECTORY": "/nonexistent"}
        with subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(token(context).encode() + b"\n")
            process.stdin.flush()
            process.stdout.readline()
            yield context
            process.stdin.close()

    return planted
