"""A whole system from a backup: restored into a new home by the command, started, and going on with the same log."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx

from tests.live import CHECKOUT, Live, free_port, start, stop

USE = {"purpose": "provide", "reason": "integration"}


def sealed(live: Live) -> int:
    """Entries in the newest checkpoint on disk."""
    return int((live.home / "log" / "checkpoint").read_text().split("\n")[1])


def client(live: Live, token: str) -> httpx.Client:
    return httpx.Client(base_url=live.api, headers={"Authorization": f"Bearer {token}"}, timeout=20)


def test_a_restored_system_serves_what_lived_seals_on_and_knows_nobody_who_ended(folder: Path) -> None:
    home, place = folder / "live", folder / "restored"
    home.mkdir(mode=0o755)
    live = start(home, free_port())
    restored: Live | None = None
    try:
        token = live.token()
        emails = [f"{uuid4().hex}@org.example" for _ in range(2)]
        with client(live, token) as api:
            stays, gone = (
                api.post(
                    "/v1/people",
                    json={**USE, "dataset": "account", "values": {"name": "N", "email": email, "company": "C", "role": "R"}},
                ).json()["id"]
                for email in emails
            )
            made = live.command("backup", "create")
            assert made.returncode == 0, made.stderr
            assert api.delete(f"/v1/people/{gone}", params=USE).status_code == 200
        time.sleep(2.5)
        done = live.command("restore", "latest", "--to", str(place))
        assert done.returncode == 0, done.stderr
        assert stop(live) == 0
        restored = start(place, free_port(), sample=False)
        with client(restored, token) as api:
            read = {"dataset": "account", "fields": "email", **USE}
            assert api.get(f"/v1/people/{stays}", params=read).json()["records"][0]["values"]["email"] == emails[0]
            assert api.get(f"/v1/people/{gone}", params=read).status_code == 404
            before = sealed(restored)
            for _ in range(5):
                api.get(f"/v1/people/{stays}", params=read)
        end = time.monotonic() + 15
        while sealed(restored) < before + 5:
            assert time.monotonic() < end, (place / "logs" / "sealer.log").read_text()[-1500:]
            time.sleep(0.2)
        kept = subprocess.run(
            [sys.executable, "-m", "armonika.doors.cli.main", "audit", "verify", "--kept", str(home / "log" / "checkpoint")],
            env=restored.environment, cwd=CHECKOUT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert kept.returncode == 0, kept.stdout + kept.stderr
    finally:
        for system in (live, restored):
            if system is not None and system.process.poll() is None:
                stop(system)
