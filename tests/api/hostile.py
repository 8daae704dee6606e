"""What the tests of hostile servers share: whom they are about, and what servers say."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from uuid import UUID, uuid4

from armonika.client import NewPerson, Use
from tests.api.scripted import Reply, answer

USE = Use("provide", "integration")
TOKEN = "arm_" + "s" * 43
ME, OTHER = UUID(int=1), UUID(int=2)
NAME, EMAIL = "Zoubida", "zoubida@exemple.dz"
ZOUBIDA = NewPerson("account", {"name": NAME, "email": EMAIL})
POLICY = json.dumps({"version": "1", "sha256": "x", "datasets": {}, "purposes": [], "reasons": []}).encode()
MADE = json.dumps({"id": str(ME), "record": str(uuid4()), "entry": 7}).encode()


def record(dataset: str = "account", **values: str) -> dict[str, Any]:
    held = values or {"name": "N"}
    return {"record": str(uuid4()), "dataset": dataset, "values": held, "versions": dict.fromkeys(held, 1), "entry": 9}


def person(whom: UUID = ME, *records: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(whom), "records": list(records or (record(),))}


def ok(content: Any, *more: str) -> bytes:
    return answer(200, json.dumps(content).encode(), "application/json", *more)


def results(*items: dict[str, Any]) -> bytes:
    return ok({"results": list(items)})


def told(status: int, code: str, detail: Any = "D", title: Any = "T", *more: str) -> bytes:
    body = {"type": f"urn:armonika:problem:{code}", "title": title, "status": status, "detail": detail}
    return answer(status, json.dumps(body).encode(), "application/problem+json", *more)


def dripping(first: bytes, piece: bytes, pause: float = 0.02) -> Reply:
    """Sends something again and again, often enough that no single read takes long."""

    def send(wire: socket.socket) -> None:
        wire.sendall(first)
        while True:
            wire.sendall(piece)
            time.sleep(pause)

    return send


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LINES = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"


def export(*lines: Any, rest: bytes = b"") -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines) + rest


def end(records: int, whom: UUID = ME, **more: Any) -> dict[str, Any]:
    return {"end": True, "person": str(whom), "records": records, **more}
