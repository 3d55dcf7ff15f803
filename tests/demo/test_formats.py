"""``python -m qgate.demo --formats``: what needs no tool, and what transformers can make."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

import qgate.demo.__main__ as command
from qgate.artifacts.hf.safetensors import read_header
from qgate.demo.formats import child, directories
from qgate.demo.formats.calibration import WINDOW_TOKENS, WINDOWS, windows
from qgate.demo.formats.damage import damage
from qgate.demo.formats.make import read_formats
from qgate.demo.formats.recipes import BITSANDBYTES, COMPRESSOR, RECIPES, TORCHAO, FormatError, Tool
from tests.demo.test_command import run

if TYPE_CHECKING:
    from pathlib import Path

MODEL = command.model_directory()
HERE = ("nf4", "nf4-double", "nf4-at-load", "int8", "torchao")
COMPANIONS = [
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that needs no more than transformers, sound and broken."""
    for name in {*BITSANDBYTES.packages, *TORCHAO.packages}:
        if find_spec(name) is None:
            pytest.skip(f"needs {name} to make the artifacts")
    directory = tmp_path_factory.mktemp("formats")
    before = directory / "models" / "qgate-demo-nf4"
    before.mkdir(parents=True)
    (before / "old.txt").write_text("left by an earlier run")
    done = run("models", "--formats", ",".join(HERE), "--with-broken", cwd=directory)
    assert (done.returncode, done.stderr) == (0, "")
    (directory / "out.txt").write_text(done.stdout)
    return directory / "models"


def test_each_artifact_is_there_with_its_reference_and_nothing_else(made: Path) -> None:
    suffixes = [RECIPES[name].suffix for name in HERE]
    assert sorted(path.name for path in made.iterdir()) == sorted(
        [
            "qgate-demo-float16",
            *(f"qgate-demo-{suffix}" for suffix in suffixes),
            *(f"qgate-demo-broken-{suffix}" for suffix in suffixes),
        ]
    )
    assert not (made / "qgate-demo-nf4" / "old.txt").exists()


def test_a_line_is_said_for_each_and_the_tools_say_nothing(made: Path) -> None:
    lines = (made.parent / "out.txt").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(HERE) + 1
    assert lines[0] == "models/qgate-demo-float16  float16, the reference  7.3 MB"
    assert lines[1].startswith("models/qgate-demo-nf4  bitsandbytes NF4  2.")
    assert lines[-1] == "Now type: pytest --qgate models"


def test_the_reference_is_copied_without_its_card(made: Path) -> None:
    copy = made / "qgate-demo-float16"
    names = [path.name for path in MODEL.iterdir() if path.name != "README.md"]
    assert sorted(path.name for path in copy.iterdir()) == sorted(names)
    assert all((copy / name).read_bytes() == (MODEL / name).read_bytes() for name in names)


def test_tokenizer_template_and_generation_settings_are_the_references(made: Path) -> None:
    assert [path.name for path in directories.companions(MODEL)] == COMPANIONS
    for directory in made.iterdir():
        for name in COMPANIONS:
            assert (directory / name).read_bytes() == (MODEL / name).read_bytes()


def test_each_artifact_says_how_it_is_quantized(made: Path) -> None:
    configs = {
        path.name: json.loads((path / "config.json").read_text()).get("quantization_config", {})
        for path in made.iterdir()
    }
    assert configs["qgate-demo-nf4"]["bnb_4bit_quant_type"] == "nf4"
    assert configs["qgate-demo-nf4"]["bnb_4bit_use_double_quant"] is False
    assert configs["qgate-demo-nf4-double"]["bnb_4bit_use_double_quant"] is True
    assert configs["qgate-demo-int8"]["load_in_8bit"] is True
    assert configs["qgate-demo-torchao-int8"]["quant_method"] == "torchao"
    assert configs["qgate-demo-nf4-at-load"] == configs["qgate-demo-float16"] == {}


