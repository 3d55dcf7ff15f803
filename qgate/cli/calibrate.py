"""`qgate calibrate DIR`: the noise floor of this machine and runtime.

The gate measures the reference as if it were an artifact, held against itself, in another batch
order. What differs then is nobody's damage: flips of right and wrong, perplexity, latency. It goes
to `.qgate/noise.json`, one entry for each reference and runtime.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qgate import artifacts, runtimes
from qgate.artifacts.selection import discover_reference
from qgate.checks import own_checks
from qgate.errors import QGateError, UsageError, reworded
from qgate.gate.confining import confine
from qgate.gate.processes import RunSettings
from qgate.gate.progress import ProgressLine
from qgate.gate.signals import interrupt_on_termination
from qgate.planning.noise_floor import FILE, Noise, Reference, read_noise, to_json
from qgate.planning.plan import plan_models
from qgate.planning.runtime_choice import OF_THE_REFERENCE, RuntimeChoice
from qgate.plugin.options import of_project
from qgate.reference.store import require_usable
from qgate.report import provenance
from qgate.report.report_file import check_writable, write_json
from qgate.report.text import escape_line
from qgate.runtimes import selection
from qgate.thresholds import Thresholds, load_thresholds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from qgate.records import Artifact
    from qgate.runtimes.confined.mode import Mode
    from qgate.runtimes.host import ProgressSink

_INTERRUPTED = 130
_MACHINE = ("platform", "cpu", "ram_bytes", "python", "qgate")


def run_calibrate(options: argparse.Namespace) -> int:
    """Measure, write, and show what was found.

    Raises:
        QGateError: whatever kept it from being measured or written.
    """
    undo_signals = interrupt_on_termination()
    try:
        lines = _calibrate(options, Path.cwd())
    except QGateError as error:  # in which the options are the plugin's
        line = str(error).removeprefix("--qgate: ").replace("--qgate-", "--")
        raise reworded(error, line) from error
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; no noise floor was written\n")
        return _INTERRUPTED
    finally:
        undo_signals()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _calibrate(options: argparse.Namespace, directory: Path) -> list[str]:
    """What to show; stores lie in the directory's `.qgate`."""
    started = time.monotonic()
    file: Path = options.json or FILE
    _refuse_to_write_into(options.path, directory)  # before a conftest.py of its is read
    checks, scorers, mode = of_project()
    thresholds = load_thresholds(
        options.thresholds, directory, runtimes=runtimes.options(), checks=own_checks(checks)
    )
    reference = find_reference(
        options.path, options.reference, trusts_code=options.trust_remote_code
    )
    runtime = choose_runtime(reference, thresholds, options.runtime)
    check_writable(file)
    read_noise(file)  # one that is no such file is an error before minutes of work, not after
    limits = as_the_reference_is(thresholds, runtime)
    noise = _measure(reference, limits, directory, scorers, mode)
    noise = dataclasses.replace(noise, seconds=round(time.monotonic() - started, 1))
    write_json(to_json(read_noise(file).with_newest(noise)), file)

    from qgate.cli.calibration.rendering import render

    return [*render(noise), "", f"noise: {escape_line(str(file))}"]


def find_reference(path: Path, named: Path | None, *, trusts_code: bool = False) -> Artifact:
    """The reference at, in or beside the path, or the one that was named.

    Raises:
        UsageError: there is none, or several could be it.
    """
    found = artifacts.discover([path], trusts_code=trusts_code)
    if named is not None:
        return discover_reference(named, trusts_code=trusts_code)
    near = artifacts.beside([path], trusts_code=trusts_code)
    reference = artifacts.choose_reference(found, None) or artifacts.choose_reference(
        near, None, gated=found
    )
    if reference is None:
        problem = next((artifact.problem for artifact in found if artifact.problem), None)
        raise UsageError(
            f"{path}: no reference: got {problem or 'quantized models only'}; expected an"
            " unquantized one in or beside it. Name one with --reference PATH"
        )
    return reference


