"""`python -m tests.mutation [MODULE…]`: how many careless changes the fast tests notice. Writes build/mutants.json; survivors are listed.

Each mutant lives in a process of its own, made by fork, so that what is loaded already is loaded once.
"""

from __future__ import annotations

import argparse
import ast
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
from tests.mutation.shared import Shared, place

CHECKOUT = Path(__file__).parents[2]
SECONDS, TIMES = 20.0, 6
"""How long a mutant may take: so many times as long as the module takes unchanged, and so long at least. Others may be at work on this machine too."""
UNCHANGED = 300.0
PROVIDERS = "tests/keys/test_providers.py"
ADMINISTRATOR = "tests/vault/test_administrator.py"
# Module and the tests that are to notice: none of them starts a server.
TARGETS = {
    "armonika.rules.key_states": "tests/rules/test_key_states.py",
    "armonika.rules.deadlines": "tests/rules/test_deadlines.py",
    "armonika.rules.password": "tests/rules/test_password.py",
    "armonika.rules.retention": "tests/rules/test_retention.py",
    "armonika.rules.rate": "tests/rules/test_rate_exact.py",
    "armonika.rules.one_time_code": "tests/rules/test_one_time_code.py",
    "armonika.trust.audit.tree": "tests/trust/test_tree.py",
    "armonika.trust.audit.tiles": "tests/trust/test_tiles.py",
    "armonika.trust.audit.files": "tests/trust/test_files.py",
    "armonika.trust.audit.note": "tests/trust/test_notes.py",
    "armonika.trust.audit.cosign": "tests/trust/test_notes.py",
    "armonika.trust.audit.entry": "tests/trust/test_entry.py",
    "armonika.trust.audit.proofs": "tests/trust/test_tile_proofs.py",
    "armonika.trust.audit.verify_proof": "tests/trust/test_proof_files.py",
    "armonika.trust.crypto": "tests/trust/test_crypto.py",
    "armonika.trust.certificates": "tests/trust/test_x509.py",
    "armonika.trust.vault.text": "tests/trust/test_text.py",
    "armonika.trust.vault.address": "tests/trust/test_text.py",
    "armonika.trust.vault.server": "tests/trust/test_text.py",
    "armonika.trust.vault.errors": "tests/trust/test_contract.py",
    "armonika.trust.vault.types": "tests/trust/test_contract.py",
    "armonika.trust.archive": "tests/trust/test_archive.py",
    "armonika.trust.audit.register": "tests/trust/test_register.py",
    "armonika.trust.audit.witness": "tests/trust/test_witnessing.py",
    "armonika.trust.audit.cosigning": "tests/trust/test_witnessing.py",
    "armonika.trust.audit.verify": "tests/trust/test_verifier.py tests/trust/test_log_folder.py",
    "armonika.trust.audit.verify_tiles": "tests/trust/test_verifier.py tests/trust/test_log_folder.py",
    "armonika.trust.audit.certificate": "tests/trust/test_certificates.py",
    "armonika.trust.audit.sealer": "tests/trust/test_sealing.py",
    "armonika.trust.keys.keyring": f"tests/trust/test_keyring.py {PROVIDERS}::test_a_keyring_of_the_first_format_is_taken_over "
    "tests/trust/test_root.py::test_what_a_killed_process_left_half_written_is_overwritten_and_removed "
    "tests/trust/test_journal.py",
    "armonika.trust.keys.credentials": "tests/trust/test_credentials.py",
    "armonika.trust.keys.epochs": "tests/trust/test_epochs.py",
    "armonika.trust.keys.journal": "tests/trust/test_journal.py",
    "armonika.trust.keys.ceremony": "tests/keys/test_ceremony.py",
    "armonika.trust.keys.providers.__init__": "tests/trust/test_root.py",
    "armonika.trust.keys.providers.sealed_file": "tests/trust/test_root.py",
    "armonika.trust.keys.providers.openbao": "tests/trust/test_root.py",
    "armonika.trust.keys.providers.pkcs11": f"{PROVIDERS}::test_what_a_version_wraps_opens_in_its_place_until_it_is_destroyed[pkcs11] "
    f"{PROVIDERS}::test_the_token_s_key_is_not_extractable_and_a_wrong_pin_or_token_says_so {PROVIDERS}::test_other_keys_of_a_token_are_no_root_and_stay "
    f"{PROVIDERS}::test_a_pin_that_is_locked_is_said",
    "armonika.trust.vault.catalogue": "tests/trust/test_catalogue.py",
    "armonika.trust.vault.envelope": "tests/trust/test_envelope.py",
    "armonika.trust.vault.codec": "tests/trust/test_codec.py",
}

