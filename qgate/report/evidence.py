"""Parts of a report that are JSON there, typed for whoever shows them.

What a verdict rests on besides its number (a record's `details`), what is known of the reference,
and what of an artifact was measured in an earlier run. All are named as in the JSON; keys that
nobody shows are left out.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - fields are read by their types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.records import RuntimeFacts  # noqa: TC001 - as above
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    from qgate.records import Record, Report


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
    """All of it, named as in the report's JSON; empty where a row has no such thing."""

    member: str = ""
    """The member that decides."""
    members: Mapping[str, Member] = field(default_factory=dict)
    kl_by: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)
    """By `confidence`, `slice` and `position`, then by the group's name."""
    kl_histogram: Histogram | None = None
    worst_windows: tuple[Window, ...] = ()
    """Largest divergence first."""
    worst: tuple[Sample, ...] = ()
    """The worst samples."""
    share: float | None = None
    """Of the artifact's right answers."""
    reference_share: float | None = None
    lost: int | None = None
    """Answers that changed for the worse."""
    gained: int | None = None
    findings: tuple[str, ...] = ()
    """What was noticed and is judged by no limit."""
    would_have_seen: str = ""
    """Of an alarm that stayed silent, the smallest damage that it would have seen."""
    not_judged: str = ""
    """Why a row that was measured is not judged although it has a limit."""


def evidence_of(record: Record) -> Evidence:
    """The evidence of one row.

    Raises:
        UsageError: its details are none that qgate writes.
    """
    return Fields(record.details, record.name, UsageError).read(Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What both sides were measured on."""

    name: str = "unnamed"
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """Of the reference, over n tokens where their number is known."""

    value: float
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCost:
    """What keeping the reference's distributions takes, and what it loses."""

    store_bytes: float
    self_kl_nats: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFacts:
    """The report's `reference` section: the reference in one runtime."""

    id: str = ""
    scheme: str = ""
    quantization: str = ""
    size_bytes: int | None = None
    runtime: RuntimeFacts | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    perplexity: Perplexity | None = None
    runtime_difference: Interval | None = None
    """Of its perplexity here over that at home."""
    text: Text | None = None
    store: StoreCost | None = None
    elsewhere: tuple[ReferenceFacts, ...] = ()
    """The same in other runtimes."""


def reference_of(report: Report) -> ReferenceFacts:
    """What is known of the reference; nothing of it where there was none."""
    return Fields(report.reference, "reference", UsageError).read(ReferenceFacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Of one kind: how many there were, and how many of them an earlier run had answered."""

    asked: int
    from_store: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FromStore:
    """What of an artifact was measured before."""

    likelihoods: Requests | None = None
    answers: Requests | None = None
    measured_at: str = ""
    """When the oldest of it was, UTC."""
