"""The contributors' page names files, functions and commands that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
FILE = re.compile(r"`((?:\w+/)*\w+\.py)`")
FUNCTION = re.compile(r"`((?:\w+/)*\w+\.py)`\s+`([A-Za-z_][\w.]*)`")


def place_of(name: str) -> Path | None:
    places = (ROOT / name, ROOT / "qgate" / name)
    return next((place for place in places if place.is_file()), None)


def names_in(path: Path) -> set[str]:
    """Functions, classes, methods as `Class.method`, and what the module assigns."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{one.name}" for one in node.body if hasattr(one, "name")}
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_file_that_is_named_exists() -> None:
    named = {
        name for name in FILE.findall(PAGE) if name not in ("adapter.py", "spec.py", "utils.py")
    }
    assert len(named) > 25
    assert sorted(name for name in named if place_of(name) is None) == []


def test_every_function_that_is_named_is_in_its_file() -> None:
    pairs = FUNCTION.findall(PAGE)
    assert len(pairs) > 15
    wrong = [
        f"{name}: {function}"
        for name, function in pairs
        if (path := place_of(name)) is None or function not in names_in(path)
    ]
    assert wrong == []


def test_every_folder_of_the_package_has_its_line() -> None:
    folders = {path.name for path in (ROOT / "qgate").iterdir() if (path / "__init__.py").is_file()}
    assert sorted(name for name in folders - {"demo"} if f"`{name}/`" not in PAGE) == []
