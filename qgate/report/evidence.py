"""What a verdict rests on besides its number: a record's `details`, typed, for who shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One prompt and both sides' answers."""

    prompt: str
    reference: str
    artifact: str
    expected: str | None = None
    """The right answer; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One part of a row with several: a language, a distance."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tokens that belong together, and their mean divergence."""

    n: int
    kl_mean_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A scored stretch of text, by its number from 0."""

    window: int
    kl_mean_nats: float
    nll_increase_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many tokens have which divergence."""

    edges_nats: tuple[float, ...]
    counts: tuple[int, ...]
    """One fewer than edges."""
    below: int
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it; empty where a row has no such thing."""

    member: str = ""
    """The member that decides."""
    members: Mapping[str, Member] = field(default_factory=dict)
    kl_by: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)
    """By `confidence`, `slice` and `position`, then by the group's name."""
    histogram: Histogram | None = None
    windows: tuple[Window, ...] = ()
    """The worst, largest divergence first."""
    samples: tuple[Sample, ...] = ()
    """The worst."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of right answers: `share`, `reference_share`; answers `lost` and `gained`."""
    findings: tuple[str, ...] = ()
    """What was noticed and is judged by no limit."""
    would_have_seen: str = ""
    """Of an alarm that stayed silent, the smallest damage that it would have seen."""
    not_judged: str = ""
    """Why a row that was measured is not judged although it has a limit."""


_SHARES = ("share", "reference_share", "lost", "gained")


def evidence_of(record: Record) -> Evidence:
    """The evidence of one row.

    Raises:
        UsageError: its details are none that qgate writes.
    """
    return read_evidence(Fields(record.details, record.name, UsageError))


def read_evidence(details: Fields) -> Evidence:
    """The same, of a row of a report that may be damaged."""
    members, by = details.object("members", {}), details.object("kl_by", {})
    samples = [one for one in details.items("worst", []) if _is_sample(one)]
    return Evidence(
        member=details.text("member", ""),
        members={name: _member(members.object(name)) for name in members.values},
        kl_by={name: _groups(by.object(name)) for name in by.values},
        histogram=_histogram(details),
        windows=tuple(map(_window, details.objects("worst_windows", []))),
        samples=tuple(Sample(**one) for one in samples),
        shares={name: details.number(name) for name in _SHARES if details.has(name)},
        findings=details.texts_in("findings", []),
        would_have_seen=details.text("would_have_seen", ""),
        not_judged=details.text("not_judged", ""),
    )


def _is_sample(value: object) -> bool:
    names = {"prompt", "reference", "artifact"}
    return (
        isinstance(value, dict)
        and names <= value.keys() <= {*names, "expected"}
        and all(isinstance(text, str) for text in value.values())
    )


def _member(fields: Fields) -> Member:
    ends = {name: fields.number(name) for name in ("value", "low", "high")}
    return Member(**ends, n=fields.count("n"))


def _groups(fields: Fields) -> dict[str, Group]:
    groups = {name: fields.object(name) for name in fields.values}
    return {
        name: Group(n=one.count("n"), kl_mean_nats=one.number("kl_mean_nats"))
        for name, one in groups.items()
    }


def _window(fields: Fields) -> Window:
    return Window(
        window=fields.count("window"),
        kl_mean_nats=fields.number("kl_mean_nats"),
        nll_increase_nats=fields.number("nll_increase_nats"),
    )


def _histogram(details: Fields) -> Histogram | None:
    if not details.has("kl_histogram"):
        return None
    found = details.object("kl_histogram")
    return Histogram(
        edges_nats=found.numbers_in("edges_nats"),
        counts=tuple(int(count) for count in found.numbers_in("counts")),
        below=found.count("below"),
        above=found.count("above"),
    )
