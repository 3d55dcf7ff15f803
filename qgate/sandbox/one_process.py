"""Which checks can be run in a process apart from the program's, by what they say alone.

The program has no word in it: one that could choose would choose the process in which it can
cheat. Checks need the program in their own process where they

- are no text of their own (a syntax error), or define a class, or read names in another way than
  by writing them (`globals`, `eval`, `exec`, `open`, `inspect` and their like);
- import something that is not of values alone: what it does to a process (`sys`, `unittest.mock`,
  `io`) would not be done to the program's;
- seed the global generator of random numbers, which the program may draw from;
- hand the program what is no plain data (a function, an object of their own), which shows when
  they run;
- have an object of the program's decide by its own word: they enter it by `with`, or keep what a
  class of its has made under a name and then look into that by `in` or reckon with it and a number;
- name nothing but several functions of Python's own, of which any could be what is checked.

All others run apart. There, a module of the standard library that the checks use by the program's
import of it (`math.isclose`) is the checks' own, and so is the name `isclose`.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import sys
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

_PURE = frozenset(
    (
        *("abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections"),
        *("copy", "datetime", "decimal", "fractions", "functools", "hashlib", "heapq", "itertools"),
        *("json", "math", "numbers", "operator", "random", "re", "statistics", "string"),
        *("struct", "textwrap", "time", "typing", "__future__"),
    )
)
_REACHING = frozenset(
    (
        *("globals", "locals", "vars", "dir", "eval", "exec", "compile", "open", "input"),
        *("__import__", "breakpoint", "exit", "quit", "seed", "setstate"),
        *("__globals__", "__code__", "__dict__", "__class__", "__builtins__"),
    )
)

_ERRORS = frozenset(
    name
    for name, one in vars(builtins).items()
    if isinstance(one, type) and issubclass(one, BaseException)
)
_JUDGES = MappingProxyType({"isclose": "math:isclose"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How checks are run apart."""

    imports: tuple[str, ...] = ()
    """Lines of theirs that programs may rely on, as where both are one text."""
    judges: Mapping[str, str] = field(default_factory=dict)
    """Names that are the standard library's where the program has them."""
    called: tuple[str, ...] = ()
    """The program's names that they do nothing with but call: asked for together with the call."""
    entry: str = ""
    """The one of Python's own names that is the program's."""


def plan_checks(checks: str) -> Apart | str:
    """How checks are run apart from the program, or why they need it in their own process."""
    try:
        tree = ast.parse(checks)
        nodes = list(ast.walk(tree))
        return _reason(nodes) or _apart(checks, tree, nodes)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"no text of their own: {type(error).__name__}"


def _reason(nodes: list[ast.AST]) -> str:
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            return f"define the class {node.name}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            if other := _not_pure(node):
                return f"import {other}"
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _REACHING:
                return f"use {name}"
    return ""


def _not_pure(node: ast.Import | ast.ImportFrom) -> str:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    else:
        modules = ["." * node.level + (node.module or "")]
        if node.names[0].name == "*":
            return f"all of {modules[0]}"
    return next((name for name in modules if name.partition(".")[0] not in _PURE), "")


def _apart(checks: str, tree: ast.Module, nodes: list[ast.AST]) -> Apart | str:
    foreign = _foreign(checks)
    own = {name for name in foreign if hasattr(builtins, name)} - _ERRORS
    if used_with := _decides(nodes, foreign - own):
        return used_with
    is_of_own = foreign <= own | _ERRORS
    if is_of_own and len(own) > 1:
        return f"name nothing but {', '.join(sorted(own))}"
    asked = _names(node.value for node in nodes if isinstance(node, ast.Attribute))
    used = _names(node for node in nodes)
    called = _names(node.func for node in nodes if isinstance(node, ast.Call))
    modules = (foreign & set(asked) & sys.stdlib_module_names) - set(called)
    if modules - _PURE:
        return f"use {', '.join(sorted(modules - _PURE))}"
    lines = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return Apart(
        imports=tuple(ast.unparse(node) for node in lines),
        called=tuple(name for name in called if name in foreign and called[name] == used[name]),
        judges={**{name: name for name in modules}, **_JUDGES},
        entry=next(iter(own), "") if is_of_own else "",
    )


def _decides(nodes: list[ast.AST], foreign: set[str]) -> str:
    """How the checks leave a judgement to an object of the program's; empty where they do not.

    That it is an object, and no list that a function should have returned, is known by the name of
    a class: `Trie`, not `Find_Max`. What is never kept under a name may be either.
    """
    made = _names(name for node in nodes for name in _kept(node, foreign)).keys()
    for node in nodes:
        if isinstance(node, ast.With | ast.AsyncWith):
            return "use with"
        if isinstance(node, ast.Compare):
            pairs = zip(node.ops, node.comparators, strict=True)
            if any(isinstance(op, ast.In | ast.NotIn) and _is_one(one, made) for op, one in pairs):
                return "look into an object by in"
        elif isinstance(node, ast.BinOp):
            sides = (node.left, node.right)
            if any(map(_is_number, sides)) and any(_is_one(side, made) for side in sides):
                return "reckon with an object and a number"
    return ""


def _kept(node: ast.AST, foreign: Container[str]) -> list[ast.expr]:
    """Where a statement keeps what a class of the program's has made."""
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
        return []
    made = node.value.func if isinstance(node.value, ast.Call) else None
    name = made.id if isinstance(made, ast.Name) else "_"
    if name not in foreign or not name[0].isupper() or "_" in name:
        return []
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _is_one(node: ast.AST, names: Container[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _is_number(node: ast.expr) -> bool:
    found = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(found, ast.Constant) and isinstance(found.value, int | float | complex)


def _names(nodes: Iterable[ast.AST]) -> Counter[str]:
    return Counter(node.id for node in nodes if isinstance(node, ast.Name))


def _foreign(checks: str) -> set[str]:
    """The names that the checks use and do not define."""
    top = symtable.symtable(checks, "<checks>", "exec")
    made, used, tables = set[str](), set[str](), [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            is_global = table is top or symbol.is_global()
            if is_global and (symbol.is_assigned() or symbol.is_imported()):
                made.add(symbol.get_name())
            if is_global and symbol.is_referenced():
                used.add(symbol.get_name())
    return used - made
