"""Whether a task runs what the model writes: known before any of the task's code is imported.

What a task's YAML names with `!function` is imported while it is resolved. lm-eval marks some tasks
with `unsafe_code`; others (cruxeval, countdown of longproc) call `exec` and `eval` on answers and
bear no mark, so that the modules are looked at. Only `code_eval` can be sandboxed.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.measure.tasks.lm_eval.code import CODE_EVAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.measure.tasks.lm_eval.settings import HarnessSettings

_CALLS = frozenset({"exec", "eval", "compile", "__import__", "Popen"})
_METHODS = frozenset({"system", "popen"})
_MODULES = frozenset({"subprocess", "pty"})


def check_code(raw: Mapping[str, Any], settings: HarnessSettings) -> None:
    """Refuse a task that runs code where it was not allowed, or where no sandbox would hold it.

    A module of the user's own is taken at its word.

    Args:
        raw: the configuration, with functions as the names of theirs.
        settings: what is allowed.

    Raises:
        ThresholdsError: it runs code.
    """
    modules = {_module(name) for name in _functions(raw)}
    own = [path for module in modules for path in _beside(module)]
    for path in own:
        if what := runs_by_itself(path):
            raise settings.error(
                f"the task runs code by itself ({path.name} uses {what}): expected one that does so"
                f" through {CODE_EVAL}, which can be sandboxed. Name another task"
            )
    uses_metric = CODE_EVAL in str(raw.get("metric_list")) or any(
        CODE_EVAL in module.read_text("utf-8", "replace") for module in modules if module.is_file()
    )
    if not uses_metric and not raw.get("unsafe_code"):
        return
    if settings.runner is None:
        raise settings.error(
            "the task runs the code that the model writes: got no code_execution; expected"
            " code_execution: sandbox"
        )
    if not uses_metric:
        raise settings.error(
            "the task says unsafe_code and none of its modules uses code_eval: expected one that"
            " does, which can be sandboxed. Name another task"
        )


def _module(name: str) -> Path:
    """The file of a function, beside the YAML or in lm-eval."""
    import lm_eval

    path = Path(name)
    dotted, _, _ = path.name.rpartition(".")
    inside = f"{dotted.replace('.', '/')}.py"
    beside = path.parent / inside
    return beside if beside.is_file() else Path(lm_eval.__file__).parents[1] / inside


def _beside(module: Path) -> list[Path]:
    """Modules of lm-eval's that the named one may import; none of the user's own."""
    import lm_eval

    is_of_lm_eval = module.resolve().is_relative_to(Path(lm_eval.__file__).resolve().parent)
    return sorted(module.parent.glob("*.py")) if is_of_lm_eval and module.is_file() else []


def _functions(value: object) -> Iterator[str]:
    """What an unresolved `!function` became: the path of its directory and `module.name`."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _functions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _functions(inner)
    elif isinstance(value, str) and value.startswith("/") and "\n" not in value:
        yield value


def runs_by_itself(path: Path) -> str:
    """What in a module runs code or programs; empty where nothing does."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in _CALLS:
                return called.id
            if isinstance(called, ast.Attribute) and called.attr in _METHODS:
                return called.attr
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in _MODULES:
                    return alias.name
        elif isinstance(node, ast.ImportFrom) and node.module in _MODULES:
            return node.module
    return ""
