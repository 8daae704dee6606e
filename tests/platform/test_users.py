"""System users are made once, by whichever of several starts comes first."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from armonika.store import users
from armonika.store.users import UserError, user_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="system users are made by root")


@pytest.fixture
def process() -> Iterator[str]:
    name = f"t{uuid4().hex[:12]}"
    yield name
    subprocess.run(["userdel", f"armonika-{name}"], capture_output=True, check=False)


def test_starts_at_once_get_one_and_the_same_user(process: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(user_for, [process] * 4))
    found = pwd.getpwnam(f"armonika-{process}")
    assert {(one.uid, one.gid) for one in made} == {(found.pw_uid, found.pw_gid)}
    assert found.pw_shell == "/usr/sbin/nologin"


def test_a_group_that_comes_a_moment_later_is_waited_for(process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tried = grp.getgrgid, []

    def late(number: int) -> grp.struct_group:
        tried.append(number)
        if len(tried) < 3:
            raise KeyError(number)
        return plain(number)

    monkeypatch.setattr(grp, "getgrgid", late)
    assert user_for(process).gid == tried[0]


def test_a_user_without_its_group_is_told(process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(number: int) -> grp.struct_group:
        raise KeyError(number)

    monkeypatch.setattr(grp, "getgrgid", never)
    monkeypatch.setattr(users, "WAIT", 0.0)
    user_for_it = f"armonika-{process}"
    subprocess.run(["useradd", "--system", user_for_it], check=True, capture_output=True)
    with pytest.raises(UserError, match=rf"The user {user_for_it} could not be made: .*already exists"):
        user_for(process)