# The same with one server for the run.
CALLS = (
    "tests/trust/test_contract.py tests/vault/test_vault_calls.py tests/vault/test_site_calls.py tests/vault/test_connections.py"
)
SERVED = {
    "armonika.trust.vault.reader": CALLS,
    "armonika.trust.vault.vault": CALLS,
    "armonika.trust.vault.asynchronous": CALLS,
    "armonika.trust.vault.retention": "tests/vault/test_retention.py",
    "armonika.trust.vault.second_factor": "tests/vault/test_second_factor_calls.py tests/vault/test_second_factor.py",
    "armonika.trust.vault.staff": "tests/vault/test_second_factor_calls.py tests/vault/test_second_factor.py",
    "armonika.trust.vault.keeper": "tests/vault/test_keeper.py tests/vault/test_sweep.py",
    "armonika.trust.vault.administrator": f"{ADMINISTRATOR}::test_seen_is_each_persons_own {ADMINISTRATOR}::test_pages "
    f"{ADMINISTRATOR}::test_whoever_has_seen_it_is_shown_with_the_time_or_nothing_is "
    f"{ADMINISTRATOR}::test_who_may_not_see_them",
    "armonika.trust.audit.verify_rows": "tests/vault/test_database_rows.py",
    "armonika.trust.keys.tell": "tests/vault/test_telling.py",
    "armonika.trust.keys.provision": "tests/vault/test_provision.py tests/vault/test_policy_versions.py",
}


class Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant instead of the module."""

    def __init__(self, name: str, path: Path, mutant: Mutant) -> None:
        self.name, self.path, self.mutant = name, path, mutant

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        within = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self, submodule_search_locations=within)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.tree, str(self.path), "exec"), module.__dict__)


def noticed(name: str, path: Path, mutant: Mutant, tests: str, plugin: Shared | None, seconds: float) -> str:
    """`killed`, `survived` or `timeout`."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        for loaded in [one for one in sys.modules if one.startswith(("armonika", "tests."))]:
            # What the parent needed for its server is loaded anew, with the mutant in it.
            del sys.modules[loaded]
        sys.meta_path.insert(0, Loader(name.removesuffix(".__init__"), path, mutant))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                status = pytest.main(
                    ["-x", "-q", "-p", "no:cacheprovider", "--noconftest", "--no-header", "-W", "ignore", *tests.split()],
                    plugins=[plugin] if plugin else None,
                )
            except BaseException:
                status = 1
        os._exit(0 if status == 0 else 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def measure(name: str, tests: str, every: int, first: int, plugin: Shared | None) -> dict[str, object]:
    """Each `every`-th mutant of one module from number `first` on."""
    path = CHECKOUT / (name.replace(".", "/") + ".py")
    # Tests that fail as they are, or that are slow, would notice everything.
    unchanged, began = Mutant(0, "nothing is changed", ast.parse(path.read_text())), time.monotonic()
    if (outcome := noticed(name, path, unchanged, tests, plugin, UNCHANGED)) != "survived":
        raise SystemExit(f"{name}: nothing is changed, and its tests are {outcome}")
    seconds = max(SECONDS, TIMES * (time.monotonic() - began))
    counts = {"killed": 0, "survived": 0, "timeout": 0}
    survivors = []
    for number, mutant in enumerate(mutants(path.read_text())):
        if number % every != first:
            continue
        outcome = noticed(name, path, mutant, tests, plugin, seconds)
        counts[outcome] += 1
        if outcome == "survived":
            survivors.append(f"{path.relative_to(CHECKOUT)}:{mutant.line} {mutant.what}")
            print(f"    {survivors[-1]}", flush=True)
    total = sum(counts.values())
    share = (counts["killed"] + counts["timeout"]) / total if total else 1.0
    print(f"{name:<40} {total:>5} mutants, {share:7.1%} noticed ({counts['timeout']} by time)", flush=True)
    return {"module": name, "mutants": total, "share": share, "survivors": survivors}


def main() -> int:
    """0 when every module is at 95 % or better."""
    parser = argparse.ArgumentParser(prog="tests.mutation")
    parser.add_argument("modules", nargs="*", help="such as armonika.trust.audit.tree; all when none is named")
    parser.add_argument("--every", type=int, default=1, help="only each n-th mutant")
    parser.add_argument("--from", dest="first", type=int, default=0, help="of these the one that is the first, from 0")
    arguments = parser.parse_args()
    if not 0 <= arguments.first < arguments.every:
        parser.error("--from is less than --every")
    wanted = arguments.modules or [*TARGETS, *SERVED]
    os.chdir(CHECKOUT)
    # The plug-ins of the whole suite would take longer than the tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    found = [measure(name, TARGETS[name], arguments.every, arguments.first, None) for name in wanted if name in TARGETS]
    if any(name in SERVED for name in wanted):
        with place() as where:
            found += [
                measure(name, SERVED[name], arguments.every, arguments.first, Shared(where)) for name in wanted if name in SERVED
            ]
    (CHECKOUT / "build").mkdir(exist_ok=True)
    (CHECKOUT / "build" / "mutants.json").write_text(json.dumps(found, indent=1))
    return 0 if all(float(str(one["share"])) >= 0.95 for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
