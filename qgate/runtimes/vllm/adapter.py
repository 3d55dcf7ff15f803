"""vLLM, offline, in this process: Hugging Face directories as they are served.

vLLM tells no logits. Of a prompt it tells each token's log-probability and the likeliest tokens at
its position (`qgate.runtimes.vllm.prompt_logprobs`), which is what likelihoods and divergences are
made from here (`qgate.runtimes.worker.logprob_scoring`). Past versions told wrong ones, so an
engine is tried before it is used (`qgate.runtimes.vllm.self_check`); that also shows a missing
kernel at loading time. Whole rows are compared inside its worker where that can be believed
(`qgate.runtimes.vllm.whole_rows`).

On a CPU numbers are computed in 32 bits where the scheme allows it: nearest to the reference. On a
GPU they are what the artifact declares, as in serving.
"""

from __future__ import annotations

import math
import operator
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError, QGateError, RuntimeUnavailable
from qgate.records import RuntimeFacts
from qgate.runtimes.base import (
    Answer,
    Buffers,
    LoadSettings,
    ModelFacts,
    Progress,
    Prompt,
    Sampled,
    Sampling,
    Scoring,
    Span,
)
from qgate.runtimes.hf_vocabulary import Vocabulary
from qgate.runtimes.torch_memory import peak_bytes
from qgate.runtimes.vllm import engine as vllm_engine
from qgate.runtimes.vllm import introspection as vllm_facts
from qgate.runtimes.vllm import prompt_logprobs
from qgate.runtimes.vllm import whole_rows as vllm_whole
from qgate.runtimes.vllm.engine import TOKENS_PER_STEP, Asked, Engine
from qgate.runtimes.vllm.self_check import check_log_probabilities, check_named_tokens
from qgate.runtimes.worker.sampling import Writing, gathered
from qgate.runtimes.worker.stop_strings import SideBySide, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qgate.runtimes.worker.prompt_logprobs import Reading
    from qgate.runtimes.worker.scoring import ScoreRequest

_DTYPES = {"cpu": ("float32", "auto"), "gpu": ("auto",)}
"""What is tried in this order; some kernels do not compute in 32 bits."""


