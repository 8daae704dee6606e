"""The mutants of a module: one small change each, such as a careless hand might make. Pure."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult, ast.Div: ast.Mult, ast.BitXor: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change: where, what, and the module's new text as a tree."""

    line: int
    what: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module. Docstrings, annotations, decorators and the texts of errors are left alone, and so is what `make check` refuses: another
    name in `__all__` or of a type variable."""
    tree = ast.parse(source)
    left_alone = {id(node) for node in _left_alone(tree)}
    nodes = list(ast.walk(tree))
    for number, node in enumerate(nodes):
        if id(node) in left_alone:
            continue
        for what, _change in enumerate(_changes(node)):
            altered = copy.deepcopy(tree)
            target = list(ast.walk(altered))[number]
            text = list(_changes(target))[what](altered, target)
            yield Mutant(getattr(node, "lineno", 0), text, ast.fix_missing_locations(altered))


def _left_alone(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts += [node.returns, *node.decorator_list, *(argument.annotation for argument in _arguments(node.args))]
        if isinstance(node, ast.ClassDef):
            parts += node.decorator_list
        if isinstance(node, ast.AnnAssign):
            parts.append(node.annotation)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.stmt)):
            parts += [
                child
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            ]
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            made_by = node.value.func.id if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name) else ""
            if node.targets[0].id == "__all__" or made_by in ("TypeVar", "NewType"):
                parts.append(node.value)
        if isinstance(node, ast.Raise):
            parts += [
                part
                for part in ast.walk(node)
                if isinstance(part, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.BoolOp, ast.IfExp))
            ]
            parts += [inner for part in ast.walk(node) if isinstance(part, ast.JoinedStr) for inner in ast.walk(part)]
        for part in parts:
            if part is not None:
                yield from ast.walk(part)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *filter(None, (arguments.vararg, arguments.kwarg))]


def _changes(node: ast.AST) -> Iterator[object]:  # type: ignore[misc]
    """Functions (tree, node) that change the node in place and say what they did."""
    if isinstance(node, ast.Compare):
        for at in range(len(node.ops)):
            yield lambda _, n, at=at: _swap(n.ops, at, _COMPARE)
    elif (isinstance(node, ast.BinOp) and type(node.op) in _BINARY) or (
        isinstance(node, ast.AugAssign) and type(node.op) in _BINARY
    ):
        yield lambda _, n: _operator(n)
    elif isinstance(node, ast.BoolOp):
        yield lambda _, n: _boolean(n)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield lambda tree, n: _replace(tree, n, n.operand, "not is gone")
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        yield lambda _, n: _negate(n)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield lambda _, n: _constant(n, not n.value)
        elif isinstance(node.value, int):
            yield lambda _, n: _constant(n, n.value + 1)
            if node.value > 0:
                yield lambda _, n: _constant(n, n.value - 1)
        elif isinstance(node.value, (bytes, str)):
            yield lambda _, n: _constant(n, n.value + (b"!" if isinstance(n.value, bytes) else "!"))
    elif (
        isinstance(node, ast.Return)
        and node.value is not None
        and not (isinstance(node.value, ast.Constant) and node.value.value is None)
    ):
        yield lambda _, n: _constant_return(n)
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await))):
        yield lambda tree, n: _replace(tree, n, ast.Pass(), f"{type(n).__name__.lower()} is gone")
    elif isinstance(node, (ast.Break, ast.Continue)):
        yield lambda tree, n: _replace(tree, n, ast.Continue() if isinstance(n, ast.Break) else ast.Break(), "break and continue")


def _swap(ops: list[ast.cmpop], at: int, table: dict[type[ast.cmpop], type[ast.cmpop]]) -> str:
    before = type(ops[at])
    ops[at] = table[before]()
    return f"{before.__name__} is {type(ops[at]).__name__}"


def _operator(node: ast.BinOp | ast.AugAssign) -> str:
    before = type(node.op)
    node.op = _BINARY[before]()
    return f"{before.__name__} is {type(node.op).__name__}"


def _boolean(node: ast.BoolOp) -> str:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return f"now {type(node.op).__name__}"


def _negate(node: ast.If | ast.While | ast.IfExp) -> str:
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return "the condition is turned round"


def _constant(node: ast.Constant, value: object) -> str:
    before, node.value = node.value, value  # type: ignore[assignment]
    return f"{before!r} is {value!r}"


def _constant_return(node: ast.Return) -> str:
    node.value = ast.Constant(None)
    return "returns None"


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST, what: str) -> str:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                for at, one in enumerate(value):
                    if one is old:
                        value[at] = new
    return what
