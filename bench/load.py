"""A light closed-loop HTTP load: one process, raw sockets on one event loop, keep-alive, no pipelining. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop


async def client(
    host: str, port: int, heads: list[bytes], once: bool, until: float, times: list[float], errors: list[int], pause: float
) -> None:
    """One client: the next request goes out when the answer is in, and not before `pause` seconds after the last."""
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until and heads:
        began = time.perf_counter()
        writer.write(heads.pop() if once else random.choice(heads))
        head = await reader.readuntil(b"\r\n\r\n")
        low = head.lower()
        if b"transfer-encoding: chunked" in low:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        else:
            at = low.index(b"content-length:") + 15
            await reader.readexactly(int(low[at : low.index(b"\r", at)]))
        if not head.startswith(b"HTTP/1.1 2"):
            errors.append(1)
        times.append(time.perf_counter() - began)
        if pause and (left := began + pause - time.perf_counter()) > 0:
            await asyncio.sleep(left)
    writer.close()


async def main() -> None:
    """Reads {port, requests, clients, seconds} from standard input."""
    job = json.load(sys.stdin)
    heads = [request.encode() for request in job["requests"]]
    times: list[float] = []
    errors: list[int] = []
    began = time.perf_counter()
    await asyncio.gather(
        *(
            client(
                "127.0.0.1",
                job["port"],
                heads,
                bool(job.get("once")),
                began + job["seconds"],
                times,
                errors,
                job["clients"] / job["rate"] if job.get("rate") else 0.0,
            )
            for _ in range(job["clients"])
        )
    )
    took = time.perf_counter() - began
    times.sort()
    print(
        json.dumps(
            {"per_second": len(times) / took, "p50_ms": times[len(times) // 2] * 1000, "p99_ms": times[int(len(times) * 0.99)] * 1000, "max_ms": times[-1] * 1000, "errors": len(errors)}
        )
    )  # fmt: skip


uvloop.run(main())