def test_weights_that_are_quantized_when_loaded_are_the_references(made: Path) -> None:
    sound = made / "qgate-demo-nf4-at-load"
    assert (sound / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes()
    assert (sound / "qgate.yaml").read_text() == directories.AT_LOAD


@pytest.mark.parametrize("name", HERE)
def test_a_broken_one_differs_in_one_layer_only(made: Path, name: str) -> None:
    recipe = RECIPES[name]
    sound = made / f"qgate-demo-{recipe.suffix}"
    broken = made / f"qgate-demo-broken-{recipe.suffix}"
    for path in sound.iterdir():
        if path.name != "model.safetensors":
            assert (broken / path.name).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == sorted(
        path.name for path in sound.iterdir()
    )
    different = differing(sound / "model.safetensors", broken / "model.safetensors")
    assert len(different) == 7
    assert all(".layers.1." in name and recipe.damage.tensors in name for name in different)


def differing(one: Path, other: Path) -> list[str]:
    """Names of tensors whose bytes differ; the headers must not."""
    header = read_header(one)
    assert header.tensors == read_header(other).tensors
    left, right = one.read_bytes(), other.read_bytes()
    begin = header.tensors[0].offset
    assert left[:begin] == right[:begin]
    places = ((tensor.name, tensor.offset, tensor.n_bytes) for tensor in header.tensors)
    return [name for name, at, size in places if left[at : at + size] != right[at : at + size]]


def test_every_second_scale_is_four_times_too_large(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    sound = tmp_path / "sound"
    sound.mkdir()
    scale = np.arange(1, 13, dtype=np.float16).reshape(3, 4)
    name = "model.layers.1.mlp.down_proj.weight_scale"
    safetensors.save_file({name: scale}, sound / "model.safetensors")
    assert damage(sound, tmp_path / "broken", RECIPES["w4a16"].damage) == [name]
    seen = safetensors.load_file(tmp_path / "broken" / "model.safetensors")[name]
    assert (seen / scale).tolist() == [[1, 4, 1, 4]] * 3


def test_damage_that_finds_nothing_to_damage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no tensor of layer 1 ends with '_proj\.scales'"):
        damage(MODEL, tmp_path / "broken", RECIPES["gptq"].damage)


def test_formats_are_read_in_the_order_in_which_they_are_made() -> None:
    assert read_formats("nf4, gguf,gptq") == ("gguf", "gptq", "nf4")
    with pytest.raises(FormatError, match=r"got 'gptqq'; expected gguf, .*Did you mean 'gptq'"):
        read_formats("gptqq")
    with pytest.raises(FormatError, match="got nothing"):
        read_formats(" ,")


def test_an_unknown_format_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run("models", "--formats", "nf44", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m qgate.demo: --formats: got 'nf44'; expected gguf")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "asked", "named", "install"),
    [
        ("gptqmodel", "gptq,awq", "gptq, awq", "--no-build-isolation gptqmodel==7.6.0"),
        ("bitsandbytes", "int8", "int8", "bitsandbytes==0.50.2"),
        ("torchao", "nf4-at-load,torchao", "torchao", "torchao==0.18.0"),
        ("llmcompressor", "fp8", "fp8", "--llmcompressor-python llmc/bin/python"),
    ],
)
def test_a_missing_tool_is_named_before_anything_is_made(
    tmp_path: Path, package: str, asked: str, named: str, install: str
) -> None:
    code = (
        "import sys, importlib.machinery as m, qgate.demo.formats.child as child\n"
        f"child.find_spec = lambda n: None if n == {package!r} else m\n"
        "from qgate.demo.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = run("models", "--formats", asked, "--llmcompressor-python", "", cwd=tmp_path, code=code)
    assert (done.returncode, done.stdout) == (2, "")
    start = f"python -m qgate.demo: {named}: {package} is not installed. Install it with: "
    assert done.stderr.startswith(start)
    assert install in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "models").exists()


def test_the_interpreter_of_llmcompressor_is_asked_what_it_has(tmp_path: Path) -> None:
    python = script(tmp_path, 'echo "llmcompressor datasets"')
    done = run("models", "--formats", "w4a16,fp8", "--llmcompressor-python", python, cwd=tmp_path)
    assert done.returncode == 2
    assert "w4a16, fp8: llmcompressor, datasets are not installed." in done.stderr
    assert not (tmp_path / "models").exists()


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = run(
        "models", "--formats", "fp8", "--llmcompressor-python", "no/such/python", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "fp8: cannot start 'no/such/python'; expected a Python interpreter" in done.stderr
    assert not (tmp_path / "models").exists()


def test_the_other_interpreter_does_not_get_this_ones_search_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    python = script(tmp_path, 'echo "${PYTHONPATH:-nothing}"')
    assert child.missing_packages(python, ("torch",)) == ["nothing"]


def test_a_failing_tool_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = Tool(module="no_such_tool")
    monkeypatch.setattr("qgate.demo.formats.make.RECIPES", {"w8a8": with_tool("w8a8", tool)})
    assert command.main([str(tmp_path), "--formats", "w8a8"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["qgate-demo-float16"]
    reason = "ModuleNotFoundError: No module named 'qgate.demo.formats.no_such_tool'"
    assert capsys.readouterr().err == f"python -m qgate.demo: w8a8: {reason}\n"


def with_tool(name: str, tool: Tool) -> object:
    return replace(RECIPES[name], tool=tool)


def test_a_tool_whose_process_ends_is_told_by_its_last_words(tmp_path: Path) -> None:
    python = script(tmp_path, "echo Loading... >&2; echo Out of memory >&2; exit 9")
    with pytest.raises(FormatError, match=r"^fp8: llmcompressor ended: Out of memory$"):
        list(child.run(python, COMPRESSOR, MODEL, {"fp8": tmp_path / "fp8"}))


def script(directory: Path, body: str) -> str:
    """A program that stands in for an interpreter."""
    path = directory / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_paths_of_a_tools_machine_do_not_stay_in_its_settings() -> None:
    settings = {
        "bits": 4,
        "meta": {"offload_to_disk_path": "/somewhere/else", "uri": "https://example.org"},
        "groups": [{"path": "/a"}, "kept"],
    }
    assert directories.without_paths(settings) == {
        "bits": 4,
        "meta": {"uri": "https://example.org"},
        "groups": [{}, "kept"],
    }


def test_a_tool_that_saved_no_weights_has_failed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"saved no model\.safetensors: got config\.json"):
        directories.finish(MODEL, tmp_path)


def test_float32_goes_back_to_float16_and_integers_stay(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    weights = {"a": np.float32([0.5, -2.0]), "b": np.int32([7])}
    safetensors.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text('{"dtype": "float32", "bits": 4}')
    directories.store_in_float16(tmp_path)
    header = read_header(tmp_path / "model.safetensors")
    assert {tensor.name: tensor.dtype for tensor in header.tensors} == {"a": "F16", "b": "I32"}
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    assert json.loads((tmp_path / "config.json").read_text()) == {"dtype": "float16", "bits": 4}


def test_calibration_text_is_always_the_same() -> None:
    pytest.importorskip("tokenizers", reason="needs the tokenizer of the demo model")
    first = windows(MODEL)
    assert (len(first), {len(window) for window in first}) == (WINDOWS, {WINDOW_TOKENS})
    assert windows(MODEL, 2) == first[:2]
    assert all(0 <= token < 1792 for window in first for token in window)


def test_tools_see_neither_secrets_nor_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    environment = child._environment(sys.executable, (("GPTQMODEL_CPU_WORKERS", "2"),))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    seen = json.loads(done.stdout)
    assert "HF_TOKEN" not in seen
    assert (seen["HF_HUB_OFFLINE"], seen["GPTQMODEL_CPU_WORKERS"]) == ("1", "2")
