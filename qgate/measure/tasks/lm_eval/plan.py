"""From lm-eval's requests to work for a child, and from its outcome to what lm-eval awaits.

    loglikelihood           one span: the continuation behind its context, cut on the left
    loglikelihood_rolling   a span for each window of `lm_eval.utils.get_rolling_token_windows`
    generate_until          one prompt, cut on the left; the answer ends where a stop string begins

Agrees with lm-eval's `hf` model at batch size 1 (tests/measure/tasks/lm_eval/test_agreement.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.encoding import Encoder, texts_of
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work
from qgate.runtimes.worker.stop_strings import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.runtimes.requests import Outcome, TokenizerClient

Response = tuple[float, bool] | float | str
"""Log-likelihood in nats and whether greedy decoding says the same; the log-likelihood of a whole
text; an answer."""
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_DEFAULT_LENGTH = 256
_CHANGES = MappingProxyType(
    {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0, "min_length": 0}
)
"""What changes greedy answers in transformers, and its value that changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessWork(Work):
    """Work that knows which of lm-eval's requests each of its parts answers."""

    kinds: tuple[str, ...] = ()
    """`request_type` of each request."""
    owners: tuple[int, ...] = ()
    """The request that each span is a part of, or the prompt's, spans first."""
    truncated: int = 0
    """Requests of which the beginning did not fit the context."""
    drops_space: bool = False
    """As `Encoder.drops_space`."""


class _Pieces:
    """Work while it is put together."""

    def __init__(self, tokenizer: TokenizerClient, names: Mapping[int, str]) -> None:
        self.encoder, self._tokenizer, self._names = Encoder(tokenizer), tokenizer, names
        self.spans: list[Span] = []
        self.prompts: list[Prompt] = []
        self.owners: dict[str, list[int]] = {"span": [], "prompt": []}
        self.cut: set[int] = set()

    def named(self, number: int, request: Any) -> str:  # noqa: ANN401 - an Instance
        """What messages call a request."""
        name = self._names.get(number, f"doc {request.doc_id}")
        return f"{request.task_name or 'request'}: {name}"

    def add_continuation(self, number: int, request: Any) -> None:  # noqa: ANN401 - an Instance
        context, continuation = request.args[:2]
        before, behind = self.encoder.pair(context, continuation)
        if not len(behind):
            raise MeasurementError(
                f"{self.named(number, request)}: got no token of its own for"
                f" {continuation[:40]!r}; expected a continuation that adds some to its context"
            )
        self._add_span(number, request, before, behind)

    def add_text(self, number: int, request: Any) -> None:  # noqa: ANN401 - an Instance
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        (text,) = request.args[:1]
        windows = get_rolling_token_windows(
            token_list=self.encoder.whole(text).tolist(),
            prefix_token=self._tokenizer.first_token,
            max_seq_len=self._tokenizer.context_tokens,
            context_len=1,
        )
        parts = [make_disjoint_window(window) for window in windows]
        if not parts:
            raise MeasurementError(
                f"{self.named(number, request)}: got an empty text; expected some tokens"
            )
        for before, behind in parts:
            self._add_span(number, request, np.array(before), np.array(behind))

    def _add_span(
        self,
        number: int,
        request: Any,  # noqa: ANN401 - an Instance
        before: np.ndarray,
        behind: np.ndarray,
    ) -> None:
        most = self._tokenizer.context_tokens
        if len(behind) > most:
            raise _too_long(self.named(number, request), len(behind), most)
        # the last token is predicted and never read: one more than the context fits
        ids = np.concatenate([before, behind]).astype(np.int32)[-(most + 1) :]
        if len(ids) < len(before) + len(behind):
            self.cut.add(number)
        first, name = len(ids) - len(behind) - 1, self._names.get(number, "")
        self.spans.append(Span(ids=ids, first=first, name=name))
        self.owners["span"].append(number)

    def add_prompt(self, number: int, request: Any) -> None:  # noqa: ANN401 - an Instance
        text, how = request.args[:2]
        most = length_of(how)
        room = self._tokenizer.context_tokens - most
        if room < 1:
            raise _too_long(self.named(number, request), most + 1, room + most)
        ids = self.encoder.whole(text)
        if not len(ids):
            ids = np.array([self._tokenizer.first_token], dtype=np.int32)
        if len(ids) > room:
            self.cut.add(number)
        name = self._names.get(number, "")
        prompt = Prompt(ids=ids[-room:], max_tokens=most, name=name, stops=stops_of(how))
        self.prompts.append(prompt)
        self.owners["prompt"].append(number)


