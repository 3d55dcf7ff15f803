"""The mixin in vLLM's worker, on runners that do as the two of vLLM 0.32 do.

Against the real ones: tests/runtimes/vllm/served.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qgate.runtimes import wire
from qgate.runtimes.vllm.worker_extension import WholeVocabulary, place_in

torch = pytest.importorskip("torch", reason="vLLM's tensors are torch's")

VOCABULARY, WIDTH, SIZE, FIRST = 50, 8, 12, 5
WINDOWS = np.random.default_rng(1).integers(0, VOCABULARY, (2, SIZE)).astype(np.int32)
TABLE = torch.from_numpy(np.random.default_rng(2).normal(size=(VOCABULARY, WIDTH))).float()


class Runner:
    """V1's part that asks for the rows of prompts: request by request."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(compute_logits=lambda states: states @ TABLE.T)
        self.requests: dict[str, Any] = {}
        self.input_batch = SimpleNamespace(req_id_to_index={})
        self.query_start_loc = SimpleNamespace(np=np.zeros(3, dtype=np.int32))

    def step(self, scheduled: dict[str, tuple[int, int, int]]) -> int:
        """`scheduled`: name -> window, position and count."""
        states = torch.cat(
            [TABLE[WINDOWS[w, p : p + n].astype(np.int64)] for w, p, n in scheduled.values()]
        )
        for number, (name, (_, position, count)) in enumerate(scheduled.items()):
            self.requests[name] = SimpleNamespace(num_computed_tokens=position)
            self.input_batch.req_id_to_index[name] = number
            self.query_start_loc.np[number + 1] = self.query_start_loc.np[number] + count
        return self._get_prompt_logprobs_dict(
            states, {name: count for name, (_, _, count) in scheduled.items()}
        )

    def _get_prompt_logprobs_dict(self, states: Any, scheduled: dict[str, int]) -> int:
        for name, count in scheduled.items():
            row = self.query_start_loc.np[self.input_batch.req_id_to_index[name]]
            left = SIZE - 1 - self.requests[name].num_computed_tokens
            self.model.compute_logits(states[row : row + min(count, left)])
        return len(scheduled)


class RunnerV2(Runner):
    """V2's: all rows of a step in chunks, whosesoever they are."""

    def __init__(self) -> None:
        super().__init__()
        self.prompt_logprobs_worker = SimpleNamespace(compute_prompt_logprobs=self._all_of)

    def _get_prompt_logprobs_dict(self, states: Any, scheduled: dict[str, int]) -> int:
        batch = SimpleNamespace(
            req_ids=list(scheduled),
            query_start_loc_np=self.query_start_loc.np,
            num_computed_prefill_tokens_np=[
                self.requests[name].num_computed_tokens for name in scheduled
            ],
            num_scheduled_tokens=list(scheduled.values()),
        )
        given = (self.model.compute_logits, states, batch, None)
        return self.prompt_logprobs_worker.compute_prompt_logprobs(*given)

    @staticmethod
    def _all_of(head: Any, states: Any, batch: Any, _: Any) -> int:
        for start in range(0, len(states), 4):
            head(states[start : start + 4])
        return len(batch.req_ids)


def worker(runner: Runner) -> Any:
    made = WholeVocabulary()
    made.model_runner = runner
    return made


def order(**changes: Any) -> str:
    request = {"windows": WINDOWS, "first": FIRST, "stored": None, "anchors": None, "tops": None}
    return wire.encode({"names": ["r-1", "r-2"], "request": {**request, **changes}}).decode()


STEPS = [
    {"r-1-abc": (0, 0, 7), "other": (1, 0, 5)},
    {"r-1-abc": (0, 7, 5), "r-2": (1, 0, 12)},
]


def wanted_nll() -> np.ndarray:
    logits = (TABLE[WINDOWS.astype(np.int64)] @ TABLE.T).double().log_softmax(-1)
    targets = torch.from_numpy(WINDOWS.astype(np.int64))[:, FIRST + 1 :, None]
    return -logits[:, FIRST:-1].gather(-1, targets).reshape(-1).numpy()


@pytest.mark.parametrize("kind", [Runner, RunnerV2])
def test_rows_find_their_windows_however_steps_cut_them(kind: type[Runner]) -> None:
    runner = kind()
    looking = worker(runner)

    looking.qgate_begin(order())
    assert [runner.step(step) for step in STEPS] == [2, 2]
    told = wire.decode(looking.qgate_end().encode())

    assert told["found"]["own_nll_nats"] == pytest.approx(wanted_nll(), abs=1e-4)
    assert "compute_logits" in vars(runner.model)
    assert "_get_prompt_logprobs_dict" not in vars(runner)


@pytest.mark.parametrize("kind", [Runner, RunnerV2])
def test_rows_that_never_came_are_noticed(kind: type[Runner]) -> None:
    runner = kind()
    looking = worker(runner)
    looking.qgate_begin(order())
    runner.step({"r-2": (1, 0, 12)})

    told = wire.decode(looking.qgate_end().encode())

    assert told["failed"].startswith("lost samples: got 6 rows; expected 12")


def test_insides_of_another_version_are_no_reason_to_fall() -> None:
    class Other(Runner):
        def _get_prompt_logprobs_dict(self, states: Any, scheduled: dict[str, int]) -> int:
            self.model.compute_logits(states.clone())
            return len(scheduled)

    runner = Other()
    looking = worker(runner)
    looking.qgate_begin(order())

    assert [runner.step(step) for step in STEPS] == [2, 2]
    told = wire.decode(looking.qgate_end().encode())
    assert "other hidden states" in told["failed"]


def test_an_end_without_a_beginning_says_so() -> None:
    told = wire.decode(worker(Runner()).qgate_end().encode())

    assert told == {"failed": "it was not begun"}


def test_rows_of_a_tensor_are_found_by_their_place() -> None:
    states = torch.zeros(9, 4)

    assert [place_in(states[start:7], states) for start in (0, 3, 6)] == [0, 3, 6]
    for other in (torch.zeros(2, 4), states[:, 1:], states[::2]):
        with pytest.raises(ValueError, match="other hidden states"):
            place_in(other, states)
