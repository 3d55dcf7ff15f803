"""Files of models: whatever is in them, they are described or refused, at once and by one error."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgate.artifacts.discovery import discover
from qgate.artifacts.gguf.header import read_header as read_gguf
from qgate.artifacts.hf.safetensors import DTYPE_BITS
from qgate.artifacts.hf.safetensors import read_header as read_safetensors
from qgate.artifacts.serving_defaults import serving_defaults
from qgate.artifacts.tokenizer.chat_template import chat_template_of
from qgate.artifacts.tokenizer.comparison import difference, tokenizer_of
from qgate.errors import ArtifactError, UsageError
from tests.artifacts.hf_directories import DEMO
from tests.properties.mutations import (
    changed_bytes,
    changed_json,
    changed_values,
    numbers,
    require_one_line,
)
from tests.support import safetensors_files
from tests.support.gguf_bytes import ARCHITECTURE, gguf, key, tensor, text

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn

    from qgate.records import Artifact

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_KEYS = (
    "general.name", "general.type", "general.file_type", "general.alignment", "split.no",
    "split.count", "split.tensors.count", "llama.context_length", "llama.block_count",
    "llama.embedding_length", "tokenizer.ggml.model", "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template", "general.sampling.temp", "general.sampling.top_k",
)  # fmt: skip
_COUNTS = (0, 1, 2, 3, 31, 32, 33, 256, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@st.composite
def payloads(draw: DrawFn, depth: int = 0) -> tuple[int, bytes]:
    """A type's number and a value, of which the count may be a lie."""
    kind = draw(st.sampled_from((*_SCALARS, 8, 8, 9, 9, 13)))
    if kind in _SCALARS:
        form = _SCALARS[kind]
        return kind, draw(st.binary(min_size=struct.calcsize(form), max_size=struct.calcsize(form)))
    if kind != 9 or depth > 2:
        letters = st.one_of(st.text(max_size=9).map(_in_utf8), st.binary(max_size=9))
        return 8, text(draw(letters))
    n = draw(st.integers(0, 3))
    inner = [draw(payloads(depth + 1)) for _ in range(n)]
    of = inner[0][0] if inner else draw(st.integers(0, 13))
    count = draw(st.one_of(st.just(n), st.sampled_from(_COUNTS)))
    return 9, struct.pack("<IQ", of, count) + b"".join(value for _, value in inner)


def _in_utf8(letters: str) -> bytes:
    return letters.encode(errors="surrogatepass")


@st.composite
def gguf_files(draw: DrawFn) -> bytes:
    """A GGUF file, put together of parts that are mostly sound."""
    names = draw(st.lists(st.sampled_from(_KEYS), max_size=6))
    keys = [ARCHITECTURE, *(key(name, *draw(payloads())) for name in names)]
    tensors = []
    for number in range(draw(st.integers(0, 3))):
        dims = tuple(draw(st.lists(st.sampled_from(_COUNTS), max_size=5)))
        name = draw(st.sampled_from((f"blk.{number}.ffn_up.weight", "output.weight", "", "w" * 64)))
        offset = draw(st.sampled_from((0, 32, 16, 2**40, 2**64 - 1)))
        sound = draw(st.booleans())
        kind = 0 if sound else draw(st.integers(0, 45))
        tensors.append(
            tensor(name, (32, 4) if sound else dims, kind, (512 * number + offset) % 2**64)
        )
    counts = (len(tensors), len(keys))
    if draw(st.integers(0, 4)) == 0:
        counts = (draw(st.sampled_from(_COUNTS)), draw(st.sampled_from(_COUNTS)))
    version = draw(st.sampled_from((2, 3, 3, 3, 3)))
    raw = gguf(
        keys=tuple(keys), tensors=tuple(tensors), data=bytes(2048), version=version, counts=counts
    )
    return draw(st.one_of(st.just(raw), changed_bytes(raw)))


def _describe(path: Path) -> None:
    """All that is read of a model before it is loaded; what is refused is refused by one error."""
    (artifact,) = discover([path])
    assert artifact.problem is None or artifact.problem.isprintable()
    readers = (_compare_with_itself, chat_template_of, serving_defaults)
    for read in readers:
        try:
            read(artifact)
        except ArtifactError as error:
            require_one_line(error)


def _compare_with_itself(artifact: Artifact) -> None:
    facts = tokenizer_of(artifact)
    assert difference(facts, facts) is None


@given(raw=gguf_files())
def test_a_gguf_header_is_read_or_refused(place: Path, raw: bytes) -> None:
    path = place / "model.gguf"
    path.write_bytes(raw)
    try:
        header = read_gguf(path)
    except ArtifactError as error:
        require_one_line(error)
    else:
        ends = [one.offset + one.n_bytes for one in header.tensors]
        assert all(0 < end <= len(raw) for end in ends)
        assert all(min(one.shape, default=1) > 0 for one in header.tensors)


@given(raw=gguf_files())
def test_a_gguf_file_is_described_or_refused(place: Path, raw: bytes) -> None:
    path = place / "model.gguf"
    path.write_bytes(raw)
    try:
        _describe(path)
    except UsageError as error:  # no tensors: a vocabulary is no artifact
        require_one_line(error)


