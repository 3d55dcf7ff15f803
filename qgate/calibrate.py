"""`python -m qgate.calibrate DIR`: the noise floor of this machine and runtime.

The original is run against itself, the second time in another batch order. What differs then is
nobody's damage: flips of right and wrong, perplexity, latency. It goes to `.qgate/noise.json`, one
entry for each original and runtime.

Exit codes: 0 measured and written; 2 it could not be, with the reason in one line.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.artifacts import beside, choose_reference, discover
from qgate.checks import own_checks
from qgate.errors import QGateError, UsageError
from qgate.gate.measurer import Measurer
from qgate.gate.processes import RunSettings
from qgate.gate.progress import ProgressLine
from qgate.gate.signals import interrupt_on_termination
from qgate.planning.noise_floor import FILE, Noise, Original, read_noise, to_json
from qgate.planning.plan import plan_models
from qgate.planning.runtime_choice import RuntimeChoice
from qgate.report import provenance as environment
from qgate.report.report_file import check_writable, write_json
from qgate.report.text import escape_line
from qgate.runtimes import find_spec, selection
from qgate.runtimes import options as options_of_runtimes
from qgate.thresholds import Thresholds, load_thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import Artifact
    from qgate.runtimes.host import ProgressSink

_NAME = "python -m qgate.calibrate"
_FAILED = 2
_INTERRUPTED = 130
_MACHINE = ("platform", "cpu", "ram_bytes", "python", "qgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user typed."""

    path: Path
    reference: Path | None
    thresholds: Path | None
    runtime: str | None
    json: Path
    trust_remote_code: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_FAILED, f"{self.prog}: {message}\n")


def _make_parser(prog: str) -> _Parser:
    parser = _Parser(
        prog=prog,
        allow_abbrev=False,
        description="Measure what the original differs from itself by, on this machine.",
    )
    parser.add_argument("path", type=Path, metavar="DIR", help="as for pytest --qgate")
    parser.add_argument("--reference", type=Path, metavar="PATH", help="the original")
    parser.add_argument("--thresholds", type=Path, metavar="FILE", help="tasks and settings")
    parser.add_argument("--runtime", metavar="NAME", help="what serves it; default: what fits")
    parser.add_argument("--json", type=Path, metavar="FILE", default=FILE, help=f"default: {FILE}")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="allow code that comes with the model"
    )
    return parser


def main(arguments: list[str] | None = None, prog: str = _NAME) -> int:
    """Measure what the command line asks for.

    Args:
        arguments: of the command line; None: of this process.
        prog: what the command is called in its messages.
    """
    asked = Asked(**vars(_make_parser(prog).parse_args(arguments)))
    undo_signals = interrupt_on_termination()
    try:
        lines = calibrate(asked, Path.cwd())
    except QGateError as error:
        return _fail(prog, _in_own_words(str(error)), _FAILED)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted; no noise floor was written", _INTERRUPTED)
    finally:
        undo_signals()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _fail(prog: str, reason: str, code: int) -> int:
    sys.stderr.writelines(f"{prog}: {escape_line(line)}\n" for line in reason.splitlines())
    return code


def _in_own_words(message: str) -> str:
    """A message in which the options are those of this command: the plugin's without `qgate-`."""
    return message.removeprefix("--qgate: ").replace("--qgate-", "--")


def calibrate(asked: Asked, directory: Path) -> list[str]:
    """Measure, write, and return what to show.

    Args:
        asked: what to measure.
        directory: where the command was started; stores lie in its `.qgate`.

    Raises:
        QGateError: whatever kept it from being measured or written.
    """
    started = time.monotonic()
    thresholds = load_thresholds(
        asked.thresholds, directory, runtimes=options_of_runtimes(), checks=own_checks()
    )
    original = find_original(asked)
    _refuse_to_write_into(asked.path, directory)
    runtime = choose_runtime(original, thresholds, asked.runtime)
    check_writable(asked.json)
    read_noise(asked.json)  # one that is no such file is told before minutes of work, not after
    noise = _measure(original, as_the_original_is(thresholds, runtime), directory)
    noise = dataclasses.replace(noise, seconds=round(time.monotonic() - started, 1))
    write_json(to_json(read_noise(asked.json).with_newest(noise)), asked.json)

    from qgate.cli.calibration.rendering import render

    return [*render(noise), "", f"noise: {escape_line(str(asked.json))}"]


