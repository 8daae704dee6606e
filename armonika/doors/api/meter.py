"""How much each token may ask: counted before anything else is done, told in every answer.

`RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-10. Counts live in this process's memory, which is the only one that
serves the API: they begin anew with it. Whatever has no token of the right form shares one count, and every unknown token has its own, as a known
one has: only the vault knows which is which, and asking it is what is saved.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from itertools import islice
from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Receive, Send

from armonika.doors.api.problems import QuotaExceeded, TooManyItems, content_of, send_problem
from armonika.doors.api.tokens import token_in
from armonika.rules.rate import SECOND, Rate, charge, next_unit, remaining, wait
from armonika.trust.vault.errors import SessionEnded, VaultError

POLICY = "default"
MOST = 65536
"""Callers that are counted at a time. Of those that asked least recently the one that owes least is forgotten first, and has its whole quota again: a token
that used up its own does not get it back by asking with invented ones."""
_LOOKED_AT = 8
_CHARGE = "armonika.charge"
_NOBODY = b""


class Meter:
    """The counts of all callers."""

    def __init__(self, rate: Rate, clock: Callable[[], int] = time.monotonic_ns, most: int = MOST) -> None:
        self._rate, self._clock, self._most = rate, clock, most
        self._paid_off: OrderedDict[bytes, int] = OrderedDict()
        self.policy = f'"{POLICY}";q={rate.quota};w={rate.window}'.encode()

    def charge(self, caller: bytes, units: int, counted: int = 0) -> None:
        """Counts. Raises QuotaExceeded, TooManyItems; then nothing was counted. `counted` is what this request has cost already and costs again when it
        is sent again."""
        now, kept = self._clock(), self._paid_off
        before = kept.get(caller, 0)
        granted, after = charge(self._rate, before, now, units)
        whole = units + counted
        if not granted or whole > self._rate.quota:
            pause = wait(self._rate, before, now, whole)
            if pause is None:
                raise TooManyItems(
                    f"more items than the quota of {self._rate.window} seconds: send at most {self._rate.quota} at once"
                )
            raise QuotaExceeded("this token has used its quota: wait as long as Retry-After says", pause / SECOND)
        kept[caller] = after
        kept.move_to_end(caller)
        if len(kept) > self._most:
            del kept[min(islice(kept, _LOOKED_AT), key=kept.__getitem__)]

    def state(self, caller: bytes) -> bytes:
        """The RateLimit field's value for a caller."""
        now, paid_off = self._clock(), self._paid_off.get(caller, 0)
        return b'"default";r=%d;t=%d' % (remaining(self._rate, paid_off, now), next_unit(self._rate, paid_off, now))


class Metered:
    """An ASGI application before another."""

    def __init__(self, following: Any, meter: Meter) -> None:
        self._following: ASGIApp = following
        self._meter = meter

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._following(scope, receive, send)
            return
        meter, caller = self._meter, _NOBODY
        with contextlib.suppress(SessionEnded):
            caller = token_in(scope)

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"ratelimit-policy", meter.policy),
                    (b"ratelimit", meter.state(caller)),
                ]
            await send(message)

        try:
            # Whether the process lives is asked by those who keep it alive: never refused.
            meter.charge(caller, 0 if scope["path"] == "/healthz" else 1)
        except VaultError as error:
            await send_problem(told, *content_of(error))
            return
        scope[_CHARGE] = lambda items: meter.charge(caller, items - 1, counted=1)
        await self._following(scope, receive, told)


def count_items(request: Request[Any, Any, Any], items: int) -> None:
    """Counts a batch as its items; the first was counted with the request. Raises QuotaExceeded, TooManyItems."""
    scope: MutableMapping[str, Any] = request.scope  # type: ignore[assignment]
    if items > 1 and _CHARGE in scope:
        scope[_CHARGE](items)
