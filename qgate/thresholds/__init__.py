"""Which limits apply to an artifact, and on which line of which file somebody wrote them.

Precedence, from low to high:

1. the shipped file: its `limits`, its `bands`, its `schemes`, its `artifacts`;
2. the user's file: its `limits`, its `bands`, its `schemes`, its `artifacts`.

A band is of artifacts with so many bits a weight (`bands.py`), whatever their scheme is called.
Files come before layers: what a user writes under `limits:` wins over what was shipped for a
band, because somebody who tightens a limit for all artifacts means all of them. An entry
replaces an inherited one as a whole; `off` drops it. A task likewise, with all limits on its row;
what its entry says as a limit stands below all others of its file. Settings (`text`, `runtime`,
`edge`, `latency`, `memory`, each of `runtimes`) are taken key by key.

Keys, bounds and help are pydantic models; `reading.py` fills them from YAML nodes, which know their
lines, and reports every mistake of a file at once. The JSON schema is made from the same models.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import ThresholdsError
from qgate.thresholds.bands import BANDS, Band, band_of
from qgate.thresholds.limits import read_layers
from qgate.thresholds.model import Layer, Thresholds, ThresholdsFile
from qgate.thresholds.reading import Reader
from qgate.thresholds.sections import does_inherit, read_runtimes, read_sections, read_settings
from qgate.thresholds.settings import (
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeOptions,
    RuntimeSettings,
    TextSettings,
)
from qgate.thresholds.task_settings import LmEvalTask, TaskSettings
from qgate.thresholds.tasks import read_tasks
from qgate.thresholds.yaml_document import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.checks import Check

__all__ = [
    "BANDS",
    "Band",
    "EdgeSettings",
    "LatencySettings",
    "Layer",
    "LmEvalTask",
    "MemorySettings",
    "RuntimeOptions",
    "RuntimeSettings",
    "TaskSettings",
    "TextSettings",
    "Thresholds",
    "ThresholdsFile",
    "band_of",
    "load_thresholds",
    "shipped_path",
]

_SHIPPED_SHOWN = "thresholds/default.yaml"


def load_thresholds(
    path: Path | None,
    shown_relative_to: Path,
    adjust: Callable[[Thresholds], Thresholds] = lambda shipped: shipped,
    runtimes: Mapping[str, type] = MappingProxyType({}),
    checks: Mapping[str, Check] = MappingProxyType({}),
) -> Thresholds:
    """Read the user's file over the shipped one, or the shipped one alone.

    Args:
        path: the user's file, or the name of a shipped one such as `maths`; None where none was
            named.
        shown_relative_to: the directory that paths in messages and reports start from.
        adjust: what is done to what nobody wrote by hand, before the user's file is read over it.
        runtimes: the options of every runtime that there is, dataclasses of scalars, see
            `section_of_runtime`.
        checks: rows beside qgate's own, which may have limits too.

    Raises:
        ThresholdsError: anything wrong with a file, as `file:line: ...` on one line; or a set of
            limits that checks nothing, or that its own settings cannot decide.
    """
    shipped = shipped_path()
    is_bare = path is not None and path.parent == shown_relative_to
    profile = shipped_profile(path) if path is not None and is_bare else None
    if profile is not None:
        thresholds = _over(adjust, profile, f"thresholds/{profile.name}", runtimes, checks)
    elif path is None or (path.exists() and shipped.exists() and path.samefile(shipped)):
        thresholds = adjust(_over(Thresholds(), shipped, _SHIPPED_SHOWN, runtimes, checks))
    else:
        thresholds = _over(adjust, path, _displayed(path, shown_relative_to), runtimes, checks)
    _require_decidable(thresholds)
    return thresholds


def shipped_path() -> Path:
    """`default.yaml`: inside an installed package, else in the repository."""
    package = Path(__file__).absolute().parents[1]
    installed = package / "_thresholds" / "default.yaml"
    return installed if installed.is_file() else package.parent / "thresholds" / "default.yaml"


def shipped_profile(path: Path) -> Path | None:
    """The shipped file for one use of models, where its bare name is written and no file is so."""
    beside = shipped_path().with_name(f"{path.name}.yaml")
    return beside if not path.suffix and not path.exists() and beside.is_file() else None


def _over(
    inherited: Thresholds | Callable[[Thresholds], Thresholds],
    path: Path,
    displayed: str,
    runtimes: Mapping[str, type],
    checks: Mapping[str, Check],
) -> Thresholds:
    """The file's content over `inherited`, or over what the file asks for, adjusted by that."""
    document = read_document(path, displayed, is_shipped=path == shipped_path())
    reader = Reader(document)
    sections = read_sections(reader)
    if not isinstance(inherited, Thresholds):
        below = Thresholds()
        if does_inherit(reader, sections):
            below = _over(below, shipped_path(), _SHIPPED_SHOWN, runtimes, checks)
        inherited = inherited(below)
    file = ThresholdsFile(shown=displayed, digest=document.digest)
    tasks, task_layers, names = read_tasks(reader, sections, inherited.tasks)
    thresholds = Thresholds(
        text=read_settings(reader, sections, "text", inherited.text),
        runtime=read_settings(reader, sections, "runtime", inherited.runtime),
        runtimes=read_runtimes(reader, sections, inherited.runtimes, runtimes),
        tasks=tasks,
        edge=read_settings(reader, sections, "edge", inherited.edge),
        latency=read_settings(reader, sections, "latency", inherited.latency),
        memory=read_settings(reader, sections, "memory", inherited.memory),
        files=(*inherited.files, file),
        layers=(*inherited.layers, *task_layers, *read_layers(reader, sections, names, checks)),
    )
    reader.finish()
    if not any(thresholds.reachable()):
        raise document.error(
            1, "got no limits at all; expected at least one: this is a gate that checks nothing."
        )
    return thresholds


def _require_decidable(thresholds: Thresholds) -> None:
    """Refuse a percentile that so many requests could never hold; the last word on `pairs` decides.

    Raises:
        ThresholdsError: at the line of the limit.
    """
    pairs = thresholds.latency.pairs
    for limit in thresholds.reachable():
        percentile = limit.parameters.get("percentile")
        if percentile is None:
            continue
        from qgate.stats.paired_ratios import requests_needed  # brings numpy, which few files need

        needed = requests_needed(percentile / 100, level=limit.level)
        if pairs < needed:
            raise ThresholdsError(
                f"{limit.source}: {limit.check}: percentile {percentile:g} needs {needed} requests "
                f"at level {limit.level:g}; got latency.pairs: {pairs}. Set latency.pairs: "
                f"{needed} or more, or hold a lower percentile."
            )


def _displayed(path: Path, start: Path) -> str:
    try:
        return path.absolute().relative_to(start.absolute()).as_posix()
    except ValueError:
        return path.as_posix()
