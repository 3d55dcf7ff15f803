"""From a document's nodes to layers of limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qgate.checks import CHECKS, accuracy_check
from qgate.thresholds.bands import BANDS
from qgate.thresholds.limit_forms import limit_form
from qgate.thresholds.model import Layer, in_report_order
from qgate.thresholds.values import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from qgate.checks import Check
    from qgate.records import Limit
    from qgate.thresholds.reading import Reader
    from qgate.thresholds.yaml_document import Entry


def read_layers(
    reader: Reader,
    sections: Mapping[str, Entry],
    tasks: Iterable[str],
    others: Mapping[str, Check],
) -> Iterator[Layer]:
    """The file's layers in order of rising precedence: limits, bands, schemes, artifacts.

    `tasks` are the names of those that hold with this file: only their rows may have limits; so
    may `others`.
    """
    of_tasks = {check.name: check for check in map(accuracy_check, tasks)}
    checks = {**CHECKS, **others, **of_tasks}
    known = {name: checks[name] for name in in_report_order(checks)}
    if "limits" in sections:
        yield Layer(scope="all", limits=_limits(reader, sections["limits"], "limits", known))
    for bands, entry in _named(reader, sections, "bands", BANDS):
        limits = _limits(reader, entry, f"bands.{entry.key}", known)
        for band in bands:
            of_band = {name: limit and replace(limit, band=band) for name, limit in limits.items()}
            yield Layer(scope="band", pattern=band, limits=of_band)
    for schemes, entry in _named(reader, sections, "schemes"):
        limits, source = (
            _limits(reader, entry, f"schemes.{entry.key}", known),
            reader.document.source(entry.line),
        )
        for scheme in schemes:
            yield Layer(scope="scheme", pattern=scheme, limits=limits, source=source)
    if "artifacts" in sections:
        for entry in reader.mapping(sections["artifacts"].node, "artifacts").values():
            limits = _limits(reader, entry, f"artifacts.{entry.key}", known)
            yield Layer(
                scope="artifact",
                pattern=entry.key,
                limits=limits,
                source=reader.document.source(entry.line),
            )


def _named(
    reader: Reader, sections: Mapping[str, Entry], section: str, valid: Collection[str] = ()
) -> Iterator[tuple[list[str], Entry]]:
    """The names in each key of a section, which may be several: `Q4_0, Q4_1`."""
    if section not in sections:
        return
    first: dict[str, tuple[int, str]] = {}
    whole = f"a name, or several with commas between them, as keys of {section}"
    for entry in reader.mapping(sections[section].node, section).values():
        names = []
        for name in (part.strip() for part in entry.key.split(",")):
            if not name:
                reader.note(entry.line, f"got {shown(entry.key)}; expected {whole}.")
            elif valid and name not in valid:
                hint = f"{did_you_mean(name, valid)} Valid: {', '.join(valid)}."
                reader.note(entry.line, f"unknown key {shown(name)} in {section}.{hint}")
            elif name.casefold() in first:
                line, written = first[name.casefold()]
                where = f"{section}, first on line {line} as {shown(written)}"
                reader.note(entry.line, f"duplicate key {shown(name)} in {where}. Remove one.")
            else:
                first[name.casefold()] = (entry.line, name)
                names.append(name)
        yield names, entry


def _limits(
    reader: Reader, entry: Entry, where: str, known: Mapping[str, Check]
) -> dict[str, Limit | None]:
    limits: dict[str, Limit | None] = {}
    for one in reader.mapping(entry.node, where).values():
        if one.key not in known:
            hint = f"{did_you_mean(one.key, known)} Valid: {', '.join(known)}."
            reader.note(one.line, f"unknown check {shown(one.key)} in {where}.{hint}")
            continue
        form = limit_form(known[one.key])
        found = reader.read_or_off(
            one,
            one.key,
            form.model,
            example=form.example,
            inherited="limit",
            near_misses=form.near_misses,
        )
        if isinstance(found, str):
            limits[one.key] = None
        elif found is not None:
            limits[one.key] = form.limit(found, reader.document.source(one.line))
    return limits
