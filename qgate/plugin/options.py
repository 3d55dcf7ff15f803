"""The command line and its ini twins; nothing else in the project spells an option's name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from qgate.errors import UsageError
from qgate.planning.options import RunOptions
from qgate.reference.store import DEFAULT_GIB
from qgate.runtimes.confined.mode import MODES, Mode

if TYPE_CHECKING:
    import pytest

DEFAULT_REPORT = ".qgate/report.json"
DEFAULT_STORE = ".qgate"

_VALUES = {
    "qgate_reference": ("PATH", "The reference; default: the unquantized model in or beside PATH"),
    "qgate_thresholds": ("FILE", "Limits as YAML; inherits the shipped thresholds/default.yaml"),
    "qgate_effort": ("NAME", "How much may be asked: quick, standard (default) or thorough"),
    "qgate_runtime": ("NAME", "Serve every artifact with this runtime instead of the fitting one"),
    "qgate_json": ("FILE", f"Where the report goes; default: {DEFAULT_REPORT}"),
    "qgate_store": (
        "DIR",
        f"Where measurements are kept; default: QGATE_STORE, else {DEFAULT_STORE}",
    ),
    "qgate_mlflow_uri": ("URI", "MLflow store; default: MLFLOW_TRACKING_URI, else embedded SQLite"),
}
_SWITCHES = {
    "qgate_strict": "Rows that are skipped, deselected or otherwise missing fail the run; for CI",
    "qgate_trust_remote_code": "Allow code that comes with an artifact",
}
_VLLM_PYTHON = "qgate_vllm_python"
_STORE_GIB = "qgate_store_gib"
_CONFINE = "qgate_confine"
_CHECKS = "qgate_checks"
_SCORERS = "qgate_scorers"
_STORE_VARIABLE = "QGATE_STORE"


def add_options(parser: pytest.Parser) -> None:
    """Declare the options and their ini twins."""
    group = parser.getgroup("qgate", "quantized model gate (qgate)")
    group.addoption(
        "--qgate",
        action="append",
        default=[],
        dest="qgate",
        metavar="PATH",
        help="Gate the artifacts at PATH: a .gguf file, a model directory, or a directory of them",
    )
    for name, (metavar, text) in _VALUES.items():
        flag = "--" + name.replace("_", "-")
        group.addoption(flag, dest=name, metavar=metavar, default=None, help=text)
        parser.addini(name, text, type="string", default="")
    parser.addini(
        _VLLM_PYTHON,
        "Python interpreter that has vLLM, where no thresholds file names one; relative to this"
        " file",
        type="string",
        default="",
    )
    parser.addini(
        _STORE_GIB,
        f"So many GiB of measurements are kept, then the least used go; default: {DEFAULT_GIB:g}",
        type="string",
        default="",
    )
    parser.addini(
        _CONFINE,
        "Whether children that load models are confined: auto (default), require or off",
        type="string",
        default="",
    )
    parser.addini(
        _CHECKS,
        "Checks of this project, as module:name of a qgate.Check or a tuple of them; one a line",
        type="linelist",
        default=[],
    )
    for name, text in _SWITCHES.items():
        flag = "--" + name.replace("_", "-")
        group.addoption(flag, dest=name, action="store_true", default=None, help=text)
        parser.addini(name, text, type="bool", default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(RunOptions):
    """What the user asked for; every path is absolute.

    Against the invocation directory; where the project's ini file says it, against that file's.
    """

    json: Path
    mlflow_uri: str | None
    strict: bool
    store: Path | None
    """Where measurements are kept; None: in `.qgate` of the directory."""
    store_gib: float
    confine: Mode

    @classmethod
    def from_config(cls, config: pytest.Config) -> Options:
        """Read them.

        Raises:
            UsageError: the interpreter for vLLM is none, the store is no directory, or confining is
                neither asked for nor refused.
        """
        directory = config.invocation_params.dir
        return cls(
            paths=tuple(directory / path for path in config.getoption("qgate")),
            reference=_path(config, "qgate_reference"),
            thresholds=_path(config, "qgate_thresholds"),
            runtime=_value(config, "qgate_runtime"),
            effort=_value(config, "qgate_effort"),
            json=_path(config, "qgate_json") or directory / DEFAULT_REPORT,
            mlflow_uri=_value(config, "qgate_mlflow_uri"),
            strict=bool(_value(config, "qgate_strict")),
            trust_remote_code=bool(_value(config, "qgate_trust_remote_code")),
            pythons={"vllm": vllm} if (vllm := _interpreter(config, _VLLM_PYTHON)) else {},
            checks=tuple(config.getini(_CHECKS)),
            scorers=_scorers(config),
            store=_store(config),
            store_gib=_store_gib(config),
            confine=_confine(config),
            directory=directory,
        )


def of_project() -> tuple[tuple[str, ...], dict[str, object], Mode]:
    """The project's own checks and scorers, of its ini file, `conftest.py` and plugins; `confine`.

    As pytest finds them from this directory; a plugin that `addopts` names with -p is not loaded.

    Raises:
        UsageError: pytest cannot be configured here, or confining is neither asked for nor refused.
    """
    import pytest

    try:
        # qgate is imported already: no matter of a project with `filterwarnings = error`
        quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
        config = pytest.Config.fromdictargs({}, ["--capture=no", *quiet])
        checks = tuple(config.getini(_CHECKS))
    # whatever a project's own conftest.py raises, pytest.skip and sys.exit too
    except (Exception, pytest.skip.Exception, pytest.exit.Exception, SystemExit) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"pytest cannot be started here: {said}. Type pytest --collect-only to see why"
        ) from error
    return checks, _scorers(config), _confine(config)


def _scorers(config: pytest.Config) -> dict[str, object]:
    """Those that a `conftest.py` or a plugin module names: a dictionary `qgate_scorers`."""
    found: dict[str, object] = {}
    files: dict[str, str] = {}
    for _, plugin in config.pluginmanager.list_name_plugin():
        named = vars(plugin).get(_SCORERS, {}) if isinstance(plugin, ModuleType) else {}
        file = str(getattr(plugin, "__file__", plugin))
        if not isinstance(named, Mapping):
            raise UsageError(
                f"{file}: {_SCORERS}: got {type(named).__name__}; expected a dictionary"
                " of names and functions"
            )
        for name, function in named.items():
            if found.get(name, function) is not function:
                raise UsageError(
                    f"{file}: {_SCORERS}: got {name}, which {files[name]} names too; expected one"
                    " function by that name. Rename one of them"
                )
            found[name], files[name] = function, file
    return found


def _value(config: pytest.Config, name: str) -> Any:  # noqa: ANN401 - str or bool by declaration
    given = config.getoption(name)
    return given if given is not None else (config.getini(name) or None)


def _path(config: pytest.Config, name: str) -> Path | None:
    given = _value(config, name)
    if not given:
        return None
    if config.getoption(name) is not None:
        return config.invocation_params.dir / str(given)
    return _beside_ini(config, str(given))


def _store(config: pytest.Config) -> Path | None:
    """The command line's directory, else that of the environment, else that of the ini file."""
    option, variable = config.getoption("qgate_store"), os.environ.get(_STORE_VARIABLE)
    given, where = option, "--qgate-store"
    if option is None and variable:
        given, where = variable, _STORE_VARIABLE
    if given is None:
        given, where = str(config.getini("qgate_store") or ""), "qgate_store"
    if not given:
        return None
    if "://" in given:
        raise UsageError(
            f"{where}: got {given!r}; expected a directory: no store is reached by an address yet."
            " Name a directory, which may be a mounted one"
        )
    start = _beside_ini(config, "") if where == "qgate_store" else config.invocation_params.dir
    try:
        return start / Path(given).expanduser()
    except RuntimeError as error:  # no home, or nobody of that name
        raise UsageError(f"{where}: got {given!r}; {error}. Name the directory in full") from error


def _store_gib(config: pytest.Config) -> float:
    given = str(config.getini(_STORE_GIB) or "")
    try:
        size = float(given or DEFAULT_GIB)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise UsageError(f"{_STORE_GIB}: got {given!r}; expected a number of GiB above 0")
    return size


def _confine(config: pytest.Config) -> Mode:
    given = str(config.getini(_CONFINE) or MODES[0])
    for mode in MODES:
        if given == mode:
            return mode
    raise UsageError(f"{_CONFINE}: got {given!r}; expected {', '.join(MODES[:-1])} or {MODES[-1]}")


def _interpreter(config: pytest.Config, name: str) -> Path | None:
    """What the ini file alone says; a virtual environment's link is left as it is."""
    given = str(config.getini(name) or "")
    if not given:
        return None
    path = _beside_ini(config, given)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise UsageError(
            f"{name}: got {given!r}; expected an executable file, absolute or relative to the ini"
            " file. Name the python of the environment that vLLM is installed in"
        )
    return path


def _beside_ini(config: pytest.Config, given: str) -> Path:
    inipath = config.inipath
    start: Path = inipath.parent if inipath is not None else config.invocation_params.dir
    return start / given
