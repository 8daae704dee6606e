"""A process's end of a channel, for the tests of what travels between processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from armonika.gates.channel import Channel
from armonika.supervisor import certificates
from armonika.trust.certificates import Authority

OWN = Authority(b"\3" * 32)


@pytest.fixture
def give(tmp_path: Path) -> Callable[..., Channel]:
    """A process's end of the channel, with a certificate of `authority` in a folder of its own."""

    def made(process: str, authority: Authority = OWN, days: float = 30) -> Channel:
        folder = tmp_path / process
        folder.mkdir(exist_ok=True)
        certificates.hand_out(authority, process, folder, None, days)
        return Channel(folder)

    return made
