"""vLLM's prompt log-probabilities as arrays, and no others than were asked for.

Flat lists without texts: as objects, or with each token's text, they would take fifty times as
long. At each position the token itself comes first, then the likeliest; the rank that goes with the
token itself counts all tokens that are at least as likely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.worker.prompt_logprobs import Reading, rows_of

if TYPE_CHECKING:
    from qgate.runtimes.base import Span


def scoring_parameters(span: Span, top: int, named: np.ndarray | None) -> Any:  # noqa: ANN401
    """What asks for a sequence's log-probabilities; a token has to be generated too."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    exactly = {}
    if named is not None:
        exactly = {"prompt_logprob_token_ids": named, "prompt_logprob_start": span.first}
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=top,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        **exactly,
    )


def read_output(output: Any, span: Span, top: int, *, is_named: bool) -> Reading:  # noqa: ANN401
    """One sequence's RequestOutput.

    Raises:
        MeasurementError: rows are lost, or are of other tokens than were sent.
    """
    flat, rows = output.prompt_logprobs, rows_of(span)
    if flat is None or len(flat) != len(span.ids):
        got = "none" if flat is None else len(flat)
        raise MeasurementError(
            f"vllm: lost samples: got log-probabilities at {got} positions;"
            f" expected {len(span.ids)}"
        )
    begin, each = flat.start_indices[span.first + 1], top + 1
    if flat.end_indices[-1] - begin != rows * each:
        raise MeasurementError(
            f"vllm: lost samples: got {flat.end_indices[-1] - begin} log-probabilities;"
            f" expected {each} at each of {rows} positions"
        )
    shape = (rows, each)
    ids = np.array(flat.token_ids[begin:], dtype=np.int32).reshape(shape)
    logprobs = np.array(flat.logprobs[begin:], dtype=np.float32).reshape(shape)
    if (ids[:, 0] != span.ids[span.first + 1 :]).any():
        raise MeasurementError("vllm: got log-probabilities of other tokens than were sent")
    return Reading(
        logprobs=logprobs[:, 0].astype(np.float64),
        is_top=np.array(flat.ranks[begin::each]) == 1,
        top_ids=ids[:, 1:],
        top_logprobs=logprobs[:, 1:],
        named_logprobs=_named(output) if is_named else None,
    )


def _named(output: Any) -> np.ndarray:  # noqa: ANN401 - vLLM's own
    found = output.prompt_token_id_logprobs
    if found is None:
        raise MeasurementError("vllm: lost samples: got no log-probabilities of the named tokens")
    named: np.ndarray = np.asarray(found, dtype=np.float32)
    return named
