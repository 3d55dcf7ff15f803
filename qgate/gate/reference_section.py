"""What a report tells of the reference and of where time went: JSON values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qgate import stats
from qgate.gate.row import identify
from qgate.reference import texts

if TYPE_CHECKING:
    from qgate.records import Artifact, RuntimeFacts
    from qgate.reference.distributions import Reference
    from qgate.runtimes.served_model import ServedModel


def describe(reference: Artifact, digest: str, runtime: RuntimeFacts) -> dict[str, Any]:
    """The report's `reference` section, before anything of it is measured."""
    facts = {"digest": digest, "runtime": dataclasses.asdict(runtime)}
    return {**identify(reference), **facts}


def measurements(reference: Reference) -> dict[str, Any]:
    """What that section tells of the reference's likelihoods and what keeping them costs."""
    perplexity = stats.perplexity(reference.nll_nats, reference.windows.owners, level=0.95)
    return {
        "perplexity": {
            name: getattr(perplexity, name) for name in ("value", "low", "high", "level", "n")
        },
        "text": texts.describe(reference.text, reference.windows),
        "store": reference.storage(),
        "scoring_s": round(reference.seconds, 3),
    }


def runtime_difference(here: Reference, there: Reference) -> dict[str, Any]:
    """The reference against itself in another runtime: perplexity here over that there.

    Both scored the same windows, so that the tokens are paired as an artifact's are.

    Raises:
        MeasurementError: what was scored differs.
    """
    found = stats.perplexity_ratio(here.nll_nats, there.nll_nats, here.windows.owners, level=0.95)
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def times(serving: ServedModel) -> dict[str, float]:
    """`time.<phase>_s` of everything that its child was asked."""
    return {f"time.{name}_s": round(spent, 3) for name, spent in serving.seconds.items()}
