"""The API's requests as text, made before the measuring begins."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

FIELDS = ["name", "email", "company", "role"]
USE = {"purpose": "provide", "reason": "integration"}


@dataclass(frozen=True)
class Requests:
    """Requests with one token about some people."""

    token: str
    people: Sequence[UUID]

    def _post(self, path: str, body: dict[str, Any]) -> str:
        text = json.dumps(body)
        return (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            f"Authorization: Bearer {self.token}\r\n\r\n{text}"
        )

    def reads(self, size: int, count: int) -> list[str]:
        """Batches of `size` people to read."""
        return [
            self._post(
                "/v1/people/read",
                {
                    "dataset": "account",
                    "fields": FIELDS,
                    **USE,
                    "people": [str(one) for one in random.choices(self.people, k=size)],
                },
            )
            for _ in range(count)
        ]

    def creates(self, size: int, count: int) -> list[str]:
        """Batches of `size` new people, each sent once."""
        return [
            self._post("/v1/people/batch", {**USE, "people": [
                {"dataset": "account", "values": {"name": "N", "email": f"{uuid4().hex}@b.example", "company": "C", "role": "R"}} for _ in range(size)
            ]})
            for _ in range(count)
        ]  # fmt: skip

    def look_ups(self, count: int) -> list[str]:
        """Look-ups of addresses that nobody has: the whole way but the value."""
        return [
            self._post("/v1/lookups", {"dataset": "account", "email": f"{uuid4().hex}@l.example", "fields": FIELDS, **USE})
            for _ in range(count)
        ]

    def look_ups_at_once(self, size: int, count: int) -> list[str]:
        """Batches of `size` addresses that nobody has."""
        return [
            self._post(
                "/v1/lookups/batch",
                {"dataset": "account", "emails": [f"{uuid4().hex}@l.example" for _ in range(size)], "fields": FIELDS, **USE},
            )
            for _ in range(count)
        ]

    def exports(self, count: int) -> list[str]:
        """Exports of one person as lines."""
        return [
            f"GET /v1/people/{one}/export?purpose=provide&reason=integration HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            for one in random.choices(self.people, k=count)
        ]
