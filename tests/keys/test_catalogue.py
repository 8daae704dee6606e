"""The catalogue of backups as another user sees it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from armonika.supervisor.backup.catalogue import Catalogue


def test_backups_that_may_not_be_read_are_not_none() -> None:
    folder = Path(tempfile.mkdtemp(prefix="armonika-backups-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "20261125T000000-aaaaaa").mkdir(mode=0o700)
        (folder / "a file").write_text("")
        assert Catalogue(folder).all() == [], "an unfinished one counts for nothing"
        assert Catalogue(folder / "nothing").all() == []
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        else:
            (folder / "20261125T000000-aaaaaa").chmod(0)
        try:
            with pytest.raises(PermissionError):
                Catalogue(folder).all()
        finally:
            if root:
                os.seteuid(0)
            else:
                (folder / "20261125T000000-aaaaaa").chmod(0o700)
    finally:
        shutil.rmtree(folder)
