"""What is served of a log, and what is never: the folder is another process's, and a link in it would lead to what only this one may read."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar.exceptions import NotFoundException

from armonika.doors.api.log import log_file
from armonika.trust.audit import proofs
from armonika.trust.audit.sealer import Sealer
from tests.audit.rows import Rows


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMONIKA_HOME", str(tmp_path))
    sealer = Sealer(Rows(300), tmp_path / "log", "armonika.test/audit", bytes(range(32)))  # type: ignore[arg-type]
    sealer.load()
    sealer.seal()
    (tmp_path / "secret").write_bytes(b"secret")
    return tmp_path


def served(name: str) -> bytes | None:
    try:
        content = log_file.fn(f"/{name}").content
    except NotFoundException:
        return None
    assert isinstance(content, bytes)
    return content


def test_every_file_of_the_tree_is_served(home: Path) -> None:
    for name in ("checkpoint", "log.vkey", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"):
        assert served(name) == (home / "log" / name).read_bytes()
    for name in (
        "tile/entries/000",
        "tile/0/002",
        "tile/00/000",
        "tile/64/000",
        "tile/0/1",
        "ended.jsonl",
        "../secret",
        "tile",
        "",
    ):
        assert served(name) is None, name


@pytest.mark.parametrize("name", ["checkpoint", "log.vkey", "tile/0/000", "tile/0/001.p/44"])
def test_nothing_is_served_through_a_link(home: Path, name: str) -> None:
    path = home / "log" / name
    path.unlink()
    path.symlink_to(home / "secret")
    assert served(name) is None
    assert proofs.folder(home / "log")(name) is None


def test_nor_through_a_link_to_a_folder(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / "000").write_bytes(b"secret")
    (home / "log/tile/0").rename(home / "log/tile/old")
    (home / "log/tile/0").symlink_to(home / "elsewhere")
    assert served("tile/0/000") is None
    (home / "witness").mkdir()
    (home / "witness/witness.vkey").symlink_to(home / "secret")
    assert served("witness.vkey") is None