def _refuse_to_write_into(path: Path, directory: Path) -> None:
    if path.is_dir() and directory.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"{path}: started inside the model directory: got {directory}; expected a directory"
            " that can be written to. Start it from another one"
        )


def choose_runtime(reference: Artifact, thresholds: Thresholds, named: str | None) -> str:
    """The one that was named, else that in which the gate serves the reference.

    Raises:
        QGateError: there is no such runtime, or it does not read the reference.
    """
    choosing = RuntimeChoice.of(thresholds, None, os.environ)
    if named is not None:
        return selection.choose(reference, named, choosing.machine, "--runtime").name
    return choosing.choose_for_reference(reference)


def as_the_reference_is(thresholds: Thresholds, runtime: str) -> Thresholds:
    """The same for a run in which both sides are the reference: its options are those of both.

    Raises:
        UsageError: the runtime is a server, and none is known that holds the reference.
    """
    section = thresholds.runtimes.get(runtime)
    options = dict(section.options) if section else {}
    if runtimes.find_spec(runtime).is_remote and "reference_url" not in options:
        raise UsageError(
            f"runtimes.{runtime}: no server for the reference: got no reference_url, and url is the"
            " artifact's; expected reference_url beside it. Name another one with --runtime NAME"
        )
    meant = {name: value for name, value in options.items() if name.startswith(OF_THE_REFERENCE)}
    options.update({name.removeprefix(OF_THE_REFERENCE): value for name, value in meant.items()})
    sections = dict(thresholds.runtimes)
    if section:
        sections[runtime] = dataclasses.replace(section, options=options)
    settings = thresholds.runtime.model_copy(update={"name": runtime, "reference": None})
    return dataclasses.replace(thresholds, runtime=settings, runtimes=sections)


def _measure(
    reference: Artifact,
    thresholds: Thresholds,
    directory: Path,
    scorers: Mapping[str, object],
    mode: Mode,
) -> Noise:
    from qgate.cli.calibration.measuring import TwinMeasurer, measure
    from qgate.measure.probes import find_probes

    twin = dataclasses.replace(reference, id=f"{reference.id} (second run)")
    unlimited = dataclasses.replace(thresholds, layers=())  # so that all is asked
    runtime = thresholds.runtime.name
    plan = plan_models([twin], reference, unlimited, directory, runtime=runtime, scorers=scorers)
    probes = partial(find_probes, thresholds, plan.tasks)
    # noise is what differs when the same is asked again
    settings = RunSettings(
        plan=plan,
        probes=probes,
        progress=_progress,
        confinement=confine(plan, mode),
        recalls=False,
    )
    _require_usable(settings.entries)
    measurer = TwinMeasurer(settings)
    machine = provenance.describe(os.environ, directory)
    try:
        return measure(
            measurer,
            plan,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            original=Reference(
                id=reference.id,
                digest=measurer.children.digest(reference),
                size_bytes=reference.size_bytes,
            ),
            thresholds=tuple({"path": one.shown, "digest": one.digest} for one in thresholds.files),
            machine={name: machine[name] for name in _MACHINE},
            seconds=0.0,
        )
    finally:
        for note in measurer.children.store.notes:
            sys.stderr.write(f"{escape_line(_without_option(note))}\n")
        measurer.children.close()


def _require_usable(store: Path) -> None:
    try:
        require_usable(store)
    except UsageError as error:
        raise reworded(error, _without_option(str(error))) from error


def _without_option(line: str) -> str:
    """What is said of a store that lies where one starts, and nowhere else."""
    there = "tart it in another directory"
    line = line.removeprefix("--qgate-store: ")
    line = line.replace("Name another with --qgate-store DIR", f"S{there}")
    return line.replace("name another directory with --qgate-store DIR", f"s{there}")


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
