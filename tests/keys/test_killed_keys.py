"""kill -9 at each step of what changes keyring and root: the keyring opens, the same again or the next start finishes, and no old root stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from armonika.trust.keys import Keyring
from armonika.trust.keys.ceremony import Ceremony, CeremonyError, restore
from armonika.trust.keys.providers import RootKeyError, choose
from armonika.trust.keys.providers.sealed_file import SealedFile

NAMES = ["account", "staff"]


@pytest.fixture
def seed(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A keyring with a ceremony, and its shares."""
    ring = Keyring.open_or_create(tmp_path / "seed")
    ring.ensure(NAMES)
    held = Ceremony()
    held.finish(tmp_path / "seed", [held.shares[number] for number in (0, 2, 4)])
    return tmp_path / "seed", held.shares


FILES = tuple((os, name) for name in ("open", "fsync", "replace", "rename", "pwrite", "unlink"))


def killed(step: int, act: Callable[[], object], calls: Sequence[tuple[object, str]] = FILES) -> bool:
    """Runs `act` in a process that ends at once before or after the `step`-th of these calls (owner, name). False when it ended by itself before."""
    child = os.fork()
    if child == 0:
        count = 0

        def armed(call: Callable[..., object]) -> Callable[..., object]:
            def counted(*args: object, **named: object) -> object:
                nonlocal count
                for late in (False, True):
                    count += 1
                    if count == step:
                        os._exit(99)
                    if not late:
                        done = call(*args, **named)
                return done

            return counted

        for owner, name in calls:
            setattr(owner, name, armed(getattr(owner, name)))
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 99)
    return status == 99


def steps(
    seed: Path, folder: Path, act: Callable[[], object], ready: Callable[[], object], check: Callable[[bool], object]
) -> int:
    """Kills `act` at every step, each time from the start."""
    step, going = 0, True
    while going:
        step += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seed, folder)
        ready()
        going = killed(step, act)
        check(going)
    return step


def test_a_renewal_that_was_killed_is_finished_by_the_next_start(seed: tuple[Path, tuple[str, ...]], tmp_path: Path) -> None:
    """What was wrapped before opens no more, however often the destruction of an epoch was ended in the middle."""
    folder, log = tmp_path / "keys", Keyring.open(seed[0]).log_key()

    def check(going: bool) -> None:
        assert Keyring.open(folder).log_key() == log
        begun = json.loads((folder / "keyring.json").read_text()) != json.loads((seed[0] / "keyring.json").read_text())
        Keyring.open_or_create(folder).ensure(NAMES)
        assert Keyring.open(folder).log_key() == log
        if begun:
            assert "unfinished" not in (folder / "keyring.json").read_text()
            assert "versions" not in (folder / "root.key").read_text(), "an older root is still there"
            shutil.copy(seed[0] / "keyring.json", folder)
            with pytest.raises(RootKeyError):
                Keyring.open(folder)

    assert steps(seed[0], folder, lambda: Keyring.open(folder).renew(), lambda: None, check) > 30


def test_a_ceremony_and_a_rotation_that_were_killed_leave_a_keyring_that_opens(seed: tuple[Path, tuple[str, ...]], tmp_path: Path) -> None:  # fmt: skip
    folder, log = tmp_path / "keys", Keyring.open(seed[0]).log_key()
    held = Ceremony()

    def rotate() -> None:
        ring = Keyring.open(folder)
        number = ring.epochs.prepare("account", "test")
        ring.save()
        ring.epochs.activate("account", number, "test")
        ring.save()

    def check(going: bool) -> None:
        ring = Keyring.open(folder)
        assert ring.log_key() == log
        assert ring.epochs.active("account") in (1, 2)
        # One of the two ceremonies is in force, whole.
        opened = []
        for shares in (seed[1], held.shares):
            (folder / "root.key").unlink(missing_ok=True)
            try:
                opened.append(restore(folder, shares[1:4], choose(folder)).log_key())
            except CeremonyError:
                continue
            break
        assert opened == [log]

    finish = lambda: held.finish(folder, [held.shares[number] for number in (0, 1, 2)])  # noqa: E731
    for act in (finish, rotate):
        assert steps(seed[0], folder, act, lambda: None, check) > 10


def test_a_recovery_that_was_killed_is_done_again(seed: tuple[Path, tuple[str, ...]], tmp_path: Path) -> None:
    folder, log = tmp_path / "keys", Keyring.open(seed[0]).log_key()
    recover = lambda: restore(folder, seed[1][1:4], choose(folder))  # noqa: E731

    def check(going: bool) -> None:
        try:
            recover()
        except RootKeyError as error:
            assert "it opens the keyring" in str(error)  # noqa: PT017
        assert Keyring.open(folder).log_key() == log

    assert steps(seed[0], folder, recover, (folder / "root.key").unlink, check) > 15


def test_a_recovery_takes_nothing_from_a_root_that_is_another_ones(seed: tuple[Path, tuple[str, ...]], tmp_path: Path) -> None:
    other = Keyring.open_or_create(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "root.key", seed[0])
    restore(seed[0], seed[1][1:4], choose(seed[0]))
    assert Keyring.open(seed[0])
    shutil.copy(seed[0] / "root.key", tmp_path / "other")
    assert Keyring.open(tmp_path / "other").keyring_id == other.keyring_id


def test_a_root_that_moved_leaves_the_old_provider_at_the_next_start(seed: tuple[Path, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Ended after the keyring was bound elsewhere: the old provider still holds what opens an older copy of the file."""
    folder = tmp_path / "keys"
    shutil.copytree(seed[0], folder)
    place = tmp_path / "elsewhere"
    place.mkdir()

    class Elsewhere(SealedFile):
        name = "openbao"

    found = lambda at, name=None: Elsewhere(place) if name == "openbao" else SealedFile(at)  # noqa: E731
    monkeypatch.setattr("armonika.trust.keys.keyring.choose", found)
    monkeypatch.setattr(Elsewhere, "destroy_older", lambda self: os._exit(99))
    child = os.fork()
    if child == 0:
        Keyring.open(folder).renew(Elsewhere(place))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 99
    monkeypatch.undo()
    monkeypatch.setattr("armonika.trust.keys.keyring.choose", found)
    monkeypatch.setenv("ARMONIKA_ROOT", "openbao")
    old = json.loads((seed[0] / "keyring.json").read_text())
    wrapped, place_of = old["root"]["wrapped"], f"armonika-keyring/1/{old['id']}/master".encode()
    assert SealedFile(folder).unwrap(wrapped, place_of)
    Keyring.open(folder).ensure(NAMES)
    assert "unfinished" not in (folder / "keyring.json").read_text()
    with pytest.raises(RootKeyError):
        SealedFile(folder).unwrap(wrapped, place_of)
