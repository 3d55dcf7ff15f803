"""How an original is kept: by what its runtime tells, and in the first form that gives it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qgate
from qgate.artifacts import discover
from qgate.errors import MeasurementError
from qgate.measure.original import Loaded, keep_original
from qgate.measure.windows import Windows
from qgate.runtimes.base import ModelFacts
from qgate.thresholds import TextSettings

DEMO = discover([Path(qgate.__file__).parent / "demo" / "model"])[0]
NOT_BELIEVED = {"why_partition": "its worker is shut. Set OPEN=1"}


class Served:
    """A child that answers `score` by the encoding that it is asked for."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self._answers, self.asked = answers, list[str]()

    def call(self, verb: str, **given: Any) -> dict[str, Any]:
        assert verb == "score"
        encoding = given["stored"]["encoding"]
        self.asked.append(encoding)
        return self._answers[encoding]


def self_kl(nats: float) -> dict[str, Any]:
    return {"kl_nats": np.full(10, nats)}


def keep(directory: Path, host: Any, scoring: Any) -> str:
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
        ids=np.zeros((2, 8), np.int32),
        clusters=np.zeros((2, 3), np.int64),
        clustered_by="window",
        scored=np.ones((2, 3), np.bool_),
    )
    loaded = Loaded(host=host, facts=facts, windows=windows)
    settings = TextSettings(source="generated", windows=2, window_tokens=8)
    return keep_original(directory, DEMO, settings, loaded)[1].encoding


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

    assert keep(tmp_path, host, "whole") == asked[-1]
    assert host.asked == asked


def test_a_runtime_with_logits_keeps_no_likeliest_tokens(tmp_path: Path) -> None:
    host = Served(hidden=self_kl(1e-3), rows=self_kl(1e-3))

    with pytest.raises(MeasurementError, match=r"cannot be stored exactly: got a KL of 1\.0e-03"):
        keep(tmp_path, host, "logits")
    assert host.asked == ["hidden", "rows"]
