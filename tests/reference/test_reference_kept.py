"""How a reference is kept: by what its runtime tells, and in the first form that gives it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qgate
from qgate.artifacts import discover
from qgate.errors import MeasurementError
from qgate.reference.encoding import Loaded, keep_reference
from qgate.reference.windows import Windows
from qgate.runtimes.base import ModelFacts
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.thresholds import TextSettings

DEMO = discover([Path(qgate.__file__).parent / "demo" / "model"])[0]
NOT_BELIEVED = {"why_partition": "its worker is shut. Set OPEN=1"}


class Served:
    """A child that answers `score` by the encoding that it is asked for."""

    n_vocab = None

    def __init__(self, **answers: dict[str, Any]) -> None:
        self._answers, self.asked = answers, list[str]()
        self.compared: list[list[bool]] = []

    def call(self, _: str, request: object) -> dict[str, Any]:
        assert isinstance(request, ScoreRequest)
        assert request.stored is not None
        assert request.compared is not None
        encoding = request.stored.encoding
        self.asked.append(encoding)
        self.compared.append(request.compared.tolist())
        return self._answers[encoding]


COUNTS = np.array([[1, 1, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]], dtype=bool)
"""Which tokens of two windows count."""
CHECKED = (0, 6, 14)
"""Of those that count every fourth: the 1st, the 5th and the 9th."""


def self_kl(nats: float, **at: float) -> dict[str, Any]:
    """So many everywhere, but for some places."""
    found = np.full(COUNTS.size, nats)
    for place, value in at.items():
        found[int(place.removeprefix("at_"))] = value
    return {"kl_nats": found}


def keep(directory: Path, host: Any, scoring: Any) -> tuple[float, str]:
    facts = ModelFacts(
        n_vocab=1792,
        width=256,
        n_params=3_600_000,
        context_length=512,
        bos=0,
        adds_bos=True,
        first_token=0,
        end_tokens=(1,),
        weights_bytes=0,
        load_s=0.0,
        scoring=scoring,
    )
    windows = Windows(
        ids=np.zeros((2, 16), np.int32),
        clusters=np.zeros((2, 8), np.int64),
        clustered_by="window",
        scored=COUNTS,
    )
    loaded = Loaded(host=host, facts=facts, windows=windows)
    settings = TextSettings(source="generated", windows=2, window_tokens=16)
    kept = keep_reference(directory, DEMO, settings, loaded)
    return kept.self_kl_nats, kept.stored.encoding


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ({"hidden": self_kl(1e-7)}, ["hidden"]),
        ({"hidden": self_kl(1e-3), "rows": self_kl(1e-7)}, ["hidden", "rows"]),
        (
            {"hidden": NOT_BELIEVED, "rows": NOT_BELIEVED, "top_k": self_kl(1e-5)},
            ["hidden", "rows", "top_k"],
        ),
    ],
    ids=["as states", "as rows", "as its likeliest tokens"],
)
def test_whole_rows_are_kept_where_they_are_believed(
    tmp_path: Path, answers: dict[str, Any], asked: list[str]
) -> None:
    host = Served(**answers)

    self_kl_nats, encoding = keep(tmp_path, host, "whole")

    assert encoding == asked[-1]
    assert self_kl_nats == pytest.approx(answers[encoding]["kl_nats"][0])
    assert host.asked == asked


def test_a_runtime_with_logits_keeps_no_likeliest_tokens(tmp_path: Path) -> None:
    host = Served(hidden=self_kl(1e-3), rows=self_kl(1e-3))

    with pytest.raises(MeasurementError, match=r"cannot be stored exactly: got a KL of 1\.0e-03"):
        keep(tmp_path, host, "logits")
    assert host.asked == ["hidden", "rows"]


def test_a_quarter_of_the_positions_that_count_is_checked(tmp_path: Path) -> None:
    """What is told of the others says nothing, and says nothing of the encoding."""
    others = {f"at_{place}": 9.0 for place in range(COUNTS.size) if place not in CHECKED}
    host = Served(hidden=self_kl(1e-7, **others))

    self_kl_nats, encoding = keep(tmp_path, host, "logits")

    assert encoding == "hidden"
    assert [np.flatnonzero(one).tolist() for one in host.compared] == [list(CHECKED)]
    assert self_kl_nats == pytest.approx(1e-7)


@pytest.mark.parametrize("place", CHECKED)
def test_what_is_checked_decides(tmp_path: Path, place: int) -> None:
    host = Served(hidden=self_kl(1e-7, **{f"at_{place}": -1e-3}), rows=self_kl(1e-7))

    assert keep(tmp_path, host, "logits")[1] == "rows"
    assert host.asked == ["hidden", "rows"]


@pytest.mark.parametrize("place", [1, 6, 15])
def test_a_number_that_cannot_be_kept_is_seen_at_any_position(tmp_path: Path, place: int) -> None:
    host = Served(hidden=self_kl(0.0, **{f"at_{place}": np.inf}), rows=self_kl(1e-7))

    assert keep(tmp_path, host, "logits")[1] == "rows"


def test_a_reference_of_which_no_encoding_holds_the_numbers_is_refused(tmp_path: Path) -> None:
    host = Served(hidden=self_kl(0.0, at_1=np.inf), rows=self_kl(0.0, at_2=np.inf))

    with pytest.raises(MeasurementError, match="cannot be stored exactly: got a KL of inf against"):
        keep(tmp_path, host, "logits")