def plan(
    requests: Sequence[Any], tokenizer: TokenizerClient, names: Mapping[int, str] | None = None
) -> HarnessWork:
    """The work that answers lm-eval's requests (`lm_eval.api.instance.Instance`).

    Args:
        requests: what is asked.
        tokenizer: the tokenizer.
        names: what messages call some of them, by their place.

    Raises:
        MeasurementError: a request asks for samples, or does not fit the model's context.
    """
    pieces = _Pieces(tokenizer, names or {})
    for number, request in enumerate(requests):
        if request.request_type == "generate_until" and (why := refusal(request.args[1])):
            raise MeasurementError(f"{pieces.named(number, request)}: {why}")
    pieces.encoder.learn(text for request in requests for text in _texts(request))
    add = {
        "loglikelihood": pieces.add_continuation,
        "loglikelihood_rolling": pieces.add_text,
        "generate_until": pieces.add_prompt,
    }
    for number, request in enumerate(requests):
        add[request.request_type](number, request)
    return HarnessWork(
        spans=tuple(pieces.spans),
        batches=(Batch(prompts=tuple(pieces.prompts)),) if pieces.prompts else (),
        kinds=tuple(request.request_type for request in requests),
        owners=(*pieces.owners["span"], *pieces.owners["prompt"]),
        truncated=len(pieces.cut),
        drops_space=pieces.encoder.drops_space,
    )


def _texts(request: Any) -> tuple[str, ...]:  # noqa: ANN401 - an Instance
    if request.request_type == "loglikelihood":
        return texts_of(*request.args[:2])
    text: str = request.args[0]
    return (text,)


def responses(work: HarnessWork, outcome: Outcome) -> list[Response]:
    """What one side answered, one for each request.

    Raises:
        MeasurementError: something was not answered.
    """
    texts = [text for answers in outcome.answers for text in answers.texts]
    prompts = [prompt for batch in work.batches for prompt in batch.prompts]
    if len(outcome.nll_nats) != len(work.spans) or len(texts) != len(prompts):
        raise MeasurementError(
            f"lost answers: got {len(outcome.nll_nats)} likelihoods and {len(texts)} texts;"
            f" expected {len(work.spans)} and {len(prompts)}"
        )
    totals = np.zeros(len(work.kinds))
    is_top = np.ones(len(work.kinds), dtype=bool)
    said: dict[int, str] = {}
    for number, nll, tops in zip(work.owners, outcome.nll_nats, outcome.is_top, strict=False):
        totals[number] -= float(nll.sum())
        is_top[number] &= bool(tops.all())
    for number, text, prompt in zip(work.owners[len(work.spans) :], texts, prompts, strict=True):
        whole = text.removeprefix(" ") if work.drops_space else text
        said[number] = cut(whole, prompt.stops)
    found: list[Response] = []
    for number, kind in enumerate(work.kinds):
        if kind == "generate_until":
            found.append(said[number])
        elif kind == "loglikelihood":
            found.append((float(totals[number]), bool(is_top[number])))
        else:
            found.append(float(totals[number]))
    return found


def refusal(how: Mapping[str, Any]) -> str:
    """Why these `generation_kwargs` cannot be asked; empty where they ask for greedy answers."""
    heat = float(how.get("temperature") or 0.0)
    if how.get("do_sample", heat > 0) and heat > 0:
        return (
            f"got do_sample at temperature {heat:g}; expected greedy answers, which can be compared"
            " one by one. Name a task that does not sample"
        )
    if (beams := int(how.get("num_beams") or 1)) > 1:
        return f"got num_beams {beams}; expected greedy answers"
    for key, plain in _CHANGES.items():
        if how.get(key) not in (None, plain):
            return f"got {key} {how[key]}; expected greedy answers as the model gives them"
    return ""


def length_of(how: Mapping[str, Any]) -> int:
    """Tokens that an answer may have, by whichever of its names comes first in lm-eval."""
    return next((int(how[key]) for key in _LENGTHS if how.get(key) is not None), _DEFAULT_LENGTH)


def stops_of(how: Mapping[str, Any]) -> tuple[str, ...]:
    until = how.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until)


def with_length(how: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """The same `generation_kwargs` with another length."""
    rest = {key: value for key, value in how.items() if key not in _LENGTHS}
    return {**rest, _LENGTHS[0]: tokens}


def _too_long(named: str, tokens: int, most: int) -> MeasurementError:
    return MeasurementError(
        f"{named} does not fit the context: got {tokens} tokens to score or to generate;"
        f" expected at most {most}. Set max_tokens, or name a task with shorter answers"
    )
