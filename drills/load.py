"""Writers and readers over the machine API, and what they were promised: every acknowledged write is there, every answered read is in the log."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg


@dataclass
class Load:
    """Writers and readers over the machine API. What was acknowledged is kept, with the time of every success."""

    port: int
    token: str
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    """(person, record, address of that person)"""
    tickets: list[tuple[str, int]] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    failed: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def call(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, object] | None = None
    ) -> dict[str, object] | None:
        """One request; None when it was not acknowledged, for whatever reason."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.failed += 1
            time.sleep(0.05)
            return None
        if response.status not in (200, 201):
            self.failed += 1
            time.sleep(0.05)
            return None
        found: dict[str, object] = json.loads(content)
        return found

    def write(self) -> None:
        """Creates people until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            address = f"{uuid4().hex}@drill.example"
            values = {"name": "Drill", "email": address, "company": "C", "role": "R"}
            made = self.call(
                connection,
                "POST",
                "/v1/people",
                {"dataset": "account", "purpose": "provide", "reason": "integration", "values": values},
            )
            if made:
                self.acknowledged.append((str(made["id"]), str(made["record"]), address))
                self.writes.append(time.monotonic())

    def read_one(self, connection: http.client.HTTPConnection, person: str) -> str | None:
        """The address of one person as the API gives it; keeps the entry that the read left in the log."""
        found = self.call(
            connection, "GET", f"/v1/people/{person}?dataset=account&fields=name,email&purpose=provide&reason=integration"
        )
        if not found:
            return None
        (record,) = found["records"]  # type: ignore[misc]
        self.tickets.append((person, int(record["entry"])))  # type: ignore[call-overload,index]
        return str(record["values"]["email"])  # type: ignore[call-overload,index]

    def read(self) -> None:
        """Reads people that were acknowledged, the newest first, until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            if not self.acknowledged:
                time.sleep(0.01)
                continue
            if self.read_one(connection, self.acknowledged[-1][0]):
                self.reads.append(time.monotonic())

    def begin(self, writers: int, readers: int) -> None:
        """Starts the load."""
        self.threads = [threading.Thread(target=self.write, daemon=True) for _ in range(writers)]
        self.threads += [threading.Thread(target=self.read, daemon=True) for _ in range(readers)]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Ends the load and waits for what is under way."""
        self.stop.set()
        for thread in self.threads:
            thread.join(20)

    def back_since(self, moment: float) -> bool:
        """Whether a write and a read were answered after `moment`, with half a second for answers that were on their way."""
        return any(at > moment + 0.5 for at in self.writes[-50:]) and any(at > moment + 0.5 for at in self.reads[-50:])


def lost(load: Load) -> int:
    """How many acknowledged people the new primary does not hold as they were acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=10)
    gone = 0
    for person, _, address in load.acknowledged:
        for _ in range(3):
            if (found := load.read_one(connection, person)) is not None:
                break
            time.sleep(1)
        gone += found != address
    return gone


def unlogged(load: Load, address: str) -> int:
    """How many answered reads have no committed entry in the log of that person."""
    with psycopg.connect(address) as admin:
        kept = set(admin.execute("SELECT subject::text, audit_id FROM vault.audit WHERE granted AND operation = 1"))
    return sum(ticket not in kept for ticket in load.tickets)
