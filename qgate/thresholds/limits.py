"""From a document's nodes to layers of limits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import yaml

from qgate.checks import CHECKS
from qgate.thresholds.bands import BANDS
from qgate.thresholds.grammar import OFF
from qgate.thresholds.limit_forms import limit_form
from qgate.thresholds.model import Layer, in_report_order
from qgate.thresholds.values import did_you_mean, shown
from qgate.thresholds.yaml_document import seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qgate.checks import Check
    from qgate.records import Limit
    from qgate.thresholds.limit_forms import LimitForm
    from qgate.thresholds.model import TaskSettings
    from qgate.thresholds.yaml_document import Document, Entry


def read_layers(
    document: Document,
    sections: dict[str, Entry],
    tasks: Iterable[TaskSettings],
    others: Mapping[str, Check],
) -> Iterator[Layer]:
    """The file's layers in order of rising precedence: limits, bands, schemes, artifacts.

    `tasks` are those that hold with this file: only their rows may have limits; so may `others`.
    """
    known = _known_checks(tasks, others)
    if "limits" in sections:
        limits = _limits(document, sections["limits"].node, "limits", known)
        yield Layer(scope="all", limits=limits)
    if "bands" in sections:
        yield from _bands(document, sections["bands"].node, known)
    if "schemes" in sections:
        first_lines: dict[str, int] = {}
        for entry in document.mapping(sections["schemes"].node, "schemes").values():
            scheme = entry.key.casefold()
            if scheme in first_lines:
                raise document.error(
                    entry.line,
                    f"duplicate key {shown(entry.key)} in schemes, first on line "
                    f"{first_lines[scheme]} (case does not matter). Remove one.",
                )
            first_lines[scheme] = entry.line
            limits = _limits(document, entry.node, f"schemes.{entry.key}", known)
            yield Layer(scope="scheme", pattern=scheme, limits=limits)
    if "artifacts" in sections:
        for entry in document.mapping(sections["artifacts"].node, "artifacts").values():
            limits = _limits(document, entry.node, f"artifacts.{entry.key}", known)
            yield Layer(scope="artifact", pattern=entry.key, limits=limits)


def _bands(document: Document, node: yaml.Node, known: Mapping[str, Check]) -> Iterator[Layer]:
    for entry in document.mapping(node, "bands", BANDS).values():
        limits = _limits(document, entry.node, f"bands.{entry.key}", known)
        of_band = {
            check: limit and dataclasses.replace(limit, band=entry.key)
            for check, limit in limits.items()
        }
        yield Layer(scope="band", pattern=entry.key, limits=of_band)


def _known_checks(
    tasks: Iterable[TaskSettings], others: Mapping[str, Check]
) -> Mapping[str, Check]:
    checks = {**CHECKS, **others, **{task.check.name: task.check for task in tasks}}
    return {name: checks[name] for name in in_report_order(checks)}


def _limits(
    document: Document, node: yaml.Node, where: str, known: Mapping[str, Check]
) -> dict[str, Limit | None]:
    limits: dict[str, Limit | None] = {}
    for entry in document.mapping(node, where).values():
        if entry.key not in known:
            raise document.error(
                entry.line,
                f"unknown check {shown(entry.key)} in {where}.{did_you_mean(entry.key, known)} "
                f"Valid: {', '.join(known)}.",
            )
        limits[entry.key] = _limit(document, entry, known[entry.key])
    return limits


def _limit(document: Document, entry: Entry, check: Check) -> Limit | None:
    node, name, form = entry.node, check.name, limit_form(check)
    if isinstance(node, yaml.ScalarNode):
        if node.value == OFF:
            return None
        raise document.error(
            entry.line,
            f"{name}: got {seen(node)}; expected a mapping such as {form.example}, "
            f"or {OFF} to drop an inherited limit.",
        )
    refuse_misnomers(document, node, name, form)
    values = document.values(node, name, form.keys)
    _require_one_bound(document, entry, values, name, form)
    document.require(entry.line, name, form.required, values)
    return form.limit(check, values, document.source(entry.line))


def refuse_misnomers(document: Document, node: yaml.Node, where: str, form: LimitForm) -> None:
    """Ahead of other unknown keys: which side or unit is meant helps more than a like word.

    Raises:
        ThresholdsError: a key that reads like a bound and is none here; not a mapping.
    """
    for key, entry in document.mapping(node, where).items():
        if key in form.misnomers:
            raise document.error(entry.line, f"{where}: got {key}; expected {form.instead}.")


def _require_one_bound(
    document: Document, entry: Entry, written: Iterable[str], name: str, form: LimitForm
) -> None:
    bounds = [key for key in written if key in form.bounds]
    if not bounds:
        expected = " or ".join(form.bounds)
        raise document.error(entry.line, f"{name}: no bound; expected {expected}.")
    if len(bounds) > 1:
        both = " and ".join(bounds)
        raise document.error(entry.line, f"{name}: got {both}; expected one of them.")
