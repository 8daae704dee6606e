"""`python -m tests.mutation [MODULE…]`: how many careless changes the fast tests notice. Writes build/mutants.json; survivors are listed.

Each mutant lives in a process of its own, made by fork, so that what is loaded already is loaded once.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import io
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import cryptography.hazmat.primitives.asymmetric.mldsa
import cryptography.hazmat.primitives.hpke
import cryptography.x509  # noqa: F401 (loaded once, before the fork)
import hypothesis.stateful  # noqa: F401
import pytest

from tests.mutation.mutate import Mutant, mutants

CHECKOUT = Path(__file__).parents[2]
SECONDS = 8.0
# Module and the tests that are to notice: none of them starts a server.
TARGETS = {
    "armonika.rules.key_states": "tests/rules/test_key_states.py",
    "armonika.rules.deadlines": "tests/rules/test_deadlines.py",
    "armonika.rules.password": "tests/rules/test_password.py",
    "armonika.rules.retention": "tests/rules/test_retention.py",
    "armonika.rules.rate": "tests/rules/test_rate_exact.py",
    "armonika.trust.audit.tree": "tests/trust/test_tree.py",
    "armonika.trust.audit.tiles": "tests/trust/test_tiles.py",
    "armonika.trust.audit.note": "tests/trust/test_notes.py",
    "armonika.trust.audit.cosign": "tests/trust/test_notes.py",
    "armonika.trust.audit.entry": "tests/trust/test_entry.py",
    "armonika.trust.audit.proofs": "tests/trust/test_tile_proofs.py",
    "armonika.trust.audit.verify_proof": "tests/trust/test_proof_files.py",
    "armonika.trust.crypto": "tests/trust/test_crypto.py",
    "armonika.trust.vault.text": "tests/trust/test_text.py",
    "armonika.trust.vault.address": "tests/trust/test_text.py",
    "armonika.trust.vault.server": "tests/trust/test_text.py",
}


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant instead of the module."""

    def __init__(self, name: str, path: Path, mutant: Mutant) -> None:
        self.name, self.path, self.mutant = name, path, mutant

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.tree, str(self.path), "exec"), module.__dict__)


def noticed(name: str, path: Path, mutant: Mutant, tests: str) -> str:
    """`killed`, `survived` or `timeout`."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        sys.meta_path.insert(0, Loader(name, path, mutant))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                status = pytest.main(
                    ["-x", "-q", "-p", "no:cacheprovider", "--noconftest", "--no-header", "-W", "ignore", *tests.split()]
                )
            except BaseException:
                status = 1
        os._exit(0 if status == 0 else 1)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def measure(name: str, tests: str) -> dict[str, object]:
    """Every mutant of one module."""
    path = CHECKOUT / (name.replace(".", "/") + ".py")
    counts = {"killed": 0, "survived": 0, "timeout": 0}
    survivors = []
    for mutant in mutants(path.read_text()):
        outcome = noticed(name, path, mutant, tests)
        counts[outcome] += 1
        if outcome == "survived":
            survivors.append(f"{path.relative_to(CHECKOUT)}:{mutant.line} {mutant.what}")
    total = sum(counts.values())
    share = (counts["killed"] + counts["timeout"]) / total if total else 1.0
    print(f"{name:<40} {total:>5} mutants, {share:7.1%} noticed ({counts['timeout']} by time)", flush=True)
    for line in survivors:
        print(f"    {line}", flush=True)
    return {"module": name, "mutants": total, "share": share, "survivors": survivors}


def main() -> int:
    """0 when every module is at 95 % or better."""
    parser = argparse.ArgumentParser(prog="tests.mutation")
    parser.add_argument("modules", nargs="*", help="such as armonika.trust.audit.tree; all when none is named")
    wanted = parser.parse_args().modules or list(TARGETS)
    os.chdir(CHECKOUT)
    # The plug-ins of the whole suite would take longer than the tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    found = [measure(name, TARGETS[name]) for name in wanted]
    (CHECKOUT / "build").mkdir(exist_ok=True)
    (CHECKOUT / "build" / "mutants.json").write_text(json.dumps(found, indent=1))
    return 0 if all(float(str(one["share"])) >= 0.95 for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
