"""`qgate init DIR`: a thresholds file for the artifacts in DIR, and a workflow that gates them.

The thresholds file changes nothing as it stands: every limit in it is one that applies anyway, as a
comment to switch on. Nothing is overwritten.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.selection import find_artifacts
from qgate.checks import CHECKS, accuracy_check
from qgate.errors import UsageError
from qgate.report.text import escape_line, format_bytes
from qgate.runtimes.selection import choose, look
from qgate.thresholds import band_of, load_thresholds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from qgate.records import Artifact, Limit
    from qgate.thresholds import TaskSettings

WORKFLOW = Path(".github") / "workflows" / "qgate.yml"
_UNKNOWN = ("OWNER/qgate", "FULL_COMMIT_SHA")
_COLUMN = 58
_EXTRAS: Mapping[str, str] = MappingProxyType({"gguf": "gguf", "transformers": "hf"})
"""What pip installs for models of a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What lies in the directory, and the shipped limits on it."""

    models: str
    """The directory as it was typed."""
    reference: Artifact
    named_reference: str
    """As it was typed; empty where the reference was found."""
    artifacts: tuple[Artifact, ...]
    limits: Mapping[str, Mapping[str, Limit]]
    """By artifact and check."""
    tasks: tuple[TaskSettings, ...]


def run_init(options: argparse.Namespace) -> int:
    """Write both files and say what to type next.

    Raises:
        UsageError: nothing to gate or no reference, a file that is there already, a place that
            cannot be written to.
    """
    file: Path = options.thresholds
    if file.resolve() == WORKFLOW.resolve():
        raise UsageError(
            f"init: --thresholds: got {file}, the workflow's own place; expected another file."
            " Type: --thresholds qgate.yaml"
        )
    findings = _find(options.directory, options.reference)
    _write({file: thresholds_file(findings, file), WORKFLOW: workflow(findings, file)})
    count = len(findings.artifacts)
    command = ["pytest", f"--qgate={findings.models}", f"--qgate-thresholds={file}"]
    if findings.named_reference:
        command.append(f"--qgate-reference={findings.named_reference}")
    source = _source()
    missing = (
        f"; put your copy of qgate in place of {'@'.join(source)}" if source == _UNKNOWN else ""
    )
    lines = (
        f"{file}: {count} artifact{'' if count == 1 else 's'}, reference"
        f" {findings.reference.id}; as it stands the shipped limits apply",
        f"{WORKFLOW}: gates them on a runner of yours{missing}",
        f"Now type: {shlex.join(command)}",
    )
    sys.stdout.write("".join(f"{escape_line(line)}\n" for line in lines))
    return 0


def _find(directory: Path, reference: Path | None) -> Findings:
    if "${{" in f"{directory}{reference}":  # GitHub would evaluate it
        raise UsageError(f"init: {directory}: got '${{{{'; expected a path without it. Rename it")
    try:
        artifacts, found = find_artifacts((directory,), reference)
    except UsageError as error:
        message = str(error).removeprefix("--qgate: ").replace("--qgate-", "--")
        raise UsageError(f"init: {message}") from error
    if found is None:
        raise UsageError(
            f"init: {directory}: no reference: got quantized models only; expected an unquantized"
            " one in or beside it. Name one with --reference PATH"
        )
    thresholds = load_thresholds(None, Path.cwd())
    limits = {
        one.id: thresholds.limits_for(one.id, one.scheme, band_of(one.bits).name)
        for one in artifacts
    }
    return Findings(
        models=str(directory),
        reference=found,
        named_reference=str(reference or ""),
        artifacts=artifacts,
        limits=limits,
        tasks=thresholds.tasks,
    )


def _write(contents: Mapping[Path, str]) -> None:
    """Create the files; none where one of them is there already."""
    for path in contents:
        if os.path.lexists(path):
            raise UsageError(f"init: {path}: exists; expected a new file. Remove it first")
    written: list[Path] = []
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                written.append(path)
                file.write(content)
        except OSError as error:
            for done in written:
                done.unlink(missing_ok=True)
            raise UsageError(
                f"init: {path}: cannot be written: {error.strerror}. Start it in a directory"
                " that you may write to"
            ) from error


# --- the thresholds file ----------------------------------------------------------------------


def thresholds_file(findings: Findings, file: Path) -> str:
    """The text of the file: prose after `# `, what can be switched on after a bare `#`."""
    common = {
        check: limit
        for rows in findings.limits.values()
        for check, limit in rows.items()
        if not limit.band
    }
    lines = [
        f"# Limits for the models in {findings.models}. Written by `qgate init`; yours to edit.",
        f"#   pytest {shlex.join([f'--qgate={findings.models}', f'--qgate-thresholds={file}'])}",
        "# As it stands nothing changes: the limits that qgate ships apply. Each of them stands",
        "# below. To set one yourself, remove the # before it and before the less indented lines",
        "# above it, and change the number; `off` in place of {...} drops the row.",
        "# pytest --collect-only -v shows what applies to which artifact, with file and line.",
        "#",
        f"# {_described(findings.reference)}: the reference",
        *(f"# {_described(one)}; {_served(one)}" for one in findings.artifacts),
        "version: 1",
        "",
        *_settings(findings.tasks),
        "# For every artifact; wins over the shipped limits for so many bits, too. Without a rule",
        "# a limit is certified: the far end of the interval must hold it. With `rule: alarm` a",
        "# row fails where damage is shown and is beyond the limit. Yours to add:",
        "#   latency.ttft_slo: {max_ms: 200, percentile: 95}",
        "#   memory.fits: {vram_gib: 24, context: 8192}",
        "#limits:",
        *_rows(common, "  "),
        "",
        "# By the bits that the weights really have. A smaller max or a larger min is stricter.",
        "# perplexity.increase is judged on WikiText-2 only, until you set it.",
        "#bands:",
        *_bands(findings),
        "",
        "# For one artifact, or those whose names match; wins over all above. For example twice as",
        "# strict as its band:",
        "#artifacts:",
        *_example(findings),
    ]
    return "".join(f"{escape_line(line)}\n" for line in lines)


def _described(artifact: Artifact) -> str:
    size = format_bytes(artifact.size_bytes)
    return f"{artifact.id}  {artifact.scheme}  {size}  {band_of(artifact.bits)}"


def _served(artifact: Artifact) -> str:
    if artifact.problem:
        return f"cannot be used: {artifact.problem}"
    choice = choose(artifact, None, look(os.environ, {}))
    stands_in = "; here without its GPU: latency and memory shown, not judged"
    return f"{choice.name}{stands_in if choice.is_stand_in else ''}"


def _settings(tasks: Sequence[TaskSettings]) -> list[str]:
    return [
        "# What perplexity and divergence are measured on. auto: wiki.test.raw in the working",
        "# directory, else what the reference itself answers. Or answers, wikitext-2, or a file of",
        "# yours: my-text.txt",
        "#text: {source: auto}",
        "",
        "# Questions that reference and artifact answer. Name what your model is used for: a file",
        "# of items or a task of lm-eval. The shipped ones are a start; one that the reference",
        "# does not know is skipped, which --qgate-strict accepts only where it is off.",
        "#   ours: {file: ours.jsonl, max_drop: 0.02, rule: auto}",
        "#   gsm8k: {max_samples: 1319, max_drop: 0.02}",
        "#tasks:",
        *(f"#  {task.name}: off" for task in tasks),
        "",
    ]


def _rows(limits: Mapping[str, Limit], indent: str) -> list[str]:
    """One commented line each, with the line of the shipped file that it repeats."""
    lines = []
    for check, limit in limits.items():
        row = f"#{indent}{check}: {_written(limit)}"
        lines.append(f"{row:<{_COLUMN}} # {limit.source}")
    return lines


def _written(limit: Limit, factor: float = 1.0) -> str:
    """The limit as a thresholds file has it."""
    check = CHECKS.get(limit.check) or accuracy_check(limit.check.partition(".")[2])
    key, bound = ("max", limit.max) if limit.max is not None else ("min", limit.min)
    if check.unit == "difference":
        key = "max_rise" if key == "max" else "max_drop"
    elif check.unit == "bytes":
        key = "max_bytes"
    number = abs(bound or 0.0) * factor
    rule = "" if limit.rule == "certify" else f", rule: {limit.rule}"
    return f"{{{key}: {number:.6g}{rule}}}"


def _bands(findings: Findings) -> list[str]:
    lines: list[str] = []
    for band in dict.fromkeys(band_of(one.bits).name for one in findings.artifacts):
        members = [one for one in findings.artifacts if band_of(one.bits).name == band]
        rows = {
            check: limit for check, limit in findings.limits[members[0].id].items() if limit.band
        }
        lines += [
            f"#  {band}:  # {', '.join(one.id for one in members)}",
            *_rows(rows, "    "),
        ]
    return lines


def _example(findings: Findings) -> list[str]:
    smallest = min(findings.artifacts, key=lambda one: one.size_bytes)
    limit = findings.limits[smallest.id]["divergence.kl_mean"]
    return [
        f"#  {json.dumps(glob.escape(smallest.id))}:",
        f"#    divergence.kl_mean: {_written(limit, factor=0.5)}",
    ]


# --- the workflow -----------------------------------------------------------------------------


def workflow(findings: Findings, file: Path) -> str:
    """The text of a workflow that calls qgate's own."""
    repository, commit = _source()
    reference = findings.named_reference
    formats = {one.format for one in (*findings.artifacts, findings.reference)}
    extras = ",".join(name for name, one in _EXTRAS.items() if one in formats)
    lines = [
        "# Gates quantized models on a runner of yours. Written by `qgate init`; yours to edit.",
        "# The check to require in branch protection is `gate / qgate`.",
        "name: qgate",
        "",
        "on:",
        "  workflow_dispatch:",
        "  pull_request:",
        "",
        "permissions: {}",
        "",
        "jobs:",
        "  gate:",
        "    permissions:",
        "      contents: read",
        f"    uses: {repository}/.github/workflows/gate.yml@{commit}",
        "    with:",
        "      # a path on the runner",
        f"      models: {json.dumps(findings.models)}",
        *([f"      reference: {json.dumps(reference)}"] if reference else []),
        f"      thresholds: {json.dumps(str(file))}",
        *([] if extras == "gguf" else [f"      extras: {extras}"]),
        "      # the labels of the runner",
        """      runner: '["self-hosted", "linux", "gpu"]'""",
        "    secrets:",
        "      MLFLOW_TRACKING_URI: ${{ secrets.MLFLOW_TRACKING_URI }}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _source() -> tuple[str, str]:
    """Repository and commit that this qgate was installed from; else words to replace."""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        origin = json.loads(distribution("pytest-qgate").read_text("direct_url.json") or "{}")
        commit = str(origin.get("vcs_info", {}).get("commit_id", ""))
        found = re.fullmatch(
            r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", str(origin.get("url"))
        )
        if found and re.fullmatch(r"[0-9a-f]{40}", commit):
            return found[1], commit
    return _UNKNOWN
