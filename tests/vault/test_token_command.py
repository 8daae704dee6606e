"""`armonika token` for people and for programs, and `python -m armonika` in the place of the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from armonika.doors.cli.main import main
from armonika.trust.vault import secret_hash
from tests.doors import Doors

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def named(doors: Doors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARMONIKA_DATABASE_URL", doors.server.admin_dsn)  # type: ignore[attr-defined]
    monkeypatch.setenv("ARMONIKA_HOME", str(tmp_path))


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["token", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_token_is_issued_listed_and_ended_as_json(doors: Doors, capsys: pytest.CaptureFixture[str]) -> None:
    issued = said(capsys, "issue", "--label", "told", "--days", "2", "--purpose", "provide")
    assert set(issued) == {"token", "name", "label", "role", "issued", "expires"}
    assert issued["token"].startswith("arm_")
    assert issued["name"] == secret_hash(issued["token"]).hex()[:12]
    assert (issued["label"], issued["role"]) == ("told", "integration")
    lives = datetime.fromisoformat(issued["expires"]) - datetime.now(UTC)
    assert timedelta(days=2) - lives < timedelta(minutes=1)
    listed = [one for one in said(capsys, "list") if one["name"] == issued["name"]]
    assert listed == [{name: value for name, value in issued.items() if name != "token"}], "and the token itself never again"
    entry = said(capsys, "end", issued["name"])["entry"]
    with doors.admin() as admin:
        assert admin.execute("SELECT operation, door FROM vault.audit WHERE audit_id = %s", (entry,)).fetchone() == (12, "administrator")  # fmt: skip
    assert issued["name"] not in {one["name"] for one in said(capsys, "list")}
    brief = said(capsys, "issue", "--days", "0.0000000001")
    assert set(brief) == {"token", "name"}, "it is over when it is shown"


def test_without_json_a_token_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "issue"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("arm_")
    assert main(["token", "list"]) == 0
    assert secret_hash(line).hex()[:12] in capsys.readouterr().out


def test_python_runs_the_command() -> None:
    for words, status in (
        (["--help"], 0),
        ([], 2),
        (["nothing"], 2),
        (["token", "issue", "--days", "0"], 2),
        (["token", "list", "--json"], 0),
    ):
        done = subprocess.run([sys.executable, "-m", "armonika", *words], cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == status, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert "usage: armonika" in done.stdout + done.stderr or words[:1] == ["nothing"] or "--json" in words