class Vllm:
    """One model in one engine."""

    def __init__(self) -> None:
        self._version = vllm_engine.require_vllm()
        self._device = vllm_engine.find_device()
        self._open: Engine | None = None
        self._names_tokens = False
        self.why_partition = ""
        """Why divergences are not over the whole vocabulary; empty where they are."""

    @property
    def scoring(self) -> Scoring:
        return "top_k" if self.why_partition else "whole"

    def describe(self) -> RuntimeFacts:
        import torch
        from vllm.platforms import current_platform

        if self._device == "cpu":
            build = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
        else:
            build = f"torch {torch.__version__}, {current_platform.get_device_name()}"
        build += vllm_facts.named_runner()
        return RuntimeFacts(name="vllm", version=self._version, device=self._device, build=build)

    def load(self, settings: LoadSettings) -> ModelFacts:
        started = time.perf_counter()
        if settings.quantize is not None:
            method = settings.quantize.get("method")
            raise RuntimeUnavailable(
                f"vllm does not quantize while it loads: got {method!r} in qgate.yaml;"
                " expected weights as they are. Serve it with --qgate-runtime=transformers"
            )
        engine = self._start(settings)
        config = engine.config.model_config
        return ModelFacts(
            n_vocab=config.get_vocab_size(),
            width=config.get_hidden_size(),
            n_params=vllm_facts.n_params(engine),
            context_length=vllm_facts.context_length(engine),
            bos=self._vocab.bos,
            adds_bos=self._vocab.adds_bos,
            first_token=self._vocab.first_token,
            end_tokens=self._vocab.end_tokens,
            weights_bytes=vllm_facts.weights_bytes(engine),
            load_s=time.perf_counter() - started,
            scoring=self.scoring,
            kernel=vllm_facts.kernels(engine),
        )

    def _start(self, settings: LoadSettings) -> Engine:
        """An engine whose log-probabilities have been tried."""
        refusal: RuntimeUnavailable | None = None
        for dtype in _DTYPES[self._device]:
            self.close()
            try:
                self._open = Engine(settings, self._device, dtype)
                self._vocab = Vocabulary(self._open.llm.get_tokenizer(), Path(settings.path))
                n_vocab = self._open.config.model_config.get_vocab_size()
                check_log_probabilities(self, n_vocab, self._open.longest)
                self.why_partition = vllm_whole.why_not(self, n_vocab, self._open.longest)
                self._names_tokens = self._can_name_tokens(n_vocab)
            except RuntimeUnavailable as error:
                refusal = refusal or error
            else:
                return self._open
        self.close()
        assert refusal is not None
        raise refusal

    @property
    def _engine(self) -> Engine:
        assert self._open is not None
        return self._open

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        return self._vocab.tokenize(text)

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        return self._vocab.encode(text, begins=begins)

    def decode(self, ids: np.ndarray) -> str:
        return self._vocab.decode(ids)

    # --- likelihoods --------------------------------------------------------------------------

    @property
    def reads_named(self) -> bool:
        return self._names_tokens

    def _can_name_tokens(self, n_vocab: int) -> bool:
        """Only some versions, with some of their model runners; and only if it comes out right."""
        if not getattr(self._engine.config, "use_v2_model_runner", False):
            return False
        try:
            check_named_tokens(self, n_vocab, self._engine.longest)
        except QGateError:
            return False
        return True

    def read_prompts(
        self, spans: Sequence[Span], top: int, named: Sequence[np.ndarray] | None = None
    ) -> Iterator[Reading]:
        names = [None] * len(spans) if named is None else named
        asked = [
            Asked(ids=span.ids, parameters=prompt_logprobs.scoring_parameters(span, top, one))
            for span, one in zip(spans, names, strict=True)
        ]
        for span, output in zip(spans, self._engine.finished(asked), strict=True):
            yield prompt_logprobs.read_output(output, span, top, is_named=named is not None)

    def watch(self, request: ScoreRequest) -> None:
        vllm_whole.begin(self._engine, request)

    def watched(self) -> dict[str, np.ndarray]:
        return vllm_whole.end(self._engine)

    @property
    def remedy(self) -> str:
        return vllm_whole.remedy(self._engine, self._device)

    def next_tokens(self, prompts: Sequence[np.ndarray]) -> list[tuple[int, float]]:
        """The greedy token after each prompt and its log-probability, nats."""
        asked = [Asked(ids=ids, parameters=_parameters(1, logprobs=0)) for ids in prompts]
        answers = [output.outputs[0] for output in self._engine.finished(asked)]
        return [(answer.token_ids[0], answer.logprobs.logprobs[0]) for answer in answers]

    # --- text ---------------------------------------------------------------------------------

    def sample(self, sampling: Sampling, progress: Progress) -> Sampled:
        first = self._vocab.first_token
        writings = [Writing(sampling, number, first) for number in range(sampling.sequences)]
        done, total = 0, sampling.sequences * sampling.tokens

        def tell(said: int) -> None:
            progress("generating text", done + said, total)

        while going := [number for number, one in enumerate(writings) if one.room]:
            going = [number for number in going if _give(writings[number])]
            asked = [_asked_to_go_on(writings[number], number, sampling) for number in going]
            for number, output in zip(going, self._sampled(asked, tell), strict=True):
                said = list(output.outputs[0].token_ids)
                if not 0 < len(said) <= writings[number].answer_room:
                    raise MeasurementError(f"vllm: lost tokens: got {len(said)} of an answer")
                for token in said:
                    writings[number].say(token)
                done += len(said)
        return gathered(writings)

    def _sampled(self, asked: Sequence[Asked], tell: Callable[[int], None]) -> Iterator[Any]:
        """Requests with seeds of their own, in their order.

        On a CPU as many at a time as are read in one step: for one that is read in two, vLLM 0.32
        moves its generator back, which torch's generator of a CPU refuses.
        """
        room = TOKENS_PER_STEP if self._device == "cpu" else math.inf
        group: list[Asked] = []
        for one in asked:
            if group and sum(len(before.ids) for before in group) + len(one.ids) > room:
                yield from self._engine.until(group, operator.not_, tell)
                group = []
            group.append(one)
        if group:
            yield from self._engine.until(group, operator.not_, tell)

    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(prompts), batch_size):
            group = prompts[start : start + batch_size]
            stop = start + len(group)
            progress("answering", start, len(prompts), (start, stop))
            outputs = self._answered(group, progress)
            for prompt, output in zip(group, outputs, strict=True):
                answer = _answer(output.outputs[0], self._vocab.end_tokens)
                answers.append(shortened(answer, prompt.stops, self.decode))
                progress("answering", len(answers), len(prompts), (len(answers), stop))
        return answers

    def _answered(self, group: Sequence[Prompt], progress: Progress) -> list[Any]:
        """The last RequestOutput of each; all are looked at on the way, as they may end early."""
        given = SideBySide(group, self.decode)
        wanted = sum(prompt.max_tokens for prompt in group)

        def are_settled(going: Mapping[int, Any]) -> bool:
            for number, output in going.items():
                given.ids[number] = output.outputs[0].token_ids
            return given.are_settled(going)

        def tell(said: int) -> None:
            progress("answering", said, wanted)

        ends = list(self._vocab.end_tokens)
        asked = [
            Asked(
                ids=prompt.ids,
                parameters=_parameters(
                    prompt.max_tokens, "CUMULATIVE", logprobs=2, stop_token_ids=ends
                ),
            )
            for prompt in group
        ]
        return self._engine.until(asked, are_settled, tell)

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        parameters = _parameters(count, "DELTA", ignore_eos=True)
        for output in self._engine.stream(Asked(ids=ids, parameters=parameters)):
            yield from output.outputs[0].token_ids

    # --- memory -------------------------------------------------------------------------------

    def fill_context(self, tokens: int) -> Buffers:
        engine = self._engine
        kv_cache_bytes, cells = vllm_facts.kv_cache(engine, tokens)
        n_vocab = engine.config.model_config.get_vocab_size()
        ids = np.random.default_rng(0).integers(0, n_vocab, tokens - 1).astype(np.int32)

        def serve() -> None:
            for _ in self.stream(ids, 1):
                pass

        return Buffers(
            weights_bytes=vllm_facts.weights_bytes(engine),
            kv_cache_bytes=kv_cache_bytes,
            compute_bytes=peak_bytes(serve),
            context_tokens=cells,
        )

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


