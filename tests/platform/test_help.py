"""What a command says of itself: each argument has its word, so that nobody has to read the code for a unit or an example."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

import pytest

from armonika.doors.cli.main import COMMANDS, main


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
