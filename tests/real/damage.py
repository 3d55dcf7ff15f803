"""Damage planted in a sound GGUF file: the file loads, and the model in it is another one.

Each function writes `target` as `source` with one fault. Matrices are changed in their blocks where
that is exact (swapped, scaled, lost), else they are read, changed and stored as Q8_0 again, which
alone costs a KL of less than 0.001. The rest of the file stays byte by byte what it was.
"""

from __future__ import annotations

import contextlib
import shutil
import unicodedata
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.gguf_faults import BYTES, rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Q8_0_BLOCK_BYTES = 34
"""A half-precision scale, then 32 signed bytes."""
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
END_OF_NOTHING = 16
"""A special token of SmolLM2 (<empty_output>) that no answer ends with."""
Q4_K_M_FILE_TYPE = 15
"""`general.file_type` of llama.cpp: LLAMA_FTYPE_MOSTLY_Q4_K_M."""


def scale_ffn_down(source: Path, target: Path, *, layer: int, factor: float = 1.5) -> None:
    """Multiply the scales of one layer's feed-forward output."""
    with _opened(source, target) as file:
        scales = _blocks(file, f"blk.{layer}.ffn_down.weight")[:, :2].view(np.float16)
        scales[:] = scales.astype(np.float32) * factor


def zero_layer(source: Path, target: Path, *, layer: int) -> None:
    """Lose what one layer adds: both of its output matrices are zero."""
    with _opened(source, target) as file:
        for kind in ("attn_output", "ffn_down"):
            file.tensor(f"blk.{layer}.{kind}.weight")[:] = 0


def swap_layers(source: Path, target: Path, *, first: int, second: int) -> None:
    """Exchange all tensors of two layers."""
    with _opened(source, target) as file:
        for kind in (*MATRICES, "attn_norm", "ffn_norm"):
            file.swap(f"blk.{first}.{kind}.weight", f"blk.{second}.{kind}.weight")


def swap_kinds(source: Path, target: Path, *, layer: int, first: str, second: str) -> None:
    """Exchange two matrices of one layer that have the same shape, e.g. ffn_gate and ffn_up."""
    with _opened(source, target) as file:
        file.swap(f"blk.{layer}.{first}.weight", f"blk.{layer}.{second}.weight")


def swap_kinds_everywhere(source: Path, target: Path, *, first: str, second: str) -> None:
    """The same in every layer, as a converter with two names mixed up would write it."""
    with _opened(source, target) as file:
        for layer in range(file.layers):
            file.swap(f"blk.{layer}.{first}.weight", f"blk.{layer}.{second}.weight")


def add_noise(source: Path, target: Path, *, layer: int, share: float = 0.1) -> None:
    """Add normal noise to every matrix of one layer: `share` of the matrix's root mean square."""
    rng = np.random.default_rng(0)
    with _opened(source, target) as file:
        for kind in MATRICES:
            name = f"blk.{layer}.{kind}.weight"
            values = file.read(name)
            deviation = share * float(np.sqrt(np.mean(values**2)))
            file.store(name, values + rng.normal(0.0, deviation, values.shape).astype(np.float32))


def multiply_rope_base(source: Path, target: Path, *, factor: float = 50.0) -> None:
    """Turn positions by another base, as a config that lost its `rope_theta` does."""
    with _opened(source, target) as file:
        file.change("rope.freq_base", lambda base: base * factor)


def set_norm_epsilon(source: Path, target: Path, *, epsilon: float = 1e-2) -> None:
    """Add far too much to each norm's mean square."""
    with _opened(source, target) as file:
        file.change("attention.layer_norm_rms_epsilon", lambda _: epsilon)


def move_end_of_turn(source: Path, target: Path, *, token: int) -> None:
    """Declare another token to be the end of a turn: no answer ends with it.

    In place, so that every tensor stays where it was.
    """
    with _opened(source, target) as file:
        file.change("tokenizer.ggml.eos_token_id", lambda _: token)


def lose_letters(
    source: Path, target: Path, *, belongs: Callable[[str], bool], every: int = 1
) -> None:
    """Zero the embedding of every so many tokens that hold a letter of one script.

    The rows are zero in the output matrix too where the model has one matrix for both.
    """
    with _opened(source, target) as file:
        tokens = file.value("tokenizer.ggml.tokens")
        found = [number for number, token in enumerate(tokens) if any(map(belongs, _text(token)))]
        assert found, "no token of the vocabulary holds such a letter"
        file.tensor("token_embd.weight")[found[::every]] = 0


