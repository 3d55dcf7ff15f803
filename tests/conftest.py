"""Models for tests: a bigram model in GGUF form that the fake runtime serves, and real ones."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that stores are signed with is made where the tests are, not at somebody's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Each of xdist's workers keeps to its part of the processors, and so do its children.

    Two runtimes with a thread on each of two processors take turns waiting for each other.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or not hasattr(os, "sched_setaffinity"):
        return
    number, workers = int(worker["workerid"].removeprefix("gw")), int(worker["workercount"])
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, usable[number % len(usable) :: workers])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Under `-n 2` a test marked `alone` waits for the other workers' tests, and they for it."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    shared = Path(item.config.getoption("basetemp")).parent  # xdist gives each worker a part of it
    is_alone = item.get_closest_marker("alone") is not None
    with _turn(shared, alone=is_alone), _all_processors() if is_alone else nullcontext():
        return (yield)


@contextmanager
def _all_processors() -> Iterator[None]:
    """Those of the other workers too."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


@contextmanager
def _turn(place: Path, *, alone: bool) -> Iterator[None]:
    """A room for many or for one; who waits for it holds the door, so that nobody goes ahead."""
    with (place / "door").open("w") as door, (place / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A bigram model: logits(token) = output @ embedding[token]."""

    noise: float = 0.0
    """Standard deviation of what is added to the output matrix: the damage of quantization."""
    fault: str = ""
    """What the fake runtime does, e.g. `segfault:score`."""
    scheme: str = "Q4_K_M"
    """Claimed by general.file_type; `F32` makes it a reference."""
    vocabulary: int = 64
    width: int = 16
    context: int = 256
    """Tokens."""
    eos: int = 2
    tokens_from: str = "t"
    chat_template: str = ""


def write_toy(path: Path, toy: Toy) -> Path:
    """Write the model; tensors are F32 whatever the scheme claims."""
    import gguf

    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(toy.vocabulary, toy.width)).astype(np.float32)
    output = rng.normal(size=(toy.vocabulary, toy.width)).astype(np.float32)
    output += np.random.default_rng(1).normal(0.0, toy.noise or 1e-30, output.shape)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_context_length(toy.context)
    writer.add_file_type(_file_type(toy.scheme))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"{toy.tokens_from}{number}" for number in range(toy.vocabulary)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(toy.eos)
    if toy.chat_template:
        writer.add_chat_template(toy.chat_template)
    if toy.fault:
        writer.add_string("qgate.fake.fault", toy.fault)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output.astype(np.float32))
    if toy.scheme != "F32":  # what makes an artifact count as quantized; the fake ignores it
        blocks = np.zeros((256, 144), dtype=np.uint8)
        blocks[:, :4] = np.frombuffer(np.float16([0.01, 0.01]).tobytes(), dtype=np.uint8)
        blocks[:, 4:] = 1
        writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _file_type(scheme: str) -> int:
    import gguf

    name = "ALL_F32" if scheme == "F32" else f"MOSTLY_{scheme}"
    return int(gguf.LlamaFileType[name])


@pytest.fixture
def toys(tmp_path: Path) -> Callable[..., Path]:
    """toys(name=Toy(...), ...) -> a directory with a reference `original.gguf` and the named."""
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")

    def make(**models: Toy) -> Path:
        directory = tmp_path / "models"
        directory.mkdir(exist_ok=True)
        write_toy(directory / "original.gguf", Toy(scheme="F32"))
        for name, toy in models.items():
            write_toy(directory / f"{name}.gguf", toy)
        return directory

    return make


PLANTED_SPEC = """from __future__ import annotations
from qgate.runtimes.spec import RuntimeSpec
SPEC = RuntimeSpec(name="planted", title="planted", adapter="planted:Planted")
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """planted(source) -> the name of an installed runtime: the source's class Planted."""

    def make(source: str) -> str:
        place = tmp_path / "plugins"
        facts = place / "planted-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[qgate.runtimes]\nplanted = planted_spec:SPEC\n")
        (place / "planted_spec.py").write_text(PLANTED_SPEC)
        (place / "planted.py").write_text("from __future__ import annotations\n" + source)
        known = os.environ.get("PYTHONPATH")
        monkeypatch.syspath_prepend(str(place))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *([known] if known else [])]))
        return "planted"

    return make


@pytest.fixture
def stories() -> Path:
    """A real model made by others: stories260K as F32, F16, Q8_0, Q5_0 and Q4_0."""
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime: pip install '.[gguf]'")
    directory = SHARED / "models" / "stories260K"
    if not directory.is_dir():
        pytest.skip("stories260K is not on this machine (it lies beside the project, not in it)")
    return directory
