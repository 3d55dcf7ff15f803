"""llama.cpp on a real model: the numbers of its own recipe, its own reasons, on any threads."""

from __future__ import annotations

import ctypes
import math
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import runtimes
from qgate.errors import ArtifactError, MeasurementError, RuntimeFailed
from qgate.reference.texts import Text, cut_windows
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.host import Host, HostSettings
from qgate.thresholds import TextSettings
from tests.support.children import load, score

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.reference.windows import Windows
    from qgate.runtimes.base import ModelFacts

llama_cpp = pytest.importorskip("llama_cpp", reason="pip install 'pytest-qgate[gguf]'")

WINDOW = 256
NAMES = ("Lily", "Tom", "Max", "Mia", "Ben", "Sue", "Tim", "Anna", "Sam", "Zoë")
THINGS = ("a red ball", "the old tree", "his little dog", "some cake", "the big, big sea")
STORY = "\n".join(
    f"Once upon a time there was a child named {name}. {name} loved {thing} and played all day."
    f' One day {name} said, "I want to see {other}!" So they went to the park. The end.'
    for name in NAMES
    for thing, other in zip(THINGS, reversed(THINGS), strict=True)
)


def cut(host: Host, facts: ModelFacts, window_tokens: int = WINDOW) -> Windows:
    text = Text(name="story", digest="", documents=(STORY,))
    return cut_windows(text, TextSettings(windows=6, window_tokens=window_tokens), host, facts)