def is_accented_latin(letter: str) -> bool:
    """Whether it is a Latin letter with a mark: what Spanish, French, German, ... are written with.

    SmolLM2 learned from English texts. Of the languages that the gate asks in, it is left with some
    Spanish, French and German, and with next to nothing in another script.
    """
    return letter > "\x7f" and unicodedata.name(letter, "").startswith("LATIN")


def is_cyrillic(letter: str) -> bool:
    return "\u0400" <= letter <= "\u04ff"


def _text(token: str) -> str:
    """What a token of a byte-level vocabulary spells; parts of letters are dropped."""
    return bytes(BYTES[one] for one in token if one in BYTES).decode("utf-8", "ignore")


def turn_far_positions(source: Path, target: Path, *, tokens: float, base: float) -> None:
    """Have no pair of dimensions turn slower than one radian in so many tokens.

    What is much nearer than that is told apart by the faster pairs, which stay. What is further
    away looks as if it lay elsewhere. `rope_freqs.weight` is where GGUF files carry the factors
    for long contexts; llama.cpp divides the angle of each pair by its factor. SmolLM2-135M turned
    so for 4,000 tokens has a KL of 0.0096 in windows of 512 (Q8_0 alone 0.0040), and in a text of
    4,096 tokens 0.01 in the first eighth, 0.08 in the middle, 0.39 to 0.55 in the last quarter.

    Args:
        tokens: the distance from which on positions are wrong.
        base: of the model's rotation, `rope.freq_base`.
    """
    from gguf import GGUFReader

    (pairs,) = _numbers(GGUFReader(source), "rope.dimension_count")
    theta = base ** (-np.arange(pairs // 2) / (pairs // 2))
    factors = np.minimum(1.0, theta * tokens).astype(np.float32)
    rewrite(source, target, tensors={"rope_freqs.weight": factors})


def put_nan_in_a_scale(source: Path, target: Path, *, layer: int) -> None:
    """Make the scale of one block NaN: 32 weights of millions."""
    with _opened(source, target) as file:
        scales = _blocks(file, f"blk.{layer}.ffn_down.weight")[:, :2].view(np.float16)
        scales[len(scales) // 2] = np.nan


def round_to_bits(source: Path, target: Path, *, bits: int = 2) -> None:
    """Round every layer's matrices to the nearest of 2**bits steps in blocks of 32.

    The result is stored as Q8_0, so neither header nor size tells of it. (llama.cpp's own 2-bit
    types need a width that is a multiple of 256.)
    """
    with _opened(source, target) as file:
        for layer in range(file.layers):
            for kind in MATRICES:
                name = f"blk.{layer}.{kind}.weight"
                file.store(name, _rounded(file.read(name), bits))


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Asymmetric: `2**bits` values evenly from a block's smallest to its largest."""
    blocks = values.reshape(-1, 32)
    low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    step = np.maximum((high - low) / (2**bits - 1), 1e-12)
    rounded: np.ndarray = (np.round((blocks - low) / step) * step + low).reshape(values.shape)
    return rounded


def claim_file_type(source: Path, target: Path, *, file_type: int = Q4_K_M_FILE_TYPE) -> None:
    """Have the header say another quantization than the tensors have."""
    with _opened(source, target) as file:
        file.change_exactly("general.file_type", file_type)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One damage with everything that it needs, and what it must not get past."""

    plant: Callable[[Path, Path], None]
    rows: tuple[str, ...]
    """At least one of them says FAIL or ERROR."""


LIKELIHOOD = ("divergence.kl_mean",)
MIDDLE = 12
"""Of 30 layers. KL there, on WikiText-2 against the F16, where Q8_0 alone has 0.0040: noise 0.023,
scaled 0.031, swapped with the next 0.11, zeroed 0.15, gate and up 0.25, k and v 3.3. In other
layers noise has 0.011 (layer 26, the least) to 0.040, scaled 0.031 to 0.50."""
PLANTED = MappingProxyType(
    {
        "scaled": Planted(plant=partial(scale_ffn_down, layer=MIDDLE), rows=LIKELIHOOD),
        "zeroed": Planted(
            plant=partial(zero_layer, layer=MIDDLE), rows=("integrity.weights", *LIKELIHOOD)
        ),
        "layers-swapped": Planted(
            plant=partial(swap_layers, first=MIDDLE, second=MIDDLE + 1), rows=LIKELIHOOD
        ),
        "gate-and-up": Planted(
            plant=partial(swap_kinds, layer=MIDDLE, first="ffn_gate", second="ffn_up"),
            rows=LIKELIHOOD,
        ),
        "k-and-v": Planted(
            plant=partial(swap_kinds, layer=MIDDLE, first="attn_k", second="attn_v"),
            rows=LIKELIHOOD,
        ),
        "noisy": Planted(plant=partial(add_noise, layer=MIDDLE), rows=LIKELIHOOD),
        "other-rope-base": Planted(plant=multiply_rope_base, rows=LIKELIHOOD),
        "other-epsilon": Planted(plant=set_norm_epsilon, rows=LIKELIHOOD),
        "end-moved": Planted(
            plant=partial(move_end_of_turn, token=END_OF_NOTHING),
            rows=("integrity.special_tokens", "edge.termination"),
        ),
        "accents-lost": Planted(
            plant=partial(lose_letters, belongs=is_accented_latin),
            rows=(*LIKELIHOOD, "edge.multilingual"),
        ),
        "far-half-lost": Planted(
            plant=partial(turn_far_positions, tokens=4000, base=100_000),
            rows=("edge.long_input",),
        ),
        "nan": Planted(
            plant=partial(put_nan_in_a_scale, layer=MIDDLE), rows=("integrity.weights",)
        ),
        "two-bits": Planted(plant=round_to_bits, rows=LIKELIHOOD),
    }
)
"""Damage of a sound SmolLM2-135M in Q8_0: what a gate is there for, each alone in a file."""


class _File:
    """A GGUF file that is changed in place."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self._reader = GGUFReader(path, "r+")
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    @property
    def layers(self) -> int:
        return sum(name.endswith(".ffn_down.weight") for name in self._tensors)

    def value(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def tensor(self, name: str) -> np.ndarray:
        """As it is stored; of quantized tensors the bytes, shape (rows, bytes of a row)."""
        stored: np.ndarray = self._tensors[name].data
        return stored

    def read(self, name: str) -> np.ndarray:
        """Shape (rows, columns), float32."""
        from gguf.quants import dequantize

        values: np.ndarray = dequantize(self.tensor(name), self._tensors[name].tensor_type)
        return values

    def store(self, name: str, values: np.ndarray) -> None:
        from gguf.quants import quantize

        self.tensor(name)[:] = quantize(values.astype(np.float32), self._tensors[name].tensor_type)

    def swap(self, first: str, second: str) -> None:
        one, other = self.tensor(first), self.tensor(second)
        kept = one.copy()
        one[:] = other
        other[:] = kept

    def change(self, ending: str, new: Callable[[float], float]) -> None:
        """Change the one number whose key ends so (keys begin with the architecture's name)."""
        numbers = _numbers(self._reader, ending)
        numbers[0] = new(numbers[0])

    def change_exactly(self, key: str, value: int) -> None:
        self.change(key, lambda _: value)

    def close(self) -> None:
        self._reader.data.flush()


def _numbers(reader: Any, ending: str) -> np.ndarray:
    """The value of a key as it lies in the file, shape (1,)."""
    (name,) = (name for name in reader.fields if name.endswith(ending))
    field = reader.fields[name]
    value: np.ndarray = field.parts[field.data[0]]
    return value


def _blocks(file: _File, name: str) -> np.ndarray:
    """Shape (blocks, bytes of a block), uint8, in place."""
    stored = file.tensor(name)
    assert stored.shape[1] % Q8_0_BLOCK_BYTES == 0, f"{name} is not stored as Q8_0"
    return stored.reshape(-1, Q8_0_BLOCK_BYTES)


@contextlib.contextmanager
def _opened(source: Path, target: Path) -> Iterator[_File]:
    shutil.copyfile(source, target)
    file = _File(target)
    yield file
    file.close()
