"""Files of a log that somebody else wrote: what is read of them, how much, and what is left open afterwards."""

from __future__ import annotations

import errno
import os
import pty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armonika.trust.audit import files
from armonika.trust.audit.files import read_beneath, read_file

NO_FILE: list[tuple[str, Callable[[Path], object]]] = [
    ("a folder", Path.mkdir), ("a pipe", os.mkfifo), ("a link to a device", lambda path: path.symlink_to("/dev/zero")),
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def refused(call: Callable[[], bytes]) -> OSError:
    with pytest.raises(OSError, match=r"\[Errno") as told:
        call()
    return told.value


def test_the_bounds_are_those_of_the_specification() -> None:
    """256 hashes of 32 bytes, 256 entries with their lengths of two; notes and keys have room for many signatures."""
    assert (files.MOST_TILE, files.MOST_BUNDLE) == (8_192, 16_777_472)
    assert (files.MOST_NOTE, files.MOST_VKEYS) == (262_144, 65_536)


def test_a_file_is_read_up_to_its_bound_and_not_beyond(tmp_path: Path) -> None:
    (tmp_path / "tile/0").mkdir(parents=True)
    path = tmp_path / "tile/0/000"
    for size in (0, 1, 9, 10):
        path.write_bytes(b"x" * size)
        assert read_file(path, 10) == read_beneath(tmp_path, "tile/0/000", 10) == b"x" * size
    (tmp_path / "checkpoint").write_bytes(b"note")
    assert read_beneath(tmp_path, "checkpoint", 10) == b"note"
    for size in (11, 12, 1 << 34):
        os.truncate(path, size)
        for call in (lambda: read_file(path, 10), lambda: read_beneath(tmp_path, "tile/0/000", 10)):
            told = refused(call)
            assert (told.errno, told.filename) == (errno.EFBIG, str(path))


@pytest.mark.parametrize("kind", [kind for kind, _ in NO_FILE])
def test_what_is_no_regular_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for without end, a device never ends."""
    dict(NO_FILE)[kind](tmp_path / "checkpoint")
    told = refused(lambda: read_file(tmp_path / "checkpoint", 10))
    assert (told.errno, told.filename) == (errno.EINVAL, str(tmp_path / "checkpoint"))
    assert refused(lambda: read_beneath(tmp_path, "checkpoint", 10)).errno in (errno.EINVAL, errno.ELOOP)


def test_nor_is_a_pipe_in_the_place_of_a_folder_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tile")
    assert refused(lambda: read_beneath(tmp_path, "tile/000", 10)).errno == errno.ENOTDIR
    assert refused(lambda: read_beneath(tmp_path / "tile", "000", 10)).errno == errno.ENOTDIR
    assert isinstance(refused(lambda: read_beneath(tmp_path / "none", "000", 10)), FileNotFoundError)
    assert isinstance(refused(lambda: read_file(tmp_path / "none", 10)), FileNotFoundError)


def test_a_link_is_followed_where_somebody_named_the_file_and_nowhere_beneath(tmp_path: Path) -> None:
    (tmp_path / "log/tile").mkdir(parents=True)
    (tmp_path / "log/tile/000").write_bytes(b"secret")
    for link, to in (("named", "log"), ("log/last", "tile/000"), ("log/above", "tile")):
        (tmp_path / link).symlink_to(to)
    assert read_file(tmp_path / "log/last", 10) == b"secret"
    assert read_beneath(tmp_path / "named", "tile/000", 10) == b"secret", "the folder was named too"
    for name in ("last", "above/000"):
        assert refused(lambda name=name: read_beneath(tmp_path / "log", name, 10)).errno in (errno.ELOOP, errno.ENOTDIR)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a/", "a//b", "./a", "../log/a", "b/../a", "b/."])
def test_names_that_lead_elsewhere_are_no_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "log/b").mkdir(parents=True)
    (tmp_path / "log/a").write_bytes(b"a")
    told = refused(lambda: read_beneath(tmp_path / "log", name, 10))
    assert (type(told), told.errno, told.filename) == (FileNotFoundError, errno.ENOENT, name)


def test_a_terminal_in_the_place_of_a_file_takes_no_process_over() -> None:
    """A process without one would get its signals from it."""
    ours, theirs = pty.openpty()
    try:
        if (child := os.fork()) == 0:
            os._exit(_taken_over(Path(os.ttyname(theirs))))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def _taken_over(terminal: Path) -> int:
    """0 when a process without a terminal has none after it looked at this one."""
    try:
        os.setsid()
        if refused(lambda: read_file(terminal, 10)).errno == errno.EINVAL:
            os.open("/dev/tty", os.O_RDONLY)
    except OSError as none:
        return 0 if none.errno == errno.ENXIO else 2
    except BaseException:
        return 2
    return 1
