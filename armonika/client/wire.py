"""HTTP for the client without an event loop: one deadline for a whole answer, however slowly its pieces come.

httpx waits so long for each piece: a server that sends a byte now and then, or 1xx answers without end, would hold a thread for ever. With an event loop
`asyncio.timeout` does the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

UNTIL: ContextVar[float | None] = ContextVar("armonika_client_until", default=None)
"""When the answer that this thread waits for must be there, in seconds of `time.monotonic`."""


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Whatever is waited for here takes no longer in all. Raises httpx.ReadTimeout."""
    token = UNTIL.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        UNTIL.reset(token)


def _left(timeout: float | None) -> float | None:
    until = UNTIL.get()
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:  # fmt: skip
        return _Stream(self._backend.connect_tcp(host, port, _left(timeout), local_address, socket_options))


@contextlib.contextmanager
def _translated(request: httpx.Request) -> Iterator[None]:
    """httpcore's errors as those of httpx, which hold the request: whoever catches them lets go of it (`connection.failed`)."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise httpx.ConnectError(str(error), request=request) from None
    except httpcore.TimeoutException:
        raise httpx.ReadTimeout("too slow", request=request) from None
    except (httpcore.NetworkError, httpcore.ProtocolError):
        raise httpx.ReadError("broken", request=request) from None


class _Body(httpx.SyncByteStream):
    def __init__(self, request: httpx.Request, stream: Any) -> None:
        self._request, self._stream = request, stream

    def __iter__(self) -> Iterator[bytes]:
        with _translated(self._request):
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


class Wire(httpx.BaseTransport):
    """HTTP/1.1 with TLS as the context says."""

    def __init__(self, context: Any) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request and the beginning of its answer. Raises httpx.RequestError."""
        url = request.url
        asked = httpcore.Request(
            method=request.method, url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path), headers=request.headers.raw,
            content=request.stream, extensions=request.extensions,
        )  # fmt: skip
        with _translated(request):
            answer = self._pool.handle_request(asked)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(request, answer.stream))

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()


class AsyncWire(httpx.AsyncHTTPTransport):
    """The same with an event loop, where the deadline is the caller's."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and the beginning of its answer, without the server's own words for the status: httpx would put them into its log."""
        answer = await super().handle_async_request(request)
        answer.extensions.pop("reason_phrase", None)
        return answer
