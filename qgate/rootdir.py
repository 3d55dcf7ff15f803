"""Keeps a model directory from becoming pytest's project.

In `pytest --qgate DIR` pytest takes DIR for a test path before any plugin is loaded: its rootdir,
its configuration file and its cache would move into the model directory, and a `pytest.ini` that
came with a model would configure the run. `--qgate=DIR` has no such trouble. Here, before anything
is read from it, a configuration inside DIR is refused, and the project is found again without DIR.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

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
    if inside is not None:
        raise pytest.UsageError(
            f"--qgate: {config.inipath}: a pytest configuration file inside the model directory:"
            f" got {config.inipath.name if config.inipath else ''}; expected none. Models do not"
            " configure pytest: write --qgate=DIR from another directory, or name yours with -c"
        )
    if any(_is_inside(config.rootpath, home) for home in homes) or _is_displaced(config):
        _find_project_again(config)


def _home(path: Path) -> Path:
    """The directory that pytest looks into for a path: that of a file is its parent."""
    resolved = path.resolve()
    return resolved if resolved.is_dir() else resolved.parent


def _is_inside(path: Path | None, home: Path) -> bool:
    return path is not None and path.resolve().is_relative_to(home)


def _is_displaced(config: pytest.Config) -> bool:
    return config.rootpath not in (
        config.invocation_params.dir,
        *config.invocation_params.dir.parents,
    )


def _find_project_again(config: pytest.Config) -> None:
    found = _determine_setup(config)
    if found is None:
        raise pytest.UsageError(
            "--qgate: this pytest takes the model directory for the project."
            " Write --qgate=DIR, with the equals sign"
        )
    rootpath, inipath, settings = found
    acted_on = [key for key in _TOO_LATE if key in settings]
    if inipath != config.inipath and acted_on:
        raise pytest.UsageError(
            f"--qgate: pytest took the model directory for the project and skipped {inipath}:"
            f" got its {', '.join(acted_on)} too late. Write --qgate=DIR, with the equals sign"
        )
    private: Any = config
    private._rootpath, private._inipath, private._inicfg = rootpath, inipath, settings
    private._inicache.clear()


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
