"""What reads whole rows inside vLLM's worker: loaded there by its `worker_extension_cls`.

vLLM tells of a prompt's position a few log-probabilities. Its worker has the logits of the whole
vocabulary there for a moment; this mixin looks on while it does, and reduces them to a few numbers
a position (`qgate.runtimes.worker.whole_rows`). It is driven by `collective_rpc`, with texts only,
so the worker may be another process; full logits never leave it. Between `qgate_begin` and
`qgate_end` two methods are wrapped, by the names that vLLM 0.32 gives them:

    runner              the step that asks for a prompt's rows        what it calls for logits
    V1                  model_runner._get_prompt_logprobs_dict        model.compute_logits
    V2                  prompt_logprobs_worker.compute_prompt_logprobs   the same

The step knows which rows of the hidden states are of which request; `compute_logits` is called with
some of those rows, told by their place in memory. Another version may do otherwise: whether what
came out is believed is decided by `qgate.runtimes.worker.whole_scoring`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError
from qgate.runtimes import wire
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.runtimes.worker.threads import ThreadTeam
from qgate.runtimes.worker.whole_rows import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

NAME = "qgate.runtimes.vllm.worker_extension.WholeVocabulary"
"""What vLLM is told as its `worker_extension_cls`."""


class WholeVocabulary:
    """Mixed into the worker's class; its methods are called by `collective_rpc`."""

    model_runner: Any
    _qgate_tap: _Tap | None

    def qgate_begin(self, order: str) -> None:
        """Look on from now on.

        Args:
            order: `request`, a `ScoreRequest`, and `names`, what the engine calls the
                request of each of its windows; encoded as between parent and child.
        """
        told = wire.decode(order.encode())
        names = {name: number for number, name in enumerate(told["names"])}
        tap = _Tap(self.model_runner, names, wire.read(ScoreRequest, told["request"]))
        tap.begin()
        self._qgate_tap = tap

    def qgate_end(self) -> str:
        """Stop looking on; what came of it: `found`, or `failed` or `refused` and why."""
        tap = getattr(self, "_qgate_tap", None)
        self._qgate_tap = None
        told = {"failed": "it was not begun"} if tap is None else tap.end()
        return wire.encode(told).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one window among those of a step."""

    window: int
    position: int
    """Of its first row in the window."""
    row: int
    """Of its first row in the step."""
    count: int


class _Tap:
    """Wraps a model runner's methods, and passes on what they compute."""

    def __init__(self, runner: Any, names: Mapping[str, int], request: ScoreRequest) -> None:  # noqa: ANN401
        self._runner, self._names = runner, names
        self._team = ThreadTeam()
        self._watch = Watch(request, self._team)
        self._wrapped: list[tuple[Any, str, Any]] = []
        self._step: tuple[Any, Sequence[Part]] | None = None
        self._failed = self._refused = ""

    def begin(self) -> None:
        prompts = getattr(self._runner, "prompt_logprobs_worker", None)
        if prompts is not None:
            self._wrap(prompts, "compute_prompt_logprobs", self._step_of_v2)
        else:
            self._wrap(self._runner, "_get_prompt_logprobs_dict", self._step_of_v1)
        self._wrap(self._runner.model, "compute_logits", self._logits)

    def end(self) -> dict[str, Any]:
        for owner, name, own in self._wrapped:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        self._team.__exit__()
        if self._refused or self._failed:
            return {"refused": self._refused, "failed": self._failed}
        try:
            found: dict[str, np.ndarray] = self._watch.found()
        except QGateError as error:
            return {"failed": str(error)}
        return {"found": found}

    def _wrap(self, owner: Any, name: str, by: Callable[..., Any]) -> None:  # noqa: ANN401
        plain, own = getattr(owner, name), vars(owner).get(name)

        def wrapper(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            return by(plain, *given, **named)

        setattr(owner, name, wrapper)
        self._wrapped.append((owner, name, own))

    # --- which rows of a step are of which window ---------------------------------------------

    def _step_of_v1(self, plain: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        with self._noting():
            states, scheduled = given
            self._step = states, _parts_of_v1(self._runner, self._names, scheduled)
        try:
            return plain(*given, **named)
        finally:
            self._step = None

    def _step_of_v2(self, plain: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        with self._noting():
            _, states, batch, *_ = given
            self._step = states, _parts_of_v2(self._names, batch)
        try:
            return plain(*given, **named)
        finally:
            self._step = None

    # --- the rows themselves --------------------------------------------------------------------

    def _logits(self, plain: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401
        logits = plain(*given, **named)
        if self._step is not None:
            with self._noting():
                self._take(given[0], logits, *self._step)
        return logits

    def _take(self, states: Any, logits: Any, of_step: Any, parts: Sequence[Part]) -> None:  # noqa: ANN401
        start = place_in(states, of_step)
        for part in parts:
            begin = max(part.row, start)
            count = min(part.row + part.count, start + len(states)) - begin
            position = part.position + begin - part.row
            kept = self._watch.wanted(position, max(count, 0))
            if kept.stop <= kept.start:
                continue
            rows = slice(kept.start + begin - start, kept.stop + begin - start, kept.step)
            self._watch.take(
                part.window,
                position + kept.start,
                _to_numpy(logits[rows]),
                _to_numpy(states[rows]) if self._watch.wants_states else None,
            )

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """The engine goes on whatever happens here; what happened is told in the end."""
        try:
            yield
        except QGateError as error:
            self._refused = self._refused or str(error)
        except Exception as error:  # noqa: BLE001 - another version's insides: anything may come
            said = " ".join(str(error).split())[:200]
            self._failed = self._failed or f"{type(error).__name__}: {said}"


def place_in(states: Any, of_step: Any) -> int:  # noqa: ANN401 - torch tensors
    """Which row of the step's hidden states some of them begin with.

    Raises:
        ValueError: they are no rows of them.
    """
    row_bytes = of_step.stride(0) * of_step.element_size()
    at, rest = divmod(states.data_ptr() - of_step.data_ptr(), row_bytes)
    if rest or states.stride(0) != of_step.stride(0) or not 0 <= at <= len(of_step) - len(states):
        raise ValueError("logits are computed from other hidden states than the step's")
    return int(at)


def _parts_of_v1(runner: Any, names: Mapping[str, int], scheduled: Any) -> list[Part]:  # noqa: ANN401
    parts = []
    for name, count in scheduled.items():
        window = _window(names, name)
        if window is not None:
            row = runner.query_start_loc.np[runner.input_batch.req_id_to_index[name]]
            position = int(runner.requests[name].num_computed_tokens)
            parts.append(Part(window=window, position=position, row=int(row), count=int(count)))
    return parts


def _parts_of_v2(names: Mapping[str, int], batch: Any) -> list[Part]:  # noqa: ANN401
    parts = []
    for number, name in enumerate(batch.req_ids):
        window = _window(names, name)
        if window is not None:
            position = int(batch.num_computed_prefill_tokens_np[number])
            row = int(batch.query_start_loc_np[number])
            count = int(batch.num_scheduled_tokens[number])
            parts.append(Part(window=window, position=position, row=row, count=count))
    return parts


def _window(names: Mapping[str, int], name: str) -> int | None:
    """The name as it was given, or with what vLLM puts behind it: something random."""
    found = names.get(name)
    return names.get(name.rpartition("-")[0]) if found is None else found


def _to_numpy(rows: Any) -> np.ndarray:  # noqa: ANN401 - a torch tensor
    found: np.ndarray = rows.detach().float().cpu().contiguous().numpy()
    return found