def _give(writing: Writing) -> bool:
    """Take what is given next; whether the model is to go on behind it."""
    while writing.is_given and writing.room:
        writing.give()
    return writing.room > 0


def _asked_to_go_on(writing: Writing, number: int, sampling: Sampling) -> Asked:
    """The next answer of a sequence, by vLLM's own sampler: its draws are its own."""
    heat, is_free = sampling.heat, not sampling.turns
    parameters = _parameters(
        writing.answer_room,
        "CUMULATIVE",
        temperature=heat.temperature,
        top_k=heat.top_k,
        top_p=heat.top_p,
        min_p=heat.min_p,
        # of one window at one place, and of no other seed's
        seed=int(
            np.random.SeedSequence((sampling.seed, number, len(writing.ids))).generate_state(1)[0]
        ),
        ignore_eos=is_free,
        stop_token_ids=[] if is_free else list(sampling.ends),
    )
    return Asked(ids=np.array(writing.ids, dtype=np.int32), parameters=parameters)


def _parameters(tokens: int, kind: str = "FINAL_ONLY", **how: Any) -> Any:  # noqa: ANN401 - vLLM's own
    """Of a request that generates: greedy unless something else is said, no text made."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    wanted: Mapping[str, Any] = {
        "temperature": 0.0,
        "max_tokens": tokens,
        "detokenize": False,
        "flat_logprobs": True,
        "output_kind": RequestOutputKind[kind],
        **how,
    }
    return SamplingParams(**wanted)


def _answer(found: Any, end_tokens: tuple[int, ...]) -> Answer:  # noqa: ANN401 - vLLM's own
    """One greedy answer; at each position the token itself comes first, then the two likeliest."""
    ids, flat = np.array(found.token_ids, dtype=np.int32), found.logprobs
    logprobs = np.array(flat.logprobs, dtype=np.float32)
    if len(logprobs) != 3 * len(ids):
        raise MeasurementError(
            f"vllm: lost tokens: got {len(logprobs)} log-probabilities; expected 3 a token,"
            f" {3 * len(ids)}"
        )
    margins = logprobs.reshape(-1, 3)
    if np.isnan(margins).any():
        raise MeasurementError("the model's logits are not finite while it generates text")
    end = int(ids[-1]) if len(ids) and int(ids[-1]) in end_tokens else None
    return Answer(
        ids=ids if end is None else ids[:-1],
        end=end,
        margins_nats=margins[:, 1] - margins[:, 2],
    )