def find_original(asked: Asked) -> Artifact:
    """The original at, in or beside the path, or the one that was named.

    Raises:
        UsageError: there is none, or several could be it.
    """
    found = discover([asked.path], trusts_code=asked.trust_remote_code)
    if asked.reference is not None:
        (named, *others) = discover([asked.reference], trusts_code=asked.trust_remote_code)
        if others or named.problem:
            raise UsageError(
                f"--reference: {asked.reference}: got"
                f" {named.problem or f'{len(others) + 1} artifacts'}; expected one original"
            )
        return named
    near = beside([asked.path], trusts_code=asked.trust_remote_code)
    original = choose_reference(found, None) or choose_reference(near, None, gated=found)
    if original is None:
        problem = next((artifact.problem for artifact in found if artifact.problem), None)
        raise UsageError(
            f"{asked.path}: no original: got {problem or 'quantized models only'}; expected an"
            " unquantized one in or beside it. Name one with --reference PATH"
        )
    return original


def _refuse_to_write_into(path: Path, directory: Path) -> None:
    if path.is_dir() and directory.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"{path}: started inside the model directory: got {directory}; expected a directory"
            " that can be written to. Start it from another one"
        )


def choose_runtime(original: Artifact, thresholds: Thresholds, named: str | None) -> str:
    """The one that was named, else that in which the gate serves the original.

    Raises:
        QGateError: there is no such runtime, or it does not read the original.
    """
    choosing = RuntimeChoice.of(thresholds, None, os.environ)
    if named is not None:
        return selection.choose(original, named, choosing.machine, "--runtime").name
    return choosing.choose_for_reference(original)


def as_the_original_is(thresholds: Thresholds, runtime: str) -> Thresholds:
    """The same for a run in which both sides are the original: its options are those of both.

    Raises:
        UsageError: the runtime is a server, and none is known that holds the original.
    """
    section = thresholds.runtimes.get(runtime)
    options = dict(section.options) if section else {}
    if find_spec(runtime).is_remote and "reference_url" not in options:
        raise UsageError(
            f"runtimes.{runtime}: no server for the reference: got no reference_url, and url is the"
            " artifact's; expected reference_url beside it. Name another one with --runtime NAME"
        )
    meant = {name: value for name, value in options.items() if name.startswith("reference_")}
    options.update({name.removeprefix("reference_"): value for name, value in meant.items()})
    runtimes = dict(thresholds.runtimes)
    if section:
        runtimes[runtime] = dataclasses.replace(section, options=options)
    settings = thresholds.runtime.model_copy(update={"name": runtime, "reference": None})
    return dataclasses.replace(thresholds, runtime=settings, runtimes=runtimes)


def _measure(original: Artifact, thresholds: Thresholds, directory: Path) -> Noise:
    from qgate.cli.calibration.estimating import estimate
    from qgate.cli.calibration.measuring import measure

    twin = dataclasses.replace(original, id=f"{original.id} (second run)")
    unlimited = dataclasses.replace(thresholds, layers=())  # so that all is asked
    plan = plan_models([twin], original, unlimited, directory, runtime=thresholds.runtime.name)
    # noise is what differs when the same is asked again
    measurer = Measurer(
        RunSettings(plan=plan, probes=plan.probes, progress=_progress, recalls=False)
    )
    described: dict[str, Any] = environment.describe(os.environ, directory)
    try:
        runs = measure(measurer, plan)
    finally:
        measurer.children.close()
    return estimate(
        runs,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        original=Original(
            id=original.id,
            digest=measurer.children.digest(original),
            size_bytes=original.size_bytes,
        ),
        thresholds=tuple({"path": file.shown, "digest": file.digest} for file in thresholds.files),
        machine={name: described[name] for name in _MACHINE},
        seconds=0.0,
    )


@contextlib.contextmanager
def _progress(subject: str) -> Iterator[ProgressSink]:
    """A live line on a terminal, one every half minute in a log."""

    def write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    width = shutil.get_terminal_size().columns
    line = ProgressLine(write, is_terminal=sys.stderr.isatty(), width=width)
    line.begin(subject)
    try:
        yield line.step
    finally:
        line.end()


if __name__ == "__main__":
    sys.exit(main())
