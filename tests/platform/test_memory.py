"""How much memory the embedded server takes for pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from armonika.store import embedded

GIGABYTE = 1 << 30


def machine(monkeypatch: pytest.MonkeyPatch, memory: int, limits: dict[str, str]) -> None:
    monkeypatch.setattr(embedded.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": memory // 4096}.__getitem__)

    def read(path: Path) -> str:
        try:
            return limits[str(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(embedded.Path, "read_text", read)


@pytest.mark.parametrize(
    ("memory", "limits", "given"),
    [
        (24 * GIGABYTE, {}, "6144MB"),
        (24 * GIGABYTE, {"/sys/fs/cgroup/memory.max": "max\n"}, "6144MB"),
        (24 * GIGABYTE, {"/sys/fs/cgroup/memory.max": f"{4 * GIGABYTE}\n"}, "1024MB"),
        (24 * GIGABYTE, {"/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIGABYTE}\n"}, "512MB"),
        (24 * GIGABYTE, {"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, "6144MB"),
        (GIGABYTE // 4, {}, "128MB"),
        (512 * GIGABYTE, {}, "16384MB"),
    ],
    ids=["machine", "no limit", "cgroup v2", "cgroup v1", "cgroup v1 without limit", "small", "large"],
)
def test_a_quarter_of_what_the_machine_or_its_container_has(
    monkeypatch: pytest.MonkeyPatch, memory: int, limits: dict[str, str], given: str
) -> None:
    machine(monkeypatch, memory, limits)
    assert embedded.buffers() == given
