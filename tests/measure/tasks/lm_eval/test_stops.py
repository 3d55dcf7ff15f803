"""What lm-eval reads of an answer is the same whether it stopped early or ran to its length."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.measure.tasks.lm_eval.plan import HarnessWork, plan, responses
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.runtimes.messages import NO_END
from tests.conftest import ROOT
from tests.measure.tasks.lm_eval.conftest import GENERATED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.measure.tasks.lm_eval.conftest import Side

COUNT, MOST = 24, 96
UNTIL = {"one": ["\n"], "several": ["Question:", "\n", "</s>"], "overlapping": ["\n\n", "\n", " ="]}


def without_stops(work: HarnessWork) -> HarnessWork:
    batches = tuple(
        dataclasses.replace(
            batch, prompts=tuple(dataclasses.replace(one, stops=()) for one in batch.prompts)
        )
        for batch in work.batches
    )
    return dataclasses.replace(work, batches=batches)


@pytest.mark.parametrize("until", UNTIL.values(), ids=UNTIL)
@pytest.mark.parametrize("name", ["transformers_side", "llama_side"])
def test_answers_are_cut_to_the_same_text_of_fewer_tokens(
    write_task: Callable[..., Path], request: pytest.FixtureRequest, name: str, until: list[str]
) -> None:
    side: Side = request.getfixturevalue(name)
    lines = (ROOT / "thresholds" / "tasks" / "arithmetic.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:COUNT]]
    how = {"until": until, "max_gen_toks": MOST, "do_sample": False}
    directory = write_task("sums", GENERATED, rows, generation_kwargs=how)
    loaded = load_task(HarnessSettings(name="sums", include_path=directory))
    work = plan(loaded.task.instances, side.tokenizer)

    stopped, whole = side.ask(work), side.ask(without_stops(work))

    # cut by the same stops: the work says how answers are read
    assert responses(work, stopped) == responses(work, whole)
    assert work.digest() != without_stops(work).digest()
    (short,), (long,) = stopped.answers, whole.answers
    assert sum(map(len, short.ids)) < sum(map(len, long.ids)) / 3
    for own, theirs in zip(short.margins_nats, long.margins_nats, strict=True):
        assert own.tobytes() == theirs[: len(own)].tobytes()
    assert np.all(short.ends == NO_END)
