"""What a check may use. A sabotage hands over an altered copy; the system itself stays as it is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import psycopg

from armonika.policy import Policy
from armonika.settings import Settings
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import Refused
from armonika.verify.http import Answer, Browserlike, Send

ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"


@dataclass(frozen=True)
class Canary:
    """A synthetic member whose every field holds a unique token."""

    subject: UUID
    values: Mapping[str, str]
    password: str


@dataclass(frozen=True)
class Context:
    """The running system as the verifier sees it: its addresses, its database (as administrator), its home, its policy."""

    settings: Settings
    policy: Policy
    database: psycopg.Connection[Any]
    vault: Vault
    send: Send
    route: Callable[[str, Answer], Answer] | None = None
    canaries: list[Canary] = field(default_factory=list)

    def rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query as the administrator."""
        return self.database.execute(statement.encode(), parameters).fetchall()

    @property
    def idle(self) -> bool:
        """Whether nothing is planted in a transaction: what the running system would not see."""
        return self.database.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def visitor(self, blocked: frozenset[str] = frozenset()) -> Browserlike:
        """A fresh visitor without cookies."""
        return Browserlike(self._sent, blocked=blocked)

    def _sent(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        answer = self.send(method, url, headers, body)
        for _ in range(6):
            if answer.status != 429:
                break
            # The system slows down whoever tries too often, the verifier too: it waits as it is told.
            time.sleep(min(int(answer.headers.get("retry-after", "5")), 30))
            answer = self.send(method, url, headers, body)
        return self.route(url, answer) if self.route else answer

    def site(self, path: str) -> str:
        """An address of the site."""
        return self.settings.site_url + path

    @contextmanager
    def altered(self, route: Callable[[str, Answer], Answer]) -> Iterator[Context]:
        """The same system behind a proxy that alters its answers."""
        yield replace(self, route=route)

    @contextmanager
    def planted(self, *statements: str) -> Iterator[Context]:
        """The same system with changes in the database that are rolled back."""
        self.database.execute("BEGIN")
        try:
            for statement in statements:
                self.database.execute(statement.encode())
            yield self
        finally:
            self.database.execute("ROLLBACK")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever is written inside is rolled back, also inside a planted state."""
        inside = self.database.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
        self.database.execute("SAVEPOINT undone" if inside else "BEGIN")
        try:
            yield
        finally:
            self.database.execute("ROLLBACK TO SAVEPOINT undone; RELEASE SAVEPOINT undone" if inside else "ROLLBACK")

    def token(self, script: str = "latin") -> str:
        """A unique token of 20 characters."""
        letters = ARABIC if script == "arabic" else "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
        return "".join(secrets.choice(letters) for _ in range(20))

    def member(self, fresh: bool = False) -> Canary:
        """A canary member with a confirmed address, made through the registration page itself."""
        if self.canaries and not fresh:
            return self.canaries[-1]
        values = {
            "name": f"{self.token()} {self.token('arabic')}", "email": f"{self.token().lower()}@canary.example", "company": self.token("arabic"),
            "phone": "+2137" + "".join(secrets.choice("0123456789") for _ in range(16)), "role": self.token(),
        }  # fmt: skip
        password = secrets.token_urlsafe(18)
        answer = Browserlike(self._sent).submit(
            self.site("/en/register/"), {**values, "password": password, "professional": "yes"}
        )
        if answer.status != 200:
            raise RuntimeError(f"the registration page answered {answer.status}")
        found = self.vault.find(self.vault.service, "account", "email", values["email"], ["email"], "legal", "verification")
        canary = Canary(found[0].subject, values, password)
        for _ in range(5):
            # The worker's letter voids earlier tokens: when it is sent in between, the next try holds.
            try:
                self.vault.redeem_challenge(self.vault.issue_challenge(canary.subject, "verify-address", 600), "verify-address")
                break
            except Refused:
                continue
        self.canaries.append(canary)
        return canary

    def signed_in(self, canary: Canary) -> Browserlike:
        """A visitor who is signed in as the canary."""
        visitor = self.visitor()
        visitor.submit(self.site("/en/sign-in/"), {"email": canary.values["email"], "password": canary.password})
        return visitor

    def clear(self) -> None:
        """Erases every canary of this run that is still there: the verifier leaves nobody behind."""
        for canary in self.canaries:
            if self.rows("SELECT 1 FROM vault.subject WHERE subject_id = %s AND state <> 'erased'", (canary.subject,)):
                self.vault.erase(self.vault.service, [canary.subject], "legal", "verification")
        self.canaries.clear()
