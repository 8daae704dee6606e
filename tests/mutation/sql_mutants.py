"""The mutants of SQL functions: one small change each in the text between `AS $$` and `$$`, or in the function's own clauses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FUNCTION = re.compile(r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) vault\.(\w+)\(.*?\$\$.*?\$\$;", re.DOTALL)
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\w+|:=|<>|<=|>=|!~|::|>>|<<|[^\s\w]")
_SWAPS = {
    "AND": "OR", "OR": "AND", "=": "<>", "<>": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "true": "false", "false": "true", "'committed'": "'in progress'",
    "least": "greatest", "greatest": "least", "EXISTS": "NOT EXISTS", "DEFINER": "INVOKER", "!~": "~", "|": "&", "+": "-", "NOT": "",
}  # fmt: skip
_ENDS = {
    "AND",
    "OR",
    "THEN",
    "ORDER",
    "GROUP",
    "LIMIT",
    "FOR",
    "LOOP",
    "RETURNING",
    "WHEN",
    "ELSE",
    "END",
    ";",
    ")",
    ",",
    "LEFT",
    "JOIN",
    "WHERE",
    "ON",
    "CROSS",
}
_BEGINS = {"WHERE", "ON", "IF", "AND", "OR", "ELSIF"}
_GONE = {"PERFORM", "DELETE", "UPDATE", "INSERT", "RAISE"}


@dataclass(frozen=True)
class Change:
    """One change of one function: its whole new text."""

    function: str
    line: int
    what: str
    text: str


def functions(source: str) -> Iterator[tuple[str, int, str]]:
    """Name, first line and text of each function of a file."""
    for found in _FUNCTION.finditer(source):
        # What a file makes anew is replaced while it is tried.
        text = re.sub(r"\ACREATE (?!OR)", "CREATE OR REPLACE ", found.group(0))
        yield found.group(1), source.count("\n", 0, found.start()) + 1, text


def changes(name: str, first: int, text: str) -> Iterator[Change]:
    """Every mutant of one function."""

    def made(begin: int, end: int, new: str, what: str) -> Change:
        return Change(name, first + text.count("\n", 0, begin), what, text[:begin] + new + text[end:])

    at = text.find(", pg_temp")
    if at >= 0:
        yield made(at, at + len(", pg_temp"), "", "pg_temp is gone")
    opening = text.index("$$") + 2
    head = text.find("SECURITY DEFINER")
    if 0 <= head < opening:
        yield made(head, head + len("SECURITY DEFINER"), "SECURITY INVOKER", "the caller's rights")
    tokens = [
        (found.group(0), opening + found.start(), opening + found.end())
        for found in _TOKEN.finditer(text[opening:-3])
        if not found.group(0).startswith("--")
    ]
    code = next((n for n, (word, _, _) in enumerate(tokens) if word == "BEGIN"), 0)
    between = 0
    for n, (word, begin, end) in enumerate(tokens):
        before = tokens[n - 1][0] if n else ""
        if word == "BETWEEN":
            between += 1
            continue
        if word == "AND" and between:
            between -= 1
            continue
        if n < code and word in ("=", ":="):
            continue
        if (
            word in _SWAPS
            and not (word == "NOT" and before == "IS")
            and not (word == "EXISTS" and before == "NOT")
            and not (word == "=" and _is_assignment(tokens, n))
        ):
            yield made(begin, end, _SWAPS[word], f"{word} is {_SWAPS[word] or 'gone'}")
        if word == "IS" and tokens[n + 1][0] in ("NULL", "NOT", "DISTINCT"):
            negated = tokens[n + 1][0] == "NOT"
            yield made(begin, tokens[n + 1][2] if negated else end, "IS" if negated else "IS NOT", "IS turned round")
        if word.isdigit() and before not in ("$",):
            yield made(begin, end, str(int(word) + 1), f"{word} is {int(word) + 1}")
        if span := re.fullmatch(r"'(\d+) (seconds?|minutes?|hours?|days?)'", word):
            yield made(begin, end, f"'{int(span[1]) * 60} {span[2]}'", f"{word} is longer")
        if (
            word in _BEGINS
            and not (word in ("ON",) and tokens[n + 1][0] == "CONFLICT")
            and not (word == "IF" and before == "END")
        ):
            stop = _term(tokens, n + 1)
            if stop > n + 1:
                neutral = "false" if word == "OR" or any(token[0] == "OR" for token in tokens[stop : stop + 1]) else "true"
                yield made(
                    tokens[n + 1][1],
                    tokens[stop - 1][2],
                    neutral,
                    f"a term after {word} is {neutral}: {text[tokens[n + 1][1] : tokens[stop - 1][2]][:60]}",
                )
        if word in _GONE and before in (";", "BEGIN", "THEN", "ELSE", "LOOP") and n > code - 1:
            stop = next((m for m in range(n, len(tokens)) if tokens[m][0] == ";"), len(tokens) - 1)
            yield made(begin, tokens[stop][1], "NULL", f"gone: {text[begin : begin + 60]}")
        if word == "FOR" and tokens[n + 1][0] in ("UPDATE", "SHARE"):
            yield made(begin, tokens[n + 1][2], "", f"no lock: FOR {tokens[n + 1][0]}")


def _is_assignment(tokens: list[tuple[str, int, int]], n: int) -> bool:
    """`SET x = …` and `USING ERRCODE = …` are no comparisons."""
    depth = 0
    for word, _, _ in reversed(tokens[:n]):
        if word == ")":
            depth += 1
        elif word == "(":
            if not depth:
                return False
            depth -= 1
        elif not depth and word in ("SET", "USING"):
            return True
        elif not depth and word in ("WHERE", ";", "BEGIN", "IF", "SELECT", "ON", "THEN"):
            return False
    return False


def _term(tokens: list[tuple[str, int, int]], start: int) -> int:
    """Where a term that begins at a token ends."""
    depth, cases, n = 0, 0, start
    while n < len(tokens):
        word = tokens[n][0]
        if word == "(":
            depth += 1
        elif word == "CASE":
            cases += 1
        elif word == "END" and cases:
            cases -= 1
            n += 1
            continue
        if (
            not depth
            and not cases
            and word in _ENDS
            and not (word == "AND" and any(tokens[m][0] == "BETWEEN" for m in range(start, n)))
        ):
            return n
        if word == ")":
            depth -= 1
        n += 1
    return n
