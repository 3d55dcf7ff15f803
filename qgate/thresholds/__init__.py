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

The file is read by hand over YAML nodes rather than through pydantic: every message needs its line
and its own words, and the tables in `grammar.py` yield reader and JSON schema alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import ThresholdsError
from qgate.thresholds.bands import BANDS, Band, band_of
from qgate.thresholds.grammar import EDGE, LATENCY, MEMORY
from qgate.thresholds.limits import read_layers
from qgate.thresholds.model import (
    EdgeSettings,
    LatencySettings,
    Layer,
    LmEvalTask,
    MemorySettings,
    RuntimeOptions,
    RuntimeSettings,
    TaskSettings,
    TextSettings,
    Thresholds,
    ThresholdsFile,
)
from qgate.thresholds.settings import (
    does_inherit,
    read_runtime,
    read_runtimes,
    read_sections,
    read_settings,
    read_text,
)
from qgate.thresholds.tasks import read_tasks
from qgate.thresholds.yaml_document import read_document

if TYPE_CHECKING:
    from collections.abc import Callable

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
) -> Thresholds:
    """Read the user's file over the shipped one, or the shipped one alone.

    Args:
        path: the user's file, or the name of a shipped one such as `maths`; None where none was
            named.
        shown_relative_to: the directory that paths in messages and reports start from.
        adjust: what is done to what nobody wrote by hand, before the user's file is read over it.

    Raises:
        ThresholdsError: anything wrong with a file, as `file:line: ...` on one line; or a set of
            limits that checks nothing, or that its own settings cannot decide.
    """
    shipped = shipped_path()
    is_bare = path is not None and path.parent == shown_relative_to
    profile = shipped_profile(path) if path is not None and is_bare else None
    if profile is not None:
        thresholds = _over(adjust, profile, f"thresholds/{profile.name}")
    elif path is None or (path.exists() and shipped.exists() and path.samefile(shipped)):
        thresholds = adjust(_over(Thresholds(), shipped, _SHIPPED_SHOWN))
    else:
        thresholds = _over(adjust, path, _displayed(path, shown_relative_to))
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
    inherited: Thresholds | Callable[[Thresholds], Thresholds], path: Path, displayed: str
) -> Thresholds:
    """The file's content over `inherited`, or over what the file asks for, adjusted by that."""
    document = read_document(path, displayed, is_shipped=path == shipped_path())
    sections = read_sections(document)
    if not isinstance(inherited, Thresholds):
        wants_shipped = does_inherit(document, sections)
        below = _over(Thresholds(), shipped_path(), _SHIPPED_SHOWN) if wants_shipped else None
        inherited = inherited(below or Thresholds())
    file = ThresholdsFile(shown=displayed, digest=document.digest)
    tasks, task_layers = read_tasks(document, sections, inherited.tasks)
    thresholds = Thresholds(
        text=read_text(document, sections, inherited.text),
        runtime=read_runtime(document, sections, inherited.runtime),
        runtimes=read_runtimes(document, sections, inherited.runtimes),
        tasks=tasks,
        edge=read_settings(document, sections, "edge", EDGE, inherited.edge),
        latency=read_settings(document, sections, "latency", LATENCY, inherited.latency),
        memory=read_settings(document, sections, "memory", MEMORY, inherited.memory),
        files=(*inherited.files, file),
        layers=(*inherited.layers, *task_layers, *read_layers(document, sections, tasks)),
    )
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
