"""Children that hold the demo's model, and tasks that a test writes down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Outcome, TokenizerClient, Work, perform
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: pip install lm_eval")


class Side:
    """A child with a model, as the gate has it."""

    def __init__(self, host: Host, path: Path) -> None:
        facts = load(host, path)
        self._host, self._ends = host, facts.end_tokens
        self.tokenizer = TokenizerClient(host, facts.context_length, facts.first_token)

    def ask(self, work: Work) -> Outcome:
        return perform(work, self._host, self._ends)


@pytest.fixture(scope="module")
def transformers_side() -> Iterator[Side]:
    """The demo's model in transformers, 32 bits on the CPU."""
    pytest.importorskip("transformers", reason="needs the Hugging Face runtime")
    with Host(HostSettings(runtime="transformers")) as host:
        yield Side(host, model_directory())


@pytest.fixture(scope="module")
def llama_side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """The same model in llama.cpp, F16."""
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")
    pytest.importorskip("gguf", reason="the file is written with the gguf package")
    from qgate.demo.formats.gguf_convert import convert

    path = tmp_path_factory.mktemp("demo") / "demo-F16.gguf"
    convert(model_directory(), path)
    with Host(HostSettings(runtime="llama_cpp")) as host:
        yield Side(host, path)


CHOICES: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{choices.index(answer)}}",
    "target_delimiter": "",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}
GENERATED: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{prompt}}",
    "doc_to_target": "{{answer}}",
    "target_delimiter": "",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16, "do_sample": False},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
    ],
}


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """write_task(name, config, rows, **changes) -> the directory of a task of one's own."""

    def write(
        name: str, config: dict[str, Any], rows: Sequence[dict[str, Any]] = (), **changes: Any
    ) -> Path:
        directory = tmp_path / "tasks"
        directory.mkdir(exist_ok=True)
        told: dict[str, Any] = {"task": name, "test_split": "test", "metadata": {"version": 1.0}}
        if rows:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            (directory / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
            told |= {
                "dataset_path": "json",
                "dataset_kwargs": {
                    "data_files": {"test": str(directory / f"{name}.jsonl")},
                    "cache_dir": str(tmp_path / "cache"),
                },
            }
        values = {**told, **config, **changes}
        lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
        (directory / f"{name}.yaml").write_text("\n".join(lines), "utf-8")
        return directory

    return write