def score_plainly(path: Path, text: str, count: int) -> list[float]:
    """What `llama-perplexity` computes, written down with nothing of qgate in it."""
    lib = llama_cpp
    lib.llama_log_set(QUIET, ctypes.c_void_p(0))
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    vocab = lib.llama_model_get_vocab(model)
    n_vocab = lib.llama_vocab_n_tokens(vocab)
    settings = lib.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = WINDOW
    settings.n_threads = settings.n_threads_batch = 1
    settings.flash_attn_type = -1
    context = lib.llama_init_from_model(model, settings)
    raw = text.encode()
    room = (lib.llama_token * (len(raw) + 8))()
    n_tokens = lib.llama_tokenize(vocab, raw, len(raw), room, len(room), True, False)
    windows = [room[at : at + WINDOW] for at in range(0, n_tokens - WINDOW + 1, WINDOW)]
    chosen = [windows[number * len(windows) // count] for number in range(count)]
    batch = lib.llama_batch_init(WINDOW, 0, 1)
    nll = []
    for tokens in chosen:
        tokens[0] = lib.llama_vocab_bos(vocab)
        batch.n_tokens = WINDOW
        for position, token in enumerate(tokens):
            batch.token[position], batch.pos[position] = token, position
            batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
            batch.logits[position] = position >= WINDOW // 2
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        assert lib.llama_decode(context, batch) == 0
        for position in range(WINDOW // 2, WINDOW - 1):
            row = lib.llama_get_logits_ith(context, position)[:n_vocab]
            top = max(row)
            total = math.fsum(math.exp(value - top) for value in row)
            nll.append(top + math.log(total) - row[tokens[position + 1]])
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return nll


QUIET = llama_cpp.llama_log_callback(lambda *_: None)


@pytest.mark.parametrize("scheme", ["f16", "q4_0"])
def test_perplexity_is_that_of_llama_cpps_own_recipe(stories: Path, scheme: str) -> None:
    path = stories / f"stories260K-{scheme}.gguf"
    with Host(HostSettings(runtime="llama_cpp")) as host:
        windows = cut(host, load(host, path, WINDOW))
        nll = score(host, windows.ids).nll_nats

    plain = score_plainly(path, STORY, len(windows.ids))

    assert windows.ids.shape == (6, WINDOW)
    assert len(nll) == len(plain) == 6 * 127
    assert math.exp(nll.mean()) == pytest.approx(math.exp(np.mean(plain)), rel=1e-6)
    assert nll == pytest.approx(plain, abs=1e-5)
    assert 2.0 < math.exp(nll.mean()) < 12.0  # it speaks English; a broken recipe has hundreds


def test_threads_change_no_bit(stories: Path) -> None:
    path = stories / "stories260K-q4_0.gguf"
    found = []
    for threads in (1, 2):
        with Host(HostSettings(runtime="llama_cpp")) as host:
            windows = cut(host, load(host, path, WINDOW, threads))
            found.append(score(host, windows.ids).nll_nats.tobytes())

    assert found[0] == found[1]


@pytest.mark.parametrize("is_whole", [False, True], ids=["half", "whole"])
@pytest.mark.parametrize("window_tokens", [32, 100, 127, 128, 192, 255, 256, 258, 333, 511, 512])
def test_reference_and_artifact_are_decoded_alike_at_any_window(
    stories: Path, window_tokens: int, is_whole: bool
) -> None:
    # llama.cpp picks kernels by the tokens of a call; unlike calls would read as damage
    runtime = runtimes.make("llama_cpp")
    path = stories / "stories260K-q8_0.gguf"
    runtime.load(LoadSettings(path=str(path), window_tokens=window_tokens, threads=1))
    shape = (2, window_tokens)
    windows = np.random.default_rng(1).integers(3, 512, shape).astype(np.int32)
    first = 0 if is_whole else window_tokens // 2

    def rows(count: int, *, with_hidden: bool) -> np.ndarray:
        parts = runtime.logits_of_windows(windows[:count], first, with_hidden=with_hidden)
        return np.concatenate([part.copy() for part, _ in parts])

    as_reference = rows(len(windows), with_hidden=True)

    for count in range(1, len(windows) + 1):
        as_artifact = rows(count, with_hidden=False)
        assert as_artifact.tobytes() == as_reference[:count].tobytes(), count
    runtime.close()


def spoil_a_number(raw: bytearray) -> None:
    raw[-8:-4] = struct.pack("<f", math.nan)


def fill(pattern: bytes) -> Callable[[bytearray], None]:
    def spoil(raw: bytearray) -> None:
        raw[:] = pattern

    return spoil


def cut_off(raw: bytearray) -> None:
    del raw[-100_000:]


def set_magic(raw: bytearray) -> None:
    raw[:4] = b"GGML"


def set_version(raw: bytearray) -> None:
    raw[4] = 99


BAD_FILES = {
    "zero bytes": (fill(b""), "gguf_init_from_reader: failed to read magic"),
    "wrong magic": (set_magic, "gguf_init_from_reader: invalid magic characters: 'GGML'"),
    "a version to come": (set_version, "this GGUF file is version 99"),
    "text": (fill(b"this is not a model\n" * 50), "invalid magic characters: 'this'"),
    "truncated tensors": (cut_off, "data is not within the file bounds"),
    "NaN in a tensor": (
        spoil_a_number,
        "tensor 'blk.4.ffn_up.weight' has invalid data",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_with_llama_cpps_own_reason(
    stories: Path, tmp_path: Path, spoil: Callable[[bytearray], None], reason: str
) -> None:
    raw = bytearray((stories / "stories260K-f32.gguf").read_bytes())
    spoil(raw)
    path = tmp_path / "bad.gguf"
    path.write_bytes(raw)

    with Host(HostSettings(runtime="llama_cpp")) as host:
        with pytest.raises(ArtifactError) as caught:
            load(host, path, WINDOW)
        line = str(caught.value)
        good = load(host, stories / "stories260K-f16.gguf", WINDOW)  # the child is still of use

    assert line.startswith("llama.cpp refuses the file: ")
    assert reason in line
    assert "\n" not in line
    assert good.n_vocab == 512


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with (
        Host(HostSettings(runtime="llama_cpp")) as host,
        pytest.raises(ArtifactError, match=r"^llama.cpp refuses the file: .*No such file"),
    ):
        load(host, tmp_path / "absent.gguf", WINDOW)


def test_a_token_outside_the_vocabulary_is_an_error(stories: Path) -> None:
    with Host(HostSettings(runtime="llama_cpp")) as host:
        facts = load(host, stories / "stories260K-f16.gguf", WINDOW)
        windows = cut(host, facts)
        windows.ids[1, 7] = facts.n_vocab
        with pytest.raises(MeasurementError, match=r"^llama_decode returned -1: .*invalid token"):
            score(host, windows.ids)


def test_a_window_longer_than_was_said_is_an_error(stories: Path) -> None:
    with Host(HostSettings(runtime="llama_cpp")) as host:
        facts = load(host, stories / "stories260K-f16.gguf", WINDOW)
        windows = cut(host, facts, window_tokens=2 * WINDOW + 2)
        with pytest.raises((MeasurementError, RuntimeFailed)):
            score(host, windows.ids)
