"""What a command says of itself: each argument has its word, so that nobody has to read the code for a unit or an example."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from armonika.doors.cli.main import COMMANDS, main
from armonika.supervisor.backup.catalogue import Backup
from armonika.supervisor.backup.drill import Drilled
from armonika.supervisor.backup.restore import Restored
from armonika.trust.audit.verify import Report
from armonika.trust.keys.provision import Token
from tests.live import CHECKOUT


def parsers(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.Action]]:
    """Every argument of a command and of those below it, with the words that lead there."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}")
        else:
            yield name, action


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_a_command_is_explained(command: str) -> None:
    root = argparse.ArgumentParser(prog="armonika")
    importlib.import_module(f"armonika.doors.cli.{command}").add_parser(root.add_subparsers())
    silent = [f"{name} {action.dest}" for name, action in parsers(root, "armonika") if not action.help]
    assert not silent


def test_the_list_of_commands_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert len(lines) == len(COMMANDS)
    assert all(line.split()[0] in COMMANDS and line[2 + len(line.split()[0])] == " " for line in lines)


@pytest.mark.parametrize(
    ("command", "kind"),
    [("audit verify", Report), ("backup list", Backup), ("backup drill", Drilled), ("restore", Restored), ("token list", Token)],
)
def test_reports_have_the_members_that_the_page_names(command: str, kind: type) -> None:
    """Who reads them by a program has no other promise."""
    page = (CHECKOUT / "docs" / "operate.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{command}`")]
    lacking = [member.name for member in fields(kind) if not re.search(rf"\b{member.name}\b", row.split("|")[2])]
    assert not lacking
