"""Hugging Face directories are loaded whole or not at all, and what fails is told in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError, MeasurementError, RuntimeFailed, RuntimeUnavailable
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.transformers import requirements as transformers_packages
from qgate.runtimes.transformers.requirements import SCHEMES, require
from tests.runtimes.conftest import open_with

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")

from safetensors.numpy import load_file, save_file

WEIGHTS = "model.safetensors"
Tensors = dict[str, Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the demo's model, to be spoiled."""
    directory = tmp_path / "model"
    shutil.copytree(model_directory(), directory)
    return directory


def change(directory: Path, how: Callable[[Tensors], None]) -> Path:
    tensors = load_file(directory / WEIGHTS)
    how(tensors)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    return directory


def say(directory: Path, name: str = "config.json", **changes: Any) -> Path:
    path = directory / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return directory


def refusal(directory: Path, kind: type[Exception] = ArtifactError, **how: Any) -> str:
    with pytest.raises(kind) as caught, closing(open_with(directory, **how).runtime):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestWholeOrNotAtAll:
    def test_missing_tensors_are_refused_by_name(self, copy: Path) -> None:
        names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(4)]
        change(copy, lambda tensors: [tensors.pop(name) for name in names])

        told = refusal(copy)

        assert "fills with random numbers" in told
        assert f": {', '.join(names[:3])} and 1 more" in told

    def test_tied_weights_are_not_missing(self) -> None:
        assert "lm_head.weight" not in load_file(model_directory() / WEIGHTS)
        with closing(open_with(model_directory()).runtime):
            pass

    def test_a_tensor_that_nobody_asked_for_is_refused(self, copy: Path) -> None:
        change(copy, lambda tensors: tensors.update(extra=np.zeros((2, 2), np.float16)))

        assert "has no place for: extra" in refusal(copy)

    def test_a_tensor_of_another_shape_is_refused_with_both_shapes(self, copy: Path) -> None:
        name = "model.layers.2.mlp.down_proj.weight"
        change(copy, lambda tensors: tensors.update({name: tensors[name][:, :512].copy()}))

        told = refusal(copy)

        assert f"{name} (got [256, 512]; expected [256, 768])" in told

    def test_a_layer_that_config_does_not_count_is_refused(self, copy: Path) -> None:
        assert "has no place for: model.layers.3." in refusal(say(copy, num_hidden_layers=3))

    def test_one_that_config_counts_and_nobody_wrote_is_refused(self, copy: Path) -> None:
        assert "fills with random numbers: model.layers.4." in refusal(
            say(copy, num_hidden_layers=5)
        )


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class TestHostile:
    def test_pickles_are_not_read(self, copy: Path, tmp_path: Path) -> None:
        mark = tmp_path / "unpickled"
        (copy / WEIGHTS).unlink()
        (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(mark)))

        assert "safetensors" in refusal(copy)
        assert not mark.exists()

    def test_kernels_of_a_hub_are_not_asked_for(self, copy: Path) -> None:
        ids = np.arange(3, 40, dtype=np.int32)
        told = []
        for names in ((), ("attn_implementation", "experts_implementation")):
            kernel = "kernels-community/flash-attn3"
            say(copy, **{prefix + name: kernel for name in names for prefix in ("", "_")})
            served = open_with(copy)
            with closing(served.runtime):
                told.append(served.logits(ids, 0))

        assert told[0].tobytes() == told[1].tobytes()

    @pytest.mark.parametrize(
        ("changes", "line"),
        [
            (
                {"num_hidden_layers": 10**9},
                "num_hidden_layers: got 1000000000; expected no more than the files' {} tensors",
            ),
            (
                {"text_config": {"n_layer": 10**9}},
                "n_layer: got 1000000000; expected no more than the files' {} tensors",
            ),
            (
                {"vocab_size": 10**9},
                "vocab_size: got 1000000000, by a width of 256; expected a matrix that is in the"
                " files' {bytes} bytes",
            ),
            (
                {"hidden_size": 10**12},
                "vocab_size: got 1792, by a width of 1000000000000; expected a matrix that is in"
                " the files' {bytes} bytes",
            ),
        ],
        ids=["layers", "layers of a part", "tokens", "width"],
    )
    def test_sizes_that_cannot_be_in_the_files_are_refused_before_anything_is_made(
        self, copy: Path, changes: dict[str, Any], line: str
    ) -> None:
        tensors = load_file(copy / WEIGHTS)
        n_bytes = sum(tensor.nbytes for tensor in tensors.values())

        expected = line.format(len(tensors), bytes=n_bytes)
        assert refusal(say(copy, **changes)) == f"config.json: {expected}"

    @pytest.mark.parametrize("shard", ["weights.bin", "../model.safetensors"])
    def test_an_index_leads_to_safetensors_beside_it_and_nowhere_else(
        self, copy: Path, tmp_path: Path, shard: str
    ) -> None:
        mark = tmp_path / "unpickled"
        names = load_file(copy / WEIGHTS)
        (copy / WEIGHTS).unlink()
        (copy / "weights.bin").write_bytes(pickle.dumps(Trap(mark)))
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
        (copy / "model.safetensors.index.json").write_text(json.dumps(index))

        assert f"got {shard!r}; expected the name of a .safetensors file" in refusal(copy)
        assert not mark.exists()

    @pytest.mark.parametrize("model_type", ["llama", "mine"])
    def test_code_in_the_directory_is_not_run(
        self, copy: Path, tmp_path: Path, model_type: str
    ) -> None:
        mark = tmp_path / "ran"
        (copy / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
        remote = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
        say(copy, auto_map=remote, model_type=model_type)
        say(copy, "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.Slow", "mine.Fast"]})

        if model_type == "llama":  # a model that transformers knows needs no code
            with closing(open_with(copy).runtime):
                pass
        else:
            assert "transformers refuses the model" in refusal(copy)
        assert not mark.exists()

    def test_an_architecture_that_nobody_knows_is_refused_by_its_name(self, copy: Path) -> None:
        assert "frobnicator" in refusal(say(copy, model_type="frobnicator"))

    @pytest.mark.parametrize("content", ["", "{", "[]"])
    def test_a_config_that_is_none_is_refused(self, copy: Path, content: str) -> None:
        (copy / "config.json").write_text(content)

        assert refusal(copy).startswith("config.json: ")


