"""An artifact is scored on the reference's very tokens, every one of them, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.errors import ArtifactError, MeasurementError, NotApplicable
from qgate.measure.looks import Rows
from qgate.measure.perplexity.divergence import Divergence, measure_divergence, window_ends
from qgate.measure.perplexity.rows import MIN_COVERED_MASS, ROWS, explain
from qgate.records import Limit, SourceLine, Verdict
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.served_model import ServedModel
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.verdict import judge
from tests.conftest import Toy
from tests.support.references import SETTINGS, make_plan, measure

if TYPE_CHECKING:
    from qgate.reference.distributions import Reference
    from qgate.thresholds import TextSettings

Toys = Callable[..., Path]


def serve(path: Path, host: type[Host] = Host) -> ServedModel:
    [found] = list(discover([path]))
    return ServedModel(found, lambda: host(HostSettings(runtime="fake", stall_s=30.0)))


def diverge(
    path: Path,
    store: Path,
    host: type[Host] = Host,
    settings: TextSettings = SETTINGS,
    rows: Rows | None = None,
    *,
    extends: bool = False,
) -> Divergence:
    plan = make_plan(path.parent / "original.gguf", settings)
    reference, _ = measure(store, plan)

    def extension() -> Reference:
        return measure(store, dataclasses.replace(plan, first_round=1))[0]

    with contextlib.closing(serve(path, host)) as serving:
        return measure_divergence(serving, reference, rows, extension if extends else None)


def test_an_equal_model_does_not_diverge(toys: Toys, tmp_path: Path) -> None:
    found = diverge(toys(same=Toy()) / "same.gguf", tmp_path / "store")

    samples = found.samples
    assert samples.nll_nats.tobytes() == samples.reference_nll_nats.tobytes()
    assert np.abs(samples.kl_nats).max() < 1e-4
    assert samples.same_top.all()
    assert found.headline()["scored_tokens"] == 6 * 31


def test_a_damaged_model_diverges(toys: Toys, tmp_path: Path) -> None:
    found = diverge(toys(bad=Toy(noise=0.3)) / "bad.gguf", tmp_path / "store")

    assert found.samples.kl_nats.mean() > 0.01
    assert not found.samples.same_top.all()


class Elsewhere(Host):
    """A runtime that answers for windows that nobody sent."""

    def call(self, verb: str, request: object) -> Any:
        if isinstance(request, ScoreRequest):
            windows = np.roll(request.windows, 1, axis=1)
            request = dataclasses.replace(request, windows=windows)
        return super().call(verb, request)


class Forgetful(Host):
    """A runtime that loses its last window."""

    def call(self, verb: str, request: object) -> Any:
        if isinstance(request, ScoreRequest):
            request = dataclasses.replace(request, windows=request.windows[:-1])
        return super().call(verb, request)


class Shortening(Host):
    """A runtime that loses one token, and says nothing of it."""

    def call(self, verb: str, request: object) -> Any:
        found = super().call(verb, request)
        if verb == "score":
            found["nll_nats"] = found["nll_nats"][:-1]
        return found


def test_a_runtime_that_scores_other_windows_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError) as caught:
        diverge(toys(same=Toy()) / "same.gguf", tmp_path / "store", Elsewhere)

    assert str(caught.value) == (
        "same: the runtime scored other tokens than the reference's:"
        " got 6 windows; expected the 6 that were sent"
    )


def test_a_lost_window_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"^lost samples: got 155 scored tokens; .* 186$"):
        diverge(toys(same=Toy()) / "same.gguf", tmp_path / "store", Forgetful)


def test_a_lost_token_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"^lost samples: got 185 scored tokens; .* 186$"):
        diverge(toys(same=Toy()) / "same.gguf", tmp_path / "store", Shortening)


def test_another_vocabulary_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^big: vocabulary differs .* got 128 tokens"):
        diverge(toys(big=Toy(vocabulary=128)) / "big.gguf", tmp_path / "store")


def test_every_row_is_the_formula_of_its_samples(toys: Toys, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"windows": 40})
    path = toys(bad=Toy(noise=0.3)) / "bad.gguf"

    found = diverge(path, tmp_path / "store", settings=settings)

    for check, row in ROWS.items():
        assert found.estimate(check, 0.9, {}) == row(found.samples, level=0.9)
        text = {"text": "generated, seed 0"} if check == "perplexity.increase" else {}
        assert found.details(check) == {**explain(check, found.samples), **text}
    times = found.headline()
    assert 0 < found.decode_seconds <= found.seconds  # a toy's, less than a millisecond
    assert times["decode_s"] == round(found.decode_seconds, 3)
    assert times["scoring_s"] == round(found.seconds, 3)
    assert times["compared_positions"] == len(found.samples.kl_nats)


MANY = SETTINGS.model_copy(update={"windows": 48})


def rows_of(**most: float) -> Rows:
    source = SourceLine("team.yaml", 1)
    limits = {
        f"divergence.{name}": Limit(
            check=f"divergence.{name}", rule="certify", max=bound, source=source
        )
        for name, bound in most.items()
    }
    return Rows.of(ROWS, limits)


def test_scoring_stops_where_every_row_is_decided(toys: Toys, tmp_path: Path) -> None:
    path = toys(bad=Toy(noise=0.3)) / "bad.gguf"
    whole = diverge(path, tmp_path / "store", settings=MANY)
    mean = float(whole.samples.kl_nats.mean())

    early = diverge(path, tmp_path / "store", settings=MANY, rows=rows_of(kl_mean=mean * 20))
    late = diverge(path, tmp_path / "store", settings=MANY, rows=rows_of(kl_mean=mean))
    both = rows_of(kl_mean=mean * 20, kl_p99=float(np.quantile(whole.samples.kl_nats, 0.99)))

    assert early.looks is not None
    assert (early.looks.look, early.looks.n) == (1, 24)
    found = early.estimate("divergence.kl_mean", 0.95, {})
    assert found.method.endswith(", look 1 of 2")
    assert judge(found, both.limits["divergence.kl_mean"]) is Verdict.PASS
    looked = {"windows": 24, "sequential": {"look": 1, "looks": 2, "of_windows": 48}}
    assert early.details("divergence.same_top") == looked
    assert late.looks is not None
    assert late.looks.is_last
    # one row that is not decided keeps all of them going
    assert (
        len(diverge(path, tmp_path / "store", settings=MANY, rows=both).samples.nll_nats) == 48 * 31
    )


def test_a_row_that_is_open_far_from_its_limit_has_as_many_windows_again(
    toys: Toys, tmp_path: Path
) -> None:
    path, store = toys(bad=Toy(noise=0.3)) / "bad.gguf", tmp_path / "store"
    whole = diverge(path, store, settings=SETTINGS)
    found = whole.estimate("divergence.kl_mean", 0.95, {})
    far, near = found.value * 1.18, found.value * 1.01
    assert far < found.high

    again = diverge(path, store, settings=SETTINGS, rows=rows_of(kl_mean=far), extends=True)
    twice = again.estimate("divergence.kl_mean", 0.95, {})

    count = SETTINGS.windows
    assert again.details("divergence.kl_mean")["windows"] == 2 * count
    looked = {"look": 2, "looks": 2, "of_windows": 2 * count}
    assert again.details("divergence.kl_mean")["sequential"] == looked
    assert twice.high - twice.low < found.high - found.low
    # the first half is what was there, the second is another text of clusters of its own
    samples, tokens = again.samples, len(whole.samples.nll_nats)
    assert np.array_equal(samples.nll_nats[:tokens], whole.samples.nll_nats)
    assert not np.array_equal(
        samples.reference_nll_nats[tokens:], samples.reference_nll_nats[:tokens]
    )
    assert len(np.unique(samples.clusters)) == 2 * count
    assert samples.windows.max() == 2 * count - 1
    assert np.array_equal(
        samples.compared[len(whole.samples.compared) :] - tokens, whole.samples.compared
    )
    # a row that was certain keeps what it had
    both = rows_of(kl_mean=far, same_top=1.0)
    mixed = diverge(path, store, settings=SETTINGS, rows=both, extends=True)
    assert mixed.details("divergence.same_top")["windows"] == count
    assert mixed.details("divergence.kl_mean")["windows"] == 2 * count
    # nothing is written for a row that is close to its limit, where nothing can be written, and
    # where another row has failed
    for rows, extends in (
        (rows_of(kl_mean=near), True),
        (rows_of(kl_mean=far), False),
        (rows_of(kl_mean=far, same_top=0.001), True),
    ):
        once = diverge(path, store, settings=SETTINGS, rows=rows, extends=extends)
        assert once.details("divergence.kl_mean")["windows"] == count
        assert "sequential" not in once.details("divergence.kl_mean")


def test_windows_in_parts_say_what_they_say_at_once(toys: Toys, tmp_path: Path) -> None:
    path = toys(bad=Toy(noise=0.3)) / "bad.gguf"
    whole = diverge(path, tmp_path / "store", settings=MANY)
    mean = float(whole.samples.kl_nats.mean())
    parts = diverge(path, tmp_path / "store", settings=MANY, rows=rows_of(kl_mean=mean))
    first = diverge(path, tmp_path / "store", settings=MANY, rows=rows_of(kl_mean=mean * 20))

    for name in ("nll_nats", "reference_nll_nats", "clusters", "kl_nats", "same_top", "compared"):
        own, other = getattr(parts.samples, name), getattr(whole.samples, name)
        assert np.array_equal(own, other)
        some = getattr(first.samples, name)
        assert np.array_equal(some, other[: len(some)])


def test_a_row_without_a_limit_keeps_nothing_going_and_says_why_it_has_no_number(
    toys: Toys, tmp_path: Path
) -> None:
    path = toys(bad=Toy(noise=0.3)) / "bad.gguf"
    some = MANY.model_copy(update={"windows": 32})
    early = diverge(path, tmp_path / "store", settings=some, rows=rows_of(kl_mean=100.0))
    late = diverge(path, tmp_path / "store", settings=some, rows=rows_of(kl_p99=1e-9))

    assert early.looks is not None
    assert early.looks.look == 1
    with pytest.raises(NotApplicable) as told:
        early.estimate("divergence.kl_p99", 0.95, {})
    assert str(told.value).startswith(
        "divergence.kl_p99: the rows that have a limit were certain before there was enough for an"
        " interval of this one: quantile interval (0.99): too little text to bound it: got 496 "
    )
    # nothing is left to ask: what is too little then is an error, with a limit or without
    assert late.looks is not None
    assert late.looks.is_last
    with pytest.raises(MeasurementError) as caught:
        late.estimate("divergence.kl_p99", 0.99999, {})
    assert not isinstance(caught.value, NotApplicable)


@pytest.mark.parametrize(
    ("count", "ends"), [(64, (32, 64)), (32, (16, 32)), (30, (30,)), (2, (2,))]
)
def test_few_windows_are_looked_at_less_often(count: int, ends: tuple[int, ...]) -> None:
    assert window_ends(count) == ends


PARTITION = "its worker is shut. Set OPEN=1"


class Restricted(Host):
    """A runtime that compares everything in some parts, and its likeliest tokens in the others."""

    mass: ClassVar[float] = 0.97
    told: ClassVar[tuple[bool, ...]] = ()
    """Of each part, whether it was compared over the whole vocabulary."""

    def __init__(self, settings: HostSettings) -> None:
        super().__init__(settings)
        self._parts = iter(self.told)

    def call(self, verb: str, request: object) -> Any:
        found = super().call(verb, request)
        if verb == "score" and not next(self._parts):
            masses = np.full(len(found["kl_nats"]), self.mass)
            found = {**found, "covered_mass": masses, "why_partition": PARTITION}
        return found


@pytest.mark.parametrize("told", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("mass", [0.97, 0.5])
def test_a_lower_bound_in_one_part_makes_one_of_the_whole(
    toys: Toys, tmp_path: Path, told: tuple[bool, ...], mass: float
) -> None:
    path = toys(same=Toy(noise=0.001)) / "same.gguf"
    host = type("Mixed", (Restricted,), {"told": told, "mass": mass})
    # a row that no look before the last decides: its limit is its own value
    whole = diverge(path, tmp_path / "store", settings=MANY)
    mean = float(np.maximum(whole.samples.kl_nats, 0.0).mean())

    found = diverge(
        path, tmp_path / "store", host, settings=MANY, rows=rows_of(kl_mean=mean, kl_p99=100.0)
    )

    masses = np.repeat([1.0 if is_whole else mass for is_whole in told], 24 * 31)
    assert found.samples.covered_mass is not None
    assert np.array_equal(found.samples.covered_mass, masses)
    assert found.samples.why_partition == PARTITION
    details = found.details("divergence.kl_mean")
    assert details["why_partition"] == PARTITION
    assert details["covered_mass"] == pytest.approx(masses.mean())
    # a row about a tail goes by the positions of which the least was compared
    for name, compared in (("kl_mean", masses.mean()), ("kl_p99", np.quantile(masses, 0.01))):
        row = found.estimate(f"divergence.{name}", 0.95, {})
        assert row.lower_bound.startswith(f"a lower bound: {compared * 100:.1f} % of ")
        assert row.lower_bound.endswith(PARTITION)
        # so little compared that damage could hide: it can fail, and never pass
        assert row.is_open is bool(compared < MIN_COVERED_MASS)
        (limit,) = rows_of(**{name: 100.0}).limits.values()
        assert judge(row, limit) is (Verdict.INCONCLUSIVE if row.is_open else Verdict.PASS)


def test_parts_that_were_compared_whole_are_no_lower_bound(toys: Toys, tmp_path: Path) -> None:
    path = toys(same=Toy(noise=0.001)) / "same.gguf"
    host = type("Mixed", (Restricted,), {"told": (True,)})

    found = diverge(path, tmp_path / "store", host, settings=MANY, rows=rows_of(kl_mean=100.0))

    assert found.samples.covered_mass is None
    assert found.estimate("divergence.kl_mean", 0.95, {}).lower_bound == ""
