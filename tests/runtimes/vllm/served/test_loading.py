"""What vLLM loads and what is refused in one line; nothing of it outlives its child."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError, RuntimeUnavailable
from qgate.runtimes.host import Host, HostSettings
from tests.support.children import score
from tests.support.vllm_environment import (
    TOKENS,
    copy_of_demo,
    load,
    python_with_vllm,
    rewrite,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_an_unknown_scheme_is_refused_in_one_line(host: Host, tmp_path: Path) -> None:
    nf4 = copy_of_demo(
        tmp_path / "nf4",
        quantization_config={"quant_method": "nobody_knows", "load_in_4bit": True},
    )

    with pytest.raises(RuntimeUnavailable) as caught:
        load(host, nf4)

    message = str(caught.value)
    assert message.startswith(
        "vllm does not serve this artifact: Unknown quantization method: nobody_knows"
    )
    assert message.endswith("--qgate-runtime=transformers, or where vLLM has a GPU")
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@pytest.mark.parametrize("name", ["mlp.down_proj", "self_attn.k_proj"])
def test_a_missing_tensor_is_refused(host: Host, tmp_path: Path, name: str) -> None:
    missing = f"model.layers.1.{name}.weight"
    holed = rewrite(
        copy_of_demo(tmp_path / "holed"),
        lambda tensors: {key: value for key, value in tensors.items() if key != missing},
    )

    with pytest.raises(ArtifactError, match=r"vllm refuses the model: .*layers\.1"):
        load(host, holed)


def test_weights_that_are_no_numbers_are_refused(host: Host, tmp_path: Path) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors["model.layers.2.mlp.up_proj.weight"][3, 3] = np.nan
        return tensors

    with pytest.raises(ArtifactError, match=r"no numbers: model\.layers\.2\.mlp\.gate_up_proj"):
        load(host, rewrite(copy_of_demo(tmp_path / "nan"), spoil))


def test_it_loads_the_files_that_the_integrity_rows_look_at(host: Host, tmp_path: Path) -> None:
    def damage(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(value) for name, value in tensors.items()}

    sound, other = copy_of_demo(tmp_path / "sound"), copy_of_demo(tmp_path / "other")
    rewrite(other, damage)
    ids = np.arange(5, 5 + TOKENS, dtype=np.int32)[None]
    load(host, sound)
    wanted = score(host, ids).nll_nats

    (other / "model.safetensors").rename(sound / "zeros.safetensors")
    load(host, sound)
    assert np.array_equal(score(host, ids).nll_nats, wanted)

    tensors = ["model.embed_tokens.weight"]
    index = {"weight_map": dict.fromkeys(tensors, "zeros.safetensors")}
    (sound / "model.safetensors.index.json").write_text(json.dumps(index))
    load(host, sound)
    assert np.array_equal(score(host, ids).nll_nats, wanted)


def test_quantizing_while_loading_is_refused(host: Host) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"got 'bitsandbytes' in qgate\.yaml"):
        load(host, model_directory(), quantize={"method": "bitsandbytes"})


def test_code_in_the_artifact_is_not_run(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hostile = copy_of_demo(
        tmp_path / "hostile",
        model_type="mine",
        architectures=["Mine"],
        auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Mine"},
    )
    (hostile / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n")

    with pytest.raises((ArtifactError, RuntimeUnavailable)):
        load(host, hostile)

    assert not mark.exists()


def test_nothing_outlives_the_child() -> None:
    with Host(HostSettings(runtime="vllm", python=python_with_vllm())) as host:
        load(host, model_directory(), window_tokens=64, context_tokens=64)
        session = host.pid
        assert session in _sessions()

    assert session not in _sessions()


def _sessions() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found.add(os.getsid(int(path.parent.name)))
        except (ProcessLookupError, PermissionError):
            continue
    return found