TENSORS = {
    "model.layers.0.mlp.up_proj.weight": safetensors_files.entry("F32", [4, 2], [0, 32]),
    "model.layers.0.mlp.up_proj.scales": safetensors_files.entry("F16", [4], [32, 40]),
    "lm_head.weight": safetensors_files.entry("BF16", [2, 2], [40, 48]),
}


@st.composite
def safetensors(draw: DrawFn) -> bytes:
    """A safetensors file whose header or its length may be anything."""
    tensors = {"__metadata__": {"format": "pt"}, **TENSORS}
    header = draw(changed_json(tensors))
    if draw(st.booleans()):  # still JSON, and about tensors
        name = draw(st.sampled_from(sorted(TENSORS)))
        entry: dict[str, Any] = {
            "dtype": draw(st.sampled_from((*DTYPE_BITS, "F128"))),
            "shape": draw(st.lists(numbers(), max_size=4)),
            "data_offsets": draw(st.lists(st.one_of(numbers(), st.integers(0, 48)), max_size=3)),
        }
        header = json.dumps({**TENSORS, name: entry}).encode()
    length = draw(st.one_of(st.none(), st.none(), st.sampled_from(_COUNTS)))
    raw = safetensors_files.raw(header, bytes(48), length=length)
    return draw(st.one_of(st.just(raw), st.just(raw), changed_bytes(raw)))


@given(raw=safetensors())
def test_a_safetensors_header_is_read_or_refused(place: Path, raw: bytes) -> None:
    path = place / "model.safetensors"
    path.write_bytes(raw)
    try:
        header = read_safetensors(path)
    except ArtifactError as error:
        require_one_line(error)
    else:
        in_file = len(raw) - 8 - struct.unpack("<Q", raw[:8])[0]
        assert sum(one.n_bytes for one in header.tensors) == in_file
        assert all(one.offset + one.n_bytes <= len(raw) for one in header.tensors)


CONFIG = json.loads((DEMO / "config.json").read_text())
QUANTIZATIONS: tuple[dict[str, Any], ...] = (
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
    {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
     "llm_int8_skip_modules": ["lm_head"]},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic",
     "modules_to_not_convert": ["re:.*head$"]},
    {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
     "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
         "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
         "input_activations": {"num_bits": 8, "type": "float"}}}},
    {"quant_method": "torchao", "quant_type": {"default": {
        "_type": "Int4WeightOnlyConfig", "_data": {"group_size": 32}}}},
    {"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4", "exclude_modules": []}},
)  # fmt: skip


TOKENIZER = json.loads((DEMO / "tokenizer.json").read_text())
"""Of the demo model, with a few of its tokens: all of them would take most of the time."""
TOKENIZER["model"] |= {
    "vocab": dict(list(TOKENIZER["model"]["vocab"].items())[:24]),
    "merges": TOKENIZER["model"]["merges"][:4],
}
TOKENIZER_CONFIG = json.loads((DEMO / "tokenizer_config.json").read_text())
GENERATION = {"temperature": 0.6, "top_k": 20, "do_sample": True, "eos_token_id": [1, 2]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of a model, of which each test changes files."""
    return tmp_path_factory.mktemp("model")


def _describe_with(directory: Path, **files: bytes) -> None:
    """The demo model's small files and a few weights, some of them as given."""
    sound = {
        "config.json": json.dumps(CONFIG).encode(),
        "generation_config.json": json.dumps(GENERATION).encode(),
        "tokenizer.json": json.dumps(TOKENIZER).encode(),
        "tokenizer_config.json": json.dumps(TOKENIZER_CONFIG).encode(),
        "model.safetensors": safetensors_files.raw(TENSORS, bytes(48)),
    }
    for path in directory.iterdir():
        path.unlink()
    for name, raw in {**sound, **files}.items():
        (directory / name).write_bytes(raw)
    _describe(directory)


@given(
    raw=st.sampled_from(QUANTIZATIONS).flatmap(
        lambda said: changed_json({**CONFIG, "quantization_config": said})
    )
)
def test_a_config_is_read_or_the_artifact_has_a_problem(model: Path, raw: bytes) -> None:
    _describe_with(model, **{"config.json": raw})


@pytest.mark.slow
@given(said=st.sampled_from(QUANTIZATIONS).flatmap(changed_values), config=changed_values(CONFIG))
def test_what_a_config_says_of_its_weights_is_read_with_suspicion(
    model: Path, said: Any, config: Any
) -> None:
    whole = {**config, "quantization_config": said} if isinstance(config, dict) else said
    raw = json.dumps(whole).encode()
    _describe_with(model, **{"config.json": raw})


@given(
    tokenizer=changed_json(TOKENIZER),
    config=st.one_of(st.just(b"{}"), changed_json(TOKENIZER_CONFIG)),
    generation=st.one_of(st.just(b"{}"), changed_json(GENERATION)),
)
def test_a_tokenizer_is_read_or_refused(
    model: Path, tokenizer: bytes, config: bytes, generation: bytes
) -> None:
    files = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": config,
        "generation_config.json": generation,
    }
    _describe_with(model, **files)


@given(index=changed_json({"weight_map": dict.fromkeys(TENSORS, "model.safetensors")}))
def test_an_index_of_shards_is_read_or_refused(model: Path, index: bytes) -> None:
    _describe_with(model, **{"model.safetensors.index.json": index})
