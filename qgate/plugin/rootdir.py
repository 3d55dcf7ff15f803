"""Keeps a model directory from becoming pytest's project.

In `pytest --qgate DIR` pytest takes DIR for a test path before any plugin is loaded: its rootdir,
its configuration file and its cache would move into the model directory, and a `pytest.ini` that
came with a model would configure the run. `--qgate=DIR` has no such trouble. Here, before anything
is read from it, a configuration inside DIR is refused, and the project is found again without DIR.

pytest also imports the `conftest.py` of the working directory and of its `test*` subdirectories
before it collects anything: one that lies inside DIR is refused too.
"""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHECKLIST = Path(__file__).resolve().parents[1] / "checklist"
_TOO_LATE = ("addopts", "pythonpath", "required_plugins")
"""Keys of a configuration file that pytest has already acted on when plugins are asked."""


def settle(config: pytest.Config, paths: Iterable[str]) -> None:
    """Refuse a configuration inside the given paths; restore the project's own elsewhere.

    Args:
        config: as it is in `pytest_load_initial_conftests`.
        paths: the values of `--qgate`, as typed.

    Raises:
        pytest.UsageError: the run cannot be configured safely with this spelling.
    """
    homes = [_home(config.invocation_params.dir / path) for path in paths]
    inside = next((home for home in homes if _is_inside(config.inipath, home)), None)
    if inside is not None and _configures(config):
        raise pytest.UsageError(
            f"--qgate: {config.inipath}: a pytest configuration file inside the model directory:"
            f" got {config.inipath.name if config.inipath else ''}; expected none. Models do not"
            " configure pytest: write --qgate=DIR from another directory, or name yours with -c"
        )
    if _is_mistaken_for_a_test_path(config):
        _find_project_again(config)
    conftest = next((path for path in _initial_conftests(config) if _is_in_any(path, homes)), None)
    if conftest is not None and not config.known_args_namespace.noconftest:
        raise pytest.UsageError(
            f"--qgate: {conftest}: pytest would run this file: got a conftest.py inside the model"
            " directory; expected none where pytest starts. Run pytest from another directory"
        )
    _refuse_to_write_into(config, paths)


def _refuse_to_write_into(config: pytest.Config, paths: Iterable[str]) -> None:
    """Reports and pytest's cache go to where pytest is invoked: not into a model directory."""
    start = config.invocation_params.dir
    for path in paths:
        if (start / path).is_dir() and _is_inside(start, (start / path).resolve()):
            raise pytest.UsageError(
                f"--qgate: {path}: pytest was invoked inside the model directory: got {start};"
                " expected a directory that reports can be written to. Run it from another one"
            )


def _home(path: Path) -> Path:
    """The directory that pytest looks into for a path: that of a file is its parent."""
    resolved = path.resolve()
    return resolved.parent if resolved.is_file() else resolved


def _is_inside(path: Path | None, home: Path) -> bool:
    return path is not None and path.resolve().is_relative_to(home)


def _is_in_any(path: Path, homes: Iterable[Path]) -> bool:
    return any(_is_inside(path, home) for home in homes)


def _configures(config: pytest.Config) -> bool:
    """False for a pyproject.toml without a table for pytest, which marks a directory at most."""
    is_toml = config.inipath is not None and config.inipath.suffix == ".toml"
    return not is_toml or bool(getattr(config, _settings_name(config)))


def _settings_name(config: pytest.Config) -> str:
    """Where pytest keeps what it read: `_inicfg` since 9.0, where `inicfg` warns."""
    return "_inicfg" if "_inicfg" in vars(config) else "inicfg"


def _is_mistaken_for_a_test_path(config: pytest.Config) -> bool:
    """Whether a value of an option of ours stands alone, as in `--qgate DIR`."""
    known = vars(config.known_args_namespace)
    words = [*config.invocation_params.args, *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    values = [*known["qgate"], *(known[name] for name in known if name.startswith("qgate_"))]
    return any(value in words for value in values if isinstance(value, str))


def _initial_conftests(config: pytest.Config) -> Iterator[Path]:
    """The files that pytest imports next: see its `_set_initial_conftests`."""
    start = config.invocation_params.dir
    named = config.known_args_namespace.file_or_dir or config.getini("testpaths")
    anchors = [start / str(name).partition("::")[0] for name in named]
    for anchor in [path for path in anchors if path.exists()] or [start]:
        for directory in (anchor, *anchor.glob("test*"), *anchor.absolute().parents):
            if (directory / "conftest.py").is_file():
                yield directory / "conftest.py"


def _find_project_again(config: pytest.Config) -> None:
    found = _determine_setup(config)
    if found is None:
        raise pytest.UsageError(
            "--qgate: this pytest takes the model directory for the project."
            " Write --qgate=DIR, with the equals sign"
        )
    rootpath, inipath, settings = found
    if (rootpath, inipath) == (config.rootpath, config.inipath):
        return
    acted_on = [key for key in _TOO_LATE if key in settings]
    if inipath != config.inipath and acted_on:
        raise pytest.UsageError(
            f"--qgate: pytest took the model directory for the project and skipped {inipath}:"
            f" got its {', '.join(acted_on)} too late. Write --qgate=DIR, with the equals sign"
        )
    known: Any = config.known_args_namespace
    if known.confcutdir == str(_parent_or(config.inipath, config.rootpath)):  # pytest's own choice
        known.confcutdir = str(_parent_or(inipath, rootpath))
    private: Any = config
    private._rootpath, private._inipath = rootpath, inipath
    setattr(private, _settings_name(config), settings)
    private._inicache.clear()


def _parent_or(path: Path | None, other: Path) -> Path:
    return path.parent if path is not None else other


def _determine_setup(config: pytest.Config) -> tuple[Path, Path | None, Any] | None:
    """What pytest would have found had it known that DIR is no test path; None if it cannot say."""
    try:
        from _pytest.config.findpaths import determine_setup
    except ImportError:
        return None
    known: Any = config.known_args_namespace
    arguments = {
        "inifile": known.inifilename,
        "override_ini": getattr(known, "override_ini", None),
        "args": known.file_or_dir or [],
        "rootdir_cmd_arg": known.rootdir or None,
        "invocation_dir": config.invocation_params.dir,
    }
    accepted = inspect.signature(determine_setup).parameters
    if not accepted.keys() <= arguments.keys() or not hasattr(config, "_inicache"):
        return None
    found: Any = determine_setup(**{name: arguments[name] for name in accepted})
    return found[0], found[1], found[2]


def choose_tests(config: pytest.Config) -> None:
    """Without test paths the checklist runs and nothing else; its node ids can be pasted back."""
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        start = config.invocation_params.dir
        config.args = [_in_checklist(argument, start) or argument for argument in config.args]
        return
    config.args = [str(CHECKLIST)]
    for names, pattern in (("python_files", "test_*.py"), ("python_functions", "test_*")):
        config.addinivalue_line(names, pattern)


def _in_checklist(argument: str, start: Path) -> str | None:
    """`test_perplexity.py::test_ratio[...]` as pytest prints it for an installed checklist."""
    name, separator, rest = argument.partition("::")
    path = CHECKLIST / Path(name).name
    if (start / name).exists():  # a team's own file of that name
        return None
    # from a subdirectory of the project pytest prints it with `../` before it
    if set(Path(name).parts[:-1]) - {".."} or not path.is_file():
        return None
    return f"{path}{separator}{rest}"
