"""Vault, keys and log against a plain model, step by step, with crashes, clock jumps and actors at once.

`make test` takes a few thousand steps, always the same ones; `make nightly` a million others each day (ARMONIKA_MODEL_STEPS sets how many,
ARMONIKA_MODEL_SEED which ones: a failure says its seed).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from armonika.trust.audit.sealer import Sealer
from armonika.trust.vault import Vault
from armonika.trust.vault.errors import VaultError
from tests.model.lab import Lab, lab
from tests.model.machine import Machine

STEPS = int(os.environ.get("ARMONIKA_MODEL_STEPS", "2000"))
PART = 5000
"""Steps of one installation: it ends an epoch every twenty, and a keyring that holds thousands that ended is slow."""
LENGTH = 50
SEED = int(os.environ.get("ARMONIKA_MODEL_SEED") or (0 if STEPS < 2 * PART else time.time() // 86400))
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    with lab() as one:
        yield one


def run(one: Lab, examples: int, seed: int) -> None:
    class Run(Machine):
        lab = one
        _hypothesis_internal_use_seed = seed

    # The world outside is real and does not begin anew: what was found is told as it was found.
    chance = settings(
        max_examples=examples,
        stateful_step_count=LENGTH,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )
    one.failures.clear()
    try:
        run_state_machine_as_test(Run, settings=chance)
    except Exception as error:
        told = (one.failures or [error])[0]
        told.add_note(f"after {one.steps} steps of ARMONIKA_MODEL_SEED={SEED}")
        raise told from None


@pytest.mark.parametrize("part", range(max(1, STEPS // PART)))
def test_the_vault_says_what_the_model_says(part: int) -> None:
    with lab() as one:
        rounds, enough = 0, min(STEPS, PART)
        while one.steps < enough:
            before, rounds = one.steps, rounds + 1
            run(one, max(5, min(200, (enough - one.steps) // 50)), SEED * 1_000_000 + part * 1000 + rounds)
            assert one.steps > before
        assert len(one.kinds) >= 17, f"a kind of step was never taken: {one.kinds}"
        while one.sealer.seal():
            continue
        report = one.verify()
        assert report.findings == []
        assert report.entries == one.home.value("SELECT count(*) FROM vault.audit")
        print(one.steps, one.kinds)


def wrong_value(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """A read that gives what was there before a correction."""
    plain = Vault.correct
    patch.setattr(
        Vault,
        "correct",
        lambda self, secret, subject, record, changes, *rest, **more: plain(
            self,
            secret,
            subject,
            record,
            {name: value + "x" if name == "name" else value for name, value in changes.items()},
            *rest,
            **more,
        ),
    )


def forgetful_erasure(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """Who is erased is only restricted."""
    patch.setattr(
        Vault,
        "erase",
        lambda self, secret, subjects, *use: [
            (subject, self.restrict(secret, subject, True, *use), 0, 0) for subject in subjects
        ],
    )


def lost_entry(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """A read whose entry is taken out of the log."""
    plain = Vault.read

    def read(self: Vault, *words: Any, **more: Any) -> Any:
        records = plain(self, *words, **more)
        with one.home.admin() as admin:
            admin.execute("SET session_replication_role = replica")
            admin.execute("DELETE FROM vault.audit WHERE audit_id = (SELECT max(audit_id) FROM vault.audit)")
        return records

    patch.setattr(Vault, "read", read)


def unlocked(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """A restriction that is noted and does nothing."""
    patch.setattr(
        Vault, "restrict", lambda self, secret, subject, on, *use: self.read(secret, subject, "account", ["name"], *use)[0].ticket
    )


def left_lookup(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """An ended record whose key stays."""
    patch.setattr(Vault, "erase_records", lambda self, secret, records, *use: [(record, 1) for _, record in records])


def deaf_sealer(one: Lab, patch: pytest.MonkeyPatch) -> None:
    """A sealer that does not notice another one."""
    patch.setattr(Sealer, "seal", lambda self: 0)


def script(one: Lab) -> None:
    """A fixed course over most kinds of step, for the control of the machine's own eyes."""

    class Run(Machine):
        lab = one

    run = Run()
    try:
        run.begin("wAw")
        run.create("wBw")
        run.add_record(1, "wCw")
        run.correct(0, "name", "right", "wDw")
        run.read_person(0, ["name", "email"])
        run.find(0, True)
        run.restrict(0, True)
        run.read_person(0, ["name"])
        run.restrict(0, False)
        run.end_record(1)
        run.rotate(False)
        run.keep(3)
        run.second_sealer()
        run.erase(0, False)
        run.read_person(0, ["name"])
        run.find(0, False)
    finally:
        run.teardown()


def test_the_script_is_green_when_nothing_is_planted(made: Lab) -> None:
    script(made)


@pytest.mark.parametrize("plant", [wrong_value, forgetful_erasure, lost_entry, unlocked, left_lookup, deaf_sealer])
def test_the_machine_finds_what_is_planted(made: Lab, monkeypatch: pytest.MonkeyPatch, plant: Any) -> None:
    """A test that cannot fail proves nothing: each of these must turn it red."""
    plant(made, monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, VaultError)):
        script(made)
