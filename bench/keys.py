"""Keys, log and lives of people: re-wrapping, sealing, proofs, export and erasure, on a fresh installation (`python -m bench.keys`)."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from armonika.trust.audit import proofs
from armonika.trust.audit.sealer import Sealer
from armonika.trust.vault.types import Ask, NewRecord
from bench.house import house

BACKLOG = 100_000
"""Entries of reads that wait for the sealer beside those of the creations."""


def measure(people: int) -> dict[str, float]:
    """Rates a second, and milliseconds of an erasure, at one size."""
    found: dict[str, float] = {}
    with house() as home:
        vault = home.vault
        made = []
        for at in range(0, people, 1000):
            new = [
                NewRecord(
                    "account",
                    {"name": f"P{n}", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"},
                    "organisation",
                    kind="customer_user",
                )
                for n in range(at, min(at + 1000, people))
            ]
            made += vault.create(home.token, "provide", "integration", new)
        for _ in range(BACKLOG // 1000):
            some = random.choices(made, k=1000)
            vault.read_many([Ask(home.token, one.subject, "account", ("name",), "provide", "integration") for one in some])
        log = Path(tempfile.mkdtemp(dir=home.config.home))
        held = home.sealer
        assert held.log_key
        with psycopg.connect(
            make_conninfo(home.dsn, user=held.database_user, password=held.database_password), autocommit=True
        ) as connection:
            sealer = Sealer(connection, log, "bench.example/log", held.log_key)
            sealer.load()
            began, sealed = time.perf_counter(), 0
            while count := sealer.seal(publish=False):
                sealed += count
            sealer.publish()
            found["sealed entries/s"] = sealed / (time.perf_counter() - began)
        checkpoint = (log / "checkpoint").read_bytes()
        began = time.perf_counter()
        tiles = [
            proofs.Tiles(proofs.folder(log), int(checkpoint.split(b"\n")[1])).inclusion(random.randrange(sealed))
            for _ in range(200)
        ]
        found["proofs/s"] = len(tiles) / (time.perf_counter() - began)
        home.desk.rotate(["account"], "bench")
        keeper = home.keeper
        began = time.perf_counter()
        while keeper.rotation().moved < people:
            keeper.step()
        found["data keys re-wrapped/s"] = people / (time.perf_counter() - began)
        began = time.perf_counter()
        while keeper.rotation().retiring:
            keeper.step()
        found["look-ups renewed/s"] = people / (time.perf_counter() - began)
        for fields in (10, 10_000):
            times = []
            for _ in range(5):
                whom = vault.create(
                    home.token,
                    "provide",
                    "integration",
                    [
                        NewRecord(
                            "account",
                            {"name": "N", "email": f"{uuid4().hex}@org.example", "company": "C", "role": "R"},
                            "organisation",
                            kind="customer_user",
                        )
                    ],
                )[0].subject
                records = [
                    NewRecord("account", {"name": "N", "company": "C", "role": "R"}, "organisation", subject=whom)
                    for _ in range(max((fields - 4) // 3, 2))
                ]
                vault.create(home.token, "provide", "integration", records)
                began = time.perf_counter()
                vault.erase(home.token, [whom], "provide", "integration")
                times.append((time.perf_counter() - began) * 1000)
            found[f"ms to erase {fields} fields"] = sorted(times)[2]
    return found


def main() -> int:
    """Prints the figures; `--json` for machines."""
    parser = argparse.ArgumentParser(prog="bench.keys")
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.people)
    print(
        json.dumps(found, indent=1) if args.json else "\n".join(f"  {name:<28} {value:>12,.1f}" for name, value in found.items())
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