NEEDED = {
    "gptq": 'pip install --no-build-isolation "gptqmodel==7.6.0" "optimum==2.3.0"',
    "awq": 'pip install --no-build-isolation "gptqmodel==7.6.0" "optimum==2.3.0"',
    "bitsandbytes": 'pip install "bitsandbytes==0.50.2"',
    "compressed-tensors": 'pip install "compressed-tensors==0.17.0"',
    "torchao": 'pip install "torchao==0.18.0"',
}


class TestWhatASchemeNeeds:
    @pytest.mark.parametrize("scheme", NEEDED)
    def test_an_absent_package_is_named_with_the_command(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setattr(transformers_packages, "installed", lambda _: None)
        say(copy, quantization_config={"quant_method": scheme})

        told = refusal(copy, RuntimeUnavailable)

        assert SCHEMES[scheme].packages[0] in told
        assert told.endswith(f"Install with: {NEEDED[scheme]}")

    @pytest.mark.parametrize("scheme", ["fp8", "mxfp4", "fbgemm_fp8", "eetq", "vptq"])
    def test_an_absent_gpu_is_named(self, copy: Path, scheme: str) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        say(copy, quantization_config={"quant_method": scheme})

        assert f"{scheme} needs a GPU" in refusal(copy, RuntimeUnavailable)

    def test_an_unquantized_model_needs_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transformers_packages, "installed", lambda _: None)

        require("", has_gpu=False)

    def test_an_unknown_scheme_is_refused_by_its_name(self, copy: Path) -> None:
        say(copy, quantization_config={"quant_method": "frobnicated"})

        assert refusal(copy, RuntimeUnavailable).endswith("knows no scheme 'frobnicated'")


class TestErrorsOfTheLibrary:
    def test_a_token_that_is_none_is_one_line(self) -> None:
        with closing(open_with(model_directory()).runtime) as runtime:
            windows, span = np.full((1, 9), 99_999, np.int32), np.array([5, 99_999, 5], np.int32)
            with pytest.raises(RuntimeFailed, match=r"^transformers: IndexError: index out of"):
                list(runtime.logits_of_windows(windows, 3, with_hidden=False))
            with pytest.raises(RuntimeFailed, match="IndexError"):
                list(runtime.logits_of_spans([Span(ids=span, first=0)]))

    def test_running_out_of_memory_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(open_with(model_directory()).runtime) as runtime:
            said = "CUDA out of memory. Tried to allocate 2 GiB.\nIf reserved but unallocated"
            error = type("OutOfMemoryError", (RuntimeError,), {})(said)

            def fail(*_: Any, **__: Any) -> None:
                raise error

            monkeypatch.setattr(runtime._body, "read", fail)
            with pytest.raises(RuntimeFailed) as caught:
                list(runtime.logits_of_windows(np.array([[5, 6]], np.int32), 0, with_hidden=False))
        assert str(caught.value) == (
            "transformers: out of memory: CUDA out of memory. Tried to allocate 2 GiB."
        )

    def test_a_nan_is_never_said(self, copy: Path) -> None:
        def spoil(tensors: Tensors) -> None:
            tensors["model.norm.weight"][7] = np.nan

        with closing(open_with(change(copy, spoil)).runtime) as runtime:
            ids = np.array([5, 6, 7], np.int32)
            with pytest.raises(MeasurementError, match="not finite while it generates text"):
                runtime.answer([Prompt(ids=ids, max_tokens=3)], 1, lambda *_: None)
            with pytest.raises(MeasurementError, match="not finite while it generates text"):
                list(runtime.stream(ids, 3))

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        served = open_with(model_directory())
        with closing(served.runtime) as runtime:
            runtime.tokenize("x" * 5000)
            served.logits(np.arange(600, dtype=np.int32), 0)

        assert capfd.readouterr() == ("", "")
