"""What every adapter promises, asked of its real child: the one suite that vLLM is held to as well.

`test_contract.py` looks further into those that give whole logits in this process. vLLM takes part
where it is: QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/runtimes -m vllm
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.testing import RuntimeContract, ServedChild, serve
from qgate.runtimes.verbs import DESCRIBE
from tests.conftest import Toy, write_toy
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

NEAR_ON_A_GPU_NATS = 0.05
"""16 bits there: a logit of 16 is a multiple of 1/64."""


def toy(request: pytest.FixtureRequest) -> Path:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return write_toy(factory.mktemp("toy") / "toy.gguf", Toy(scheme="F32"))


def demo_gguf(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue("demo")
    return found


def demo_hf(_: pytest.FixtureRequest) -> Path:
    pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")
    return model_directory()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An adapter, and the model that its child serves."""

    find: Callable[[pytest.FixtureRequest], Path]
    python: Callable[[], str] = lambda: sys.executable
    near_nats: float = 0.0
    """What other sequences in the same call may move one token's likelihood by; 0: no bit."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "fake": Kind(find=toy),
        "llama_cpp": Kind(find=demo_gguf),
        "transformers": Kind(find=demo_hf, near_nats=1e-4),
        "vllm": Kind(find=lambda _: model_directory(), python=python_with_vllm, near_nats=1e-4),
    }
)


def named(name: str) -> Any:
    """vLLM is left to those who ask for it: a start takes half a minute."""
    marks = [pytest.mark.vllm, pytest.mark.slow] if name == "vllm" else []
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module", params=map(named, KINDS))
def served(request: pytest.FixtureRequest) -> Iterator[ServedChild]:
    kind = KINDS[request.param]
    with serve(request.param, kind.find(request), python=kind.python()) as child:
        on_cpu = DESCRIBE.ask(child.host, None).device == "cpu"
        near = kind.near_nats if on_cpu else NEAR_ON_A_GPU_NATS
        yield dataclasses.replace(child, near_nats=near)


class TestEveryRuntime(RuntimeContract):
    pass
