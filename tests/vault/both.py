"""One vault, synchronous or asynchronous, under one set of calls."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from armonika.trust.vault import AsyncVault
from armonika.trust.vault.types import Created, NewRecord, SecretHash
from tests.doors import Doors

USE = ("provide", "integration")
NOBODY = SecretHash(b"n" * 32)
WORD = "une phrase assez longue"


class Both:
    """The calls of one vault, awaited where they must be."""

    def __init__(self, doors: Doors, asynchronous: bool) -> None:
        self.doors, self.loop = doors, asyncio.new_event_loop()
        self.vault: Any = doors.api
        if asynchronous:
            self.vault = self.loop.run_until_complete(
                AsyncVault.open(doors.server.provisioned.credentials("api"), doors.server.dsn, size=2)
            )  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.vault, name)

        def call(*words: Any, **more: Any) -> Any:
            found = method(*words, **more)
            return self.loop.run_until_complete(found) if inspect.isawaitable(found) else found

        return call

    def finish(self) -> None:
        if isinstance(self.vault, AsyncVault):
            self.loop.run_until_complete(self.vault.close())
        self.loop.close()


def account(**more: Any) -> NewRecord:
    values = {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"} | more.pop("values", {})
    return NewRecord("account", values, "organisation", **({"kind": "customer_user", "org": uuid4()} | more))


def made(vault: Both, *records: NewRecord, reference: str | None = None) -> list[Created]:
    found: list[Created] = vault.create(vault.doors.token, *USE, list(records) or [account()], reference)
    return found


def entries(doors: Doors, whom: UUID) -> list[tuple[Any, ...]]:
    with doors.admin() as admin:
        return admin.execute(
            "SELECT o.name, a.granted, p.name, c.name, a.reference, d.name, a.audit_id FROM vault.audit a JOIN vault.operation o ON o.id = a.operation LEFT JOIN vault.purpose p ON p.id = a.purpose "
            "LEFT JOIN vault.reason c ON c.id = a.reason LEFT JOIN vault.dataset d ON d.id = a.dataset WHERE a.subject = %s ORDER BY a.audit_id", (whom,),
        ).fetchall()  # fmt: skip
