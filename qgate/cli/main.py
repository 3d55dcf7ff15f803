"""`qgate COMMAND`, the same as `python -m qgate COMMAND`: what can be done beside a test run.

    qgate demo [DIR]                        make a small model and quantized variants to try it on
    qgate init DIR                          write a thresholds file and a workflow for its artifacts
    qgate doctor                            what is installed, which formats can be served here
    qgate show [ROW|ARTIFACT]               read a report: its table, rows in words, the damage
    qgate verify REPORT [--artifact PATH]   decide over a report: 0 only where all holds
    qgate summary REPORT                    show it in GitHub Actions; decides nothing
    qgate upload REPORT [--uri URI]         send it to MLflow, again if need be
    qgate calibrate DIR                     measure the noise floor of this machine
    qgate schema                            the JSON schema of thresholds files

Exit codes: 0 done or holds; 1 not uploaded or does not hold; 4 a wrong argument or report, or what
could not be made or measured; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import QGateError, ThresholdsError, require_own_package
from qgate.report.text import escape_line

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = 4
"""pytest's exit code for a usage error; argparse's 2 is pytest's word for interrupted."""
_REFUSED = 2
"""What `python -m qgate.demo` exits with for the same."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - argparse's
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None, prog: str = "qgate") -> int:
    """Run one command and return the exit code.

    Args:
        arguments: of the command line; None: of this process.
        prog: what the program is called in its messages.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        require_own_package()
        if arguments[:1] == ["demo"]:
            return _run_demo(list(arguments[1:]), f"{prog} demo")
        options = _make_parser(prog).parse_args(arguments)
        # a command is a module of its own, and a function in it
        module = import_module(f"qgate.cli.{options.command}")
        code: int = getattr(module, f"run_{options.command}")(options)
    except ThresholdsError as error:  # a line for each mistake
        return _fail(*str(error).splitlines())
    except QGateError as error:
        return _fail(str(error))
    except FileNotFoundError:
        from qgate.report.session_files import has_working_directory

        if has_working_directory():
            raise
        return _fail(f"{prog}: the working directory was deleted. Run it in another one")
    return code


def _fail(*lines: str) -> int:
    sys.stderr.writelines(f"{escape_line(line)}\n" for line in lines)
    return USAGE


def _make_parser(prog: str) -> _Parser:
    from qgate import __version__

    parser = _Parser(
        prog=prog,
        description="Is this quantized artifact still the model we had? The gate itself is a"
        " pytest run: pytest --qgate=DIR",
    )
    parser.add_argument("--version", action="version", version=f"qgate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("demo", help="make a small model and quantized variants to try it on")
    _add_init(commands)
    commands.add_parser("doctor", help="what is installed, which formats can be served here")
    _add_readers(commands)
    upload = commands.add_parser("upload", help="send a report to MLflow")
    upload.add_argument("report", type=Path, metavar="REPORT")
    upload.add_argument(
        "--uri",
        help="default: MLFLOW_TRACKING_URI, else where the report was meant for, else .qgate",
    )
    _add_calibrate(commands)
    commands.add_parser("schema", help="the JSON schema of thresholds files")
    return parser


def _add_readers(commands: argparse._SubParsersAction[_Parser]) -> None:
    """The commands that read a finished report."""
    show = commands.add_parser(
        "show", help="read a report: its table, rows in words, where the damage is"
    )
    show.add_argument(
        "names",
        nargs="*",
        metavar="ROW|ARTIFACT",
        help="an artifact's rows in words, a row of every artifact, or a row of one artifact",
    )
    show.add_argument(
        "--report",
        type=Path,
        default=Path(".qgate/report.json"),
        metavar="PATH",
        help="%(default)s",
    )
    verify = commands.add_parser("verify", help="decide over a report")
    verify.add_argument("report", type=Path, metavar="REPORT")
    verify.add_argument(
        "--artifact",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a model that the report must be about, by digest; repeatable",
    )
    summary = commands.add_parser(
        "summary",
        help="write a report's table, annotations and outputs for GitHub Actions",
    )
    summary.add_argument("report", type=Path, metavar="REPORT")


def _add_init(commands: argparse._SubParsersAction[_Parser]) -> None:
    init = commands.add_parser("init", help="write a thresholds file and a workflow for artifacts")
    init.add_argument("directory", type=Path, metavar="DIR", help="as for pytest --qgate")
    init.add_argument("--reference", type=Path, metavar="PATH", help="the unquantized model")
    init.add_argument(
        "--thresholds",
        type=Path,
        metavar="FILE",
        default=Path("qgate.yaml"),
        help="the file to write; default: qgate.yaml",
    )


def _add_calibrate(commands: argparse._SubParsersAction[_Parser]) -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="measure the noise floor of this machine",
        description="Measure what the reference differs from itself by, on this machine.",
    )
    calibrate.add_argument("path", type=Path, metavar="DIR", help="as for pytest --qgate")
    calibrate.add_argument("--reference", type=Path, metavar="PATH", help="the reference")
    calibrate.add_argument("--thresholds", type=Path, metavar="FILE", help="tasks and settings")
    calibrate.add_argument("--runtime", metavar="NAME", help="what serves it; default: what fits")
    calibrate.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="default: .qgate/noise.json, where the gate looks for it",
    )
    calibrate.add_argument(
        "--trust-remote-code", action="store_true", help="allow code that comes with the model"
    )


def _run_demo(arguments: list[str], prog: str) -> int:
    """It has a parser of its own, for it is a module with a command line, too."""
    from qgate.demo.__main__ import main as make_demo

    try:
        code = make_demo(arguments, prog)
    except SystemExit as end:  # argparse's, for --help or a wrong argument
        code = end.code if isinstance(end.code, int) else 0
    return USAGE if code == _REFUSED else code
