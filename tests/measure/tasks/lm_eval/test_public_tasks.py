"""Public benchmarks from files, asked of a real model: a handful of docs each.

Chance-level answers are fine: what counts is that the files load, run and are graded. Programs go
to a FAKE sandbox that runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Pair
from qgate.sandbox import Outcome, Program
from tests.conftest import SHARED
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED, Side
from tests.support.stories260k import STORIES, needs_stories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Write = Callable[..., Path]

TASKS = SHARED / "data" / "tasks"
pytestmark = [
    needs_stories,
    pytest.mark.skipif(not TASKS.is_dir(), reason="no shared/data/tasks beside the repository"),
]
FEW = 4


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")
    with Host(HostSettings(runtime="llama_cpp")) as host:
        yield Side(host, STORIES / "stories260K-f32.gguf")


def fake_sandbox(programs: Sequence[Program]) -> list[Outcome]:
    """A FAKE: compiles programs and runs none."""
    return [Outcome(passed=_compiles(one.whole), why="", wall_s=0.0) for one in programs]


def _compiles(program: str) -> bool:
    try:
        compile(program, "program", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def run(side: Side, **settings: Any) -> PairedAnswers:
    """The task asked twice of one model: both sides have to be graded alike."""
    loaded = load_task(HarnessSettings(max_samples=FEW, **settings))
    assert len(loaded.items) == FEW
    probe = HarnessTask(check="accuracy.x", loaded=loaded, min_reference=0)
    work = probe.work(side.tokenizer)
    found = probe.read(Pair(work=work, reference=side.ask(work), artifact=side.ask(work)))
    assert isinstance(found, PairedAnswers)
    assert np.array_equal(found.artifact, found.reference)
    assert found.artifact_texts == found.reference_texts
    assert found.more["asked"] == FEW
    assert found.more["available"] > 100
    return found


@pytest.mark.parametrize("shots", [0, 2])
def test_gsm8k_by_its_own_name(side: Side, shots: int) -> None:
    found = run(
        side,
        name="gsm8k",
        data=TASKS / "gsm8k" / "test.jsonl",
        num_fewshot=shots,
        max_tokens=24,
        metric="exact_match,flexible-extract",
    )

    assert found.more["num_fewshot"] == shots
    assert all(prompt.count("Question:") == 1 + shots for prompt in found.prompts)
    assert all("####" in answer for answer in found.expected)


def test_humaneval_by_its_own_name(side: Side) -> None:
    found = run(
        side,
        name="humaneval",
        data=TASKS / "humaneval" / "HumanEval.jsonl.gz",
        runner=fake_sandbox,
        max_tokens=24,
    )

    assert found.more["available"] == 164
    assert all("def " in prompt for prompt in found.prompts)
    assert all("check(" in answer for answer in found.expected)


def test_mbpp_with_its_fields_as_they_are_in_the_file(side: Side, write_task: Write) -> None:
    """The file was parsed by others; lm-eval's own grading is used, its template is not."""
    directory = write_task(
        "mbpp_here",
        GENERATED,
        dataset_path="json",
        dataset_kwargs=local(write_task, TASKS / "mbpp" / "mbpp_test.jsonl"),
        unsafe_code=True,
        doc_to_text='{{prompt}}\n{{test | join("\n")}}\n[BEGIN]\n',
        doc_to_target='{{test | join("\n")}}',
        generation_kwargs={"until": ["[DONE]"], "max_gen_toks": 24, "do_sample": False},
        metric_list=[],
    )
    with (directory / "mbpp_here.yaml").open("a") as file:
        file.write(
            "\nmetric_list:\n  - metric: !function lm_eval.tasks.mbpp.utils.pass_at_1\n"
            "    aggregation: mean\n    higher_is_better: true\n"
        )

    found = run(
        side,
        name="mbpp_here",
        include_path=directory,
        runner=fake_sandbox,
    )

    assert found.more["metric"] == "pass_at_1"
    assert all("assert " in answer for answer in found.expected)


@pytest.mark.parametrize("name", ["arc_easy", "hellaswag"])
def test_choices_with_their_fields_as_they_are_in_the_file(
    side: Side, write_task: Write, name: str
) -> None:
    files = {"arc_easy": "arc/arc_easy.jsonl", "hellaswag": "hellaswag/hellaswag_2000.jsonl"}
    directory = write_task(
        f"{name}_here",
        CHOICES,
        dataset_path="json",
        dataset_kwargs=local(write_task, TASKS / files[name]),
        doc_to_text="Question: {{question}}\nAnswer:" if name == "arc_easy" else "{{question}}",
        doc_to_target="{{label}}",
        target_delimiter=" ",
    )

    for metric in ("acc", "acc_norm"):
        found = run(side, name=f"{name}_here", include_path=directory, metric=metric)

        assert 0.2 < found.more["chance"] < 0.4
        assert all(text.startswith(" ") for text in found.artifact_texts)
        assert found.more["metric"] == metric


@pytest.mark.parametrize("language", ["de", "ja", "th"])
def test_mgsm_with_its_two_columns(side: Side, write_task: Write, language: str) -> None:
    """The file has no line of names, which lm-eval's `csv` datasets can be told."""
    told = local(write_task, TASKS / "mgsm" / f"mgsm_{language}.tsv")
    directory = write_task(
        f"mgsm_{language}_here",
        GENERATED,
        dataset_path="csv",
        dataset_kwargs={
            **told,
            "delimiter": "\t",
            "column_names": ["question", "answer_number"],
            "quoting": 3,
        },
        doc_to_text="{{question}}\n",
        doc_to_target="{{answer_number | string}}",
    )

    found = run(side, name=f"mgsm_{language}_here", include_path=directory)

    assert found.more["available"] == 250
    assert all(answer.replace(",", "").lstrip("-").isdigit() for answer in found.expected)


def local(write_task: Write, path: Path) -> dict[str, Any]:
    """A file in `datasets`' words, its cache beside the test's other files."""
    directory = write_task("unused", GENERATED)
    return {"data_files": {"test": str(path)}, "cache_dir": str(directory.parent / "cache")}
