"""The rules that keep the code readable, as tests: who imports whom, and how long things are."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "qgate"
LAYERS = (
    ("errors", "records", "checks"),
    ("verdict", "stats", "untrusted", "confinement"),
    ("thresholds", "report"),
    ("artifacts",),
    ("runtimes", "sandbox"),
    ("reference",),
    ("measure",),
    ("planning",),
    ("gate",),
    ("plugin", "checklist", "cli", "calibrate"),
    ("__main__",),
)
"""A part may import its own layer and those above it in this table."""
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}
ONLY_IN = {
    "pytest": ("plugin", "checklist", "runtimes/testing.py"),
    "_pytest": ("plugin/rootdir.py",),
    "xdist": ("plugin/xdist.py",),
    "mlflow": ("report/mlflow/runs.py", "report/mlflow/sqlite_store.py"),
    "llama_cpp": ("runtimes/llama_cpp/adapter.py",),
    "matplotlib": ("report/plots.py",),
    "yaml": ("thresholds",),
    "torch": ("runtimes/torch_memory.py", "runtimes/transformers/*.py", "runtimes/vllm/*.py"),
    "transformers": ("runtimes/transformers/*.py",),
    "vllm": ("runtimes/vllm/*.py",),
    "scipy": ("stats",),
    "pydantic": ("thresholds", "artifacts/hf/quantize_at_load.py"),
}
"""Packages, and the parts or files that may import them; demo may import what it likes."""
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 45
NO_ROOMS = ("utils", "util", "helpers", "common", "misc")

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def part_of(path: Path) -> str:
    """The file or directory right below qgate/."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, at module level, in functions or for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(tree: ast.AST) -> Iterator[str]:
    for name in imports(tree):
        if name.startswith("qgate."):
            yield name.split(".")[1]


def is_for_types(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def without_types(tree: ast.Module) -> ast.Module:
    """The module without what only a type checker reads."""
    body = [node for node in tree.body if not is_for_types(node)]
    return ast.Module(body=body, type_ignores=[])


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in FILES} - {"__init__", "demo"}
    assert parts == set(LEVELS)


def test_imports_point_to_lower_layers_only() -> None:
    upward = [
        f"{shown(path)} imports qgate.{imported}"
        for path, tree in TREES.items()
        if part_of(path) not in ("demo", "__init__")
        for imported in parts_imported(without_types(tree))
        if imported in LEVELS and LEVELS[imported] > LEVELS[part_of(path)]
    ]
    assert upward == []


def test_judging_and_reporting_call_no_runtime() -> None:
    """Rows are judged by samples that are there: nothing is measured for a verdict."""
    wrong = [
        f"{shown(path)} imports {name}"
        for path, tree in TREES.items()
        if part_of(path) in ("verdict", "stats", "report") or path.match("gate/row.py")
        for name in imports(without_types(tree))
        if name.startswith(("qgate.runtimes", "qgate.gate.measurer", "qgate.gate.processes"))
    ]
    assert wrong == []


def modules() -> dict[str, Path]:
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES)
    return dict(zip((name.removesuffix(".__init__") for name in names), FILES, strict=True))


def modules_imported(tree: ast.Module, known: Container[str]) -> Iterator[str]:
    """The project's modules; `from package import name` is the module, or the package."""
    for name in imports(without_types(tree)):
        if name in known:
            yield name
        elif (package := name.rpartition(".")[0]) in known:
            yield package


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {
        name: {other for other in modules_imported(TREES[path], known) if other != name}
        for name, path in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_nobody_but_the_command_line_imports_the_demo() -> None:
    wrong = [
        shown(path)
        for path, tree in TREES.items()
        if part_of(path) not in ("demo", "cli") and "demo" in parts_imported(tree)
    ]
    assert wrong == []


def test_nothing_in_the_wheel_imports_what_is_left_out_of_it() -> None:
    left_out = PACKAGE / "demo" / "training"
    wrong = [
        shown(path)
        for path, tree in TREES.items()
        if not path.is_relative_to(left_out)
        and any(name.startswith("qgate.demo.training") for name in imports(tree))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_only_where_it_belongs(package: str) -> None:
    wrong = [
        shown(path)
        for path, tree in TREES.items()
        if part_of(path) != "demo"
        and package in {name.partition(".")[0] for name in imports(tree)}
        and part_of(path) not in ONLY_IN[package]
        and not any(path.relative_to(PACKAGE).match(pattern) for pattern in ONLY_IN[package])
    ]
    assert wrong == []


def test_files_and_functions_are_short() -> None:
    files = [
        f"{shown(path)}: {count} lines"
        for path in FILES
        if (count := len(path.read_text().splitlines())) > MAX_FILE_LINES
    ]
    functions = [
        f"{shown(path)}:{node.lineno}: {node.name}: {count} lines"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and (count := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert files + functions == []


def test_no_room_is_for_odds_and_ends() -> None:
    assert [shown(path) for path in PACKAGE.rglob("*") if path.stem in NO_ROOMS] == []


def test_nothing_prints() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert wrong == []


MUTABLE = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)


def test_public_tables_cannot_be_changed() -> None:
    """Of the package; the demo is a script that nobody imports."""
    wrong = [
        f"{shown(path)}:{node.lineno}: {name}"
        for path, tree in TREES.items()
        if part_of(path) != "demo"
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, MUTABLE)
        for name in names_assigned(node)
        if not name.startswith("_")
    ]
    assert wrong == []


def names_assigned(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]
