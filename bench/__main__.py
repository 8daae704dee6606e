"""`python -m bench [--people N] [--seconds S]`: audited, decrypted reads and writes of one person, over HTTP and in process, beside pgbench -S."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from armonika import settings as settings_module
from armonika.store.embedded import binaries
from armonika.supervisor.installation import Installation
from armonika.supervisor.supervisor import Process, Supervisor
from armonika.trust.keys.provision import issue_token
from armonika.trust.vault import AsyncVault, secret_hash
from armonika.trust.vault.types import Ask, NewRecord
from bench import peers, requests

FIELDS = ("name", "email", "company", "role")
CHECKOUT = Path(__file__).parents[1]


async def fill(vault: AsyncVault, secret: Any, count: int) -> list[UUID]:
    """Creates people through the real path, 1,000 a call, two calls at a time."""

    async def some(start: int, size: int) -> list[UUID]:
        new = [
            NewRecord(
                "account",
                {"name": f"Person {n}", "email": f"p{n}-{uuid4().hex[:8]}@org.example", "company": "Company", "role": "Role"},
                "organisation",
                kind="customer_user",
            )
            for n in range(start, start + size)
        ]
        return [made.subject for made in await vault.create(secret, "provide", "integration", new)]

    people: list[UUID] = []
    starts = list(range(0, count, 1000))
    for at in range(0, len(starts), 2):
        for made in await asyncio.gather(*(some(start, min(1000, count - start)) for start in starts[at : at + 2])):
            people += made
        print(f"\r{len(people)} of {count} people", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return people


async def in_process(vault: AsyncVault, secret: Any, people: list[UUID], batch: int, seconds: float) -> float:
    """Persons a second in batches of `batch`, two batches under way."""

    async def lane() -> int:
        done, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            asks = [
                Ask(secret, subject, "account", FIELDS, "provide", "integration") for subject in random.choices(people, k=batch)
            ]
            results = await vault.read_many(asks)
            assert all(result.records for result in results)
            done += batch
        return done

    return sum(await asyncio.gather(lane(), lane())) / seconds


def over_http(
    port: int, messages: list[str], clients: int, seconds: float, once: bool = False, rate: float | None = None
) -> dict[str, float]:
    """One run of the load process; `rate` is how many requests a second it sends, as fast as it can without."""
    job = json.dumps({"port": port, "requests": messages, "clients": clients, "seconds": seconds, "once": once, "rate": rate})
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=job, capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    result: dict[str, float] = json.loads(done.stdout)
    assert not result["errors"], "a request failed"
    return result


def pgbench(installation: Installation, clients: int, seconds: float) -> float:
    """Calls a second of `pgbench -S` (one primary-key read) on the same server."""
    parts = psycopg.conninfo.conninfo_to_dict(installation.admin_dsn)
    environment = {**os.environ, "PGPASSWORD": str(parts["password"])}
    base = [str(binaries() / "pgbench"), "-h", str(parts["host"]), "-p", str(parts["port"]), "-U", "postgres"]
    if not (installation.settings.home / "pgbench").exists():
        subprocess.run([*base, "-i", "-q", "-s", "10", str(parts["dbname"])], env=environment, check=True, capture_output=True)
        (installation.settings.home / "pgbench").touch()
    done = subprocess.run(
        [*base, "-S", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(int(seconds)), str(parts["dbname"])],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found
    return float(found.group(1))


def measure(people_count: int, seconds: float, others: Sequence[peers.Peer] = ()) -> dict[str, Any]:
    """Everything at one size, on a fresh installation."""
    home = Path(tempfile.mkdtemp(prefix="armonika-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    installation = Installation(settings_module.Settings(home, 19000, None))
    supervisor = Supervisor(home / "logs")
    try:
        installation.lock()
        installation.start()
        assert installation.provisioned is not None
        with psycopg.connect(installation.admin_dsn) as admin:
            durable = {
                name: admin.execute(f"SHOW {name}".encode()).fetchone()
                for name in ("synchronous_commit", "fsync", "full_page_writes")
            }
            assert all(value == ("on",) for value in durable.values()), durable
        environment, user = installation.hand_out("api")
        supervisor.start(Process("api", "armonika.entry.api", f"{installation.settings.api_url}/healthz", user, environment))
        supervisor.wait_ready()
        token = issue_token(installation.admin_dsn, label="bench")
        secret = secret_hash(token)

        async def prepare() -> tuple[list[UUID], dict[str, float]]:
            vault = await AsyncVault.open(installation.provisioned.credentials("api"), installation.dsn)  # type: ignore[union-attr]
            began = time.perf_counter()
            people = await fill(vault, secret, people_count)
            made = people_count / (time.perf_counter() - began)
            result = {"create_batch_1000": made}
            with psycopg.connect(installation.admin_dsn, autocommit=True) as admin:
                admin.execute("VACUUM ANALYZE")
                admin.execute("CHECKPOINT")
            for batch in (1, 16, 64):
                result[f"read_batch_{batch}"] = await in_process(vault, secret, people, batch, seconds)
            await vault.close()
            return people, result

        people, process = asyncio.run(prepare())
        query = "dataset=account&fields=name,email,company,role&purpose=provide&reason=integration"
        reads = [
            f"GET /v1/people/{person}?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            for person in random.sample(people, min(100_000, len(people)))
        ]

        def creates(count: int) -> list[str]:
            made = []
            for _ in range(count):
                values = {"name": "N", "email": f"{uuid4().hex}@w.example", "company": "C", "role": "R"}
                body = json.dumps({"dataset": "account", "purpose": "provide", "reason": "integration", "values": values})
                made.append(
                    f"POST /v1/people HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                    f"Authorization: Bearer {token}\r\n\r\n{body}"
                )
            return made

        http: dict[str, Any] = {}
        over_http(installation.settings.port + 2, reads, 16, 1)
        for clients in (1, 16, 64):
            bar = pgbench(installation, clients, seconds)
            read = over_http(installation.settings.port + 2, reads, clients, seconds)
            write = over_http(installation.settings.port + 2, creates(int(seconds * 4000)), clients, seconds, once=True)
            http[str(clients)] = {"pgbench_S": bar, "read": read, "create": write, "ratio": read["per_second"] / bar}
        batches = requests.Requests(token, people)
        port = installation.settings.port + 2
        for clients in (1, 16, 64):
            http[str(clients)]["look_up"] = over_http(port, batches.look_ups(2000), clients, seconds)
            http[str(clients)]["export"] = over_http(port, batches.exports(2000), clients, seconds)
        half = over_http(port, reads, 16, seconds, rate=http["64"]["read"]["per_second"] / 2)
        sizes = {}
        for size, clients in ((1, 4), (16, 4), (64, 4), (64, 16), (1000, 4)):
            read = over_http(port, batches.reads(size, 40), clients, seconds)
            made = over_http(port, batches.creates(size, int(seconds * 20_000 / size) + 50), clients, seconds, once=True)
            found = over_http(port, batches.look_ups_at_once(size, 40), clients, seconds)
            sizes[f"{size}" if clients == 4 else f"{size} ({clients} clients)"] = {
                name: run["per_second"] * size for name, run in (("read", read), ("create", made), ("look_up", found))
            }
        with peers.openbao() as beside:
            measured = {
                peer.name: {
                    str(clients): over_http(peer.port, peer.requests(int(seconds * 5000)), clients, seconds, once=peer.once)[
                        "per_second"
                    ]
                    * peer.values
                    for clients in (1, 16, 64)
                }
                for peer in [*beside, *others]
            }
        return {
            "people": people_count,
            "in_process": process,
            "http": http,
            "batches": sizes,
            "half_load": half,
            "peers": measured,
            "durability": {name: str(value) for name, value in durable.items()},
        }
    finally:
        supervisor.stop()
        installation.close()
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """Prints a table and writes build/bench.json."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--people", type=int, nargs="+", default=[10_000], help="sizes to measure, such as 10000 1000000")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument(
        "--scale", type=int, nargs="?", const=10_000_000, help="one more size, ten million when none is named: takes an hour"
    )
    parser.add_argument(
        "--peer-url",
        action="append",
        default=[],
        metavar="JSON",
        help="a peer's request on loopback (bench/peers.py), measured beside",
    )
    args = parser.parse_args()
    others = [peers.parse(line) for line in args.peer_url]
    results = [measure(size, args.seconds, others) for size in [*args.people, *([args.scale] if args.scale else [])]]
    for result in results:
        print(f"\n{result['people']} people")
        for name, value in result["in_process"].items():
            print(f"  in process  {name:<20} {value:>10,.0f} persons/s")
        for clients, row in result["http"].items():
            read = row["read"]
            print(
                f"  HTTP read   {clients:>3} clients {read['per_second']:>10,.0f} /s  p50 {read['p50_ms']:.1f} ms  p99 {read['p99_ms']:.1f} ms   pgbench -S {row['pgbench_S']:>9,.0f} /s   ratio {row['ratio']:.2f}"
            )
            print(
                f"  HTTP create {clients:>3} clients {row['create']['per_second']:>10,.0f} /s  p50 {row['create']['p50_ms']:.1f} ms  p99 {row['create']['p99_ms']:.1f} ms"
            )
            for name in ("look_up", "export"):
                print(
                    f"  HTTP {name:<7}{clients:>3} clients {row[name]['per_second']:>10,.0f} /s  p50 {row[name]['p50_ms']:.1f} ms  p99 {row[name]['p99_ms']:.1f} ms"
                )
        print(
            f"  HTTP read at half load    {result['half_load']['per_second']:>10,.0f} /s  p50 {result['half_load']['p50_ms']:.1f} ms  p99 {result['half_load']['p99_ms']:.1f} ms"
        )
        for size, row in result["batches"].items():
            print(
                f"  HTTP batches of {size:<15} read {row['read']:>10,.0f} persons/s   create {row['create']:>10,.0f} persons/s   look up {row['look_up']:>10,.0f} /s"
            )
        for name, rates in result["peers"].items():
            ours = {
                clients: (
                    result["batches"]["64"]["read"]
                    if "64" in name
                    else result["http"][clients]["create" if "create" in name else "read"]["per_second"]
                )
                for clients in rates
            }
            print(
                f"  {name:<28} "
                + "   ".join(
                    f"{clients} clients {rate:,.0f} /s (we: {ours[clients] / rate:.2f})" for clients, rate in rates.items()
                )
            )
    if len(results) > 1:
        first, last = results[0]["http"]["64"]["read"]["per_second"], results[-1]["http"]["64"]["read"]["per_second"]
        print(f"\nAt {results[-1]['people']} people: {last / first:.2f} of the speed at {results[0]['people']}.")
    (CHECKOUT / "build").mkdir(exist_ok=True)
    (CHECKOUT / "build" / "bench.json").write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
