"""Loading one task from what is on this machine, and every way in which that goes wrong."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from tests.conftest import ROOT
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED
from tests.measure.tasks.lm_eval.documents import gsm8k, message_of, sums, write_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


# --- names ----------------------------------------------------------------------------------------


def test_an_unknown_task_is_told_its_neighbour() -> None:
    line = message_of(name="gsm8kk", where="t.yaml:7")
    assert re.fullmatch(
        r"t\.yaml:7: unknown task: got 'gsm8kk'; expected a name of lm-eval's \d+ tasks\."
        r" Did you mean 'gsm8k'\?",
        line,
    )


@pytest.mark.parametrize("name", ["mmlu", pytest.param("ai2_arc", marks=pytest.mark.slow)])
def test_a_group_is_no_task(name: str) -> None:
    line = message_of(name=name)
    assert line.startswith(f"{name}: got '{name}', a group of tasks; expected one task. It has ")


def test_a_name_is_found_without_reading_every_task(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(3))
    load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0))  # imports

    begun = time.process_time()
    load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0))

    assert time.process_time() - begun < 3.0  # lm-eval's own index takes 6 s, this 0.3 s


def test_ones_own_task_comes_before_lm_evals(write_task: Write) -> None:
    directory = write_task("gsm8k", GENERATED, sums(3))

    loaded = load_task(HarnessSettings(name="gsm8k", include_path=directory))

    assert [item.expected for item in loaded.items] == [" 1", " 2", " 3"]


def test_a_task_file_that_cannot_be_read_is_named(write_task: Write) -> None:
    directory = write_task("made", GENERATED, sums(3))
    (directory / "made.yaml").write_text("task: made\ndoc_to_text: [")

    line = message_of(name="made", include_path=directory)

    assert line.startswith(f"made: {directory / 'made.yaml'}: not a task: got ")


def test_a_directory_of_tasks_has_to_be_there(tmp_path: Path) -> None:
    line = message_of(name="made", include_path=tmp_path / "none")

    assert line.startswith("made: include_path: got '")
    assert line.endswith("; expected a directory of task files")


# --- where the docs come from ---------------------------------------------------------------------


def test_a_task_whose_docs_are_elsewhere_says_how_to_name_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    begun = time.monotonic()

    line = message_of(name="arc_easy")

    assert line.startswith("arc_easy: needs what is not on this machine: got ")
    assert line.endswith(
        "expected its docs in a local file. Name one with data:, or a task of your own with"
        " include_path"
    )
    assert time.monotonic() - begun < 30


def test_the_network_is_left_as_it_was() -> None:
    import datasets.config
    import huggingface_hub.constants

    before = dict(os.environ)
    flags = (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)

    message_of(name="arc_easy")

    assert flags == (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)
    assert dict(os.environ) == before


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "tsv", "parquet"])
def test_a_local_file_takes_the_place_of_the_docs(tmp_path: Path, ending: str) -> None:
    rows = [{"question": f"{number} + 1?", "answer": f"#### {number + 1}"} for number in range(3)]
    path = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        write_lines(path, rows)
    elif ending == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif ending == "json":
        path.write_text(json.dumps(rows))
    elif ending == "tsv":
        lines = ["question\tanswer", *(f"{row['question']}\t{row['answer']}" for row in rows)]
        path.write_text("\n".join(lines))
    else:
        import pyarrow as pa
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)

    loaded = load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0))

    assert [item.prompt for item in loaded.items] == [
        f"Question: {row['question']}\nAnswer:" for row in rows
    ]
    assert [item.expected for item in loaded.items] == [row["answer"] for row in rows]


def test_a_packed_file_that_there_is_no_room_to_unpack_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "1 + 1?", "answer": "#### 2"}'))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(MeasurementError, match=r"rows\.jsonl\.gz: got no room in .* with TMPDIR$"):
        load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0))


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("x.jsonl", '{"question": "a"}\n{"question": ', ":2: not JSON: got "),
        ("x.jsonl", '{"question": "a"}\n[1]\n', ":2: got a list; expected an object."),
        ("x.jsonl", "", ":1: got nothing but blank lines; expected JSON lines"),
        ("x.json", '[{"question": "a"},\n {"question": }]', ":2: not JSON: got "),
        ("x.json", '{"question": "a"}', ": got an object; expected a list of objects"),
        ("x.json", "[]", ": got no rows; expected the docs of a task"),
        ("x.tsv", "question\tanswer\na\tb\nc\n", ":3: got 1 fields; expected 2, as the first"),
        ("x.jsonl.gz", "plain", ": cannot be unpacked: got "),
        ("x.parquet", "plain", ": cannot be read: got "),
        ("x.csv", "a,b", ": got a file of another kind; expected one of .jsonl, .jsonl.gz"),
        ("x.jsonl", '{"a": 1}\n{"a": "b"}', ": a: got values of different kinds ("),
        ("x.jsonl", '{"a": 1}\n{"a": 2}', ": the task cannot be made: got UndefinedError: "),
    ],
)
def test_wrong_data_is_an_error_at_its_line(
    tmp_path: Path, name: str, content: str, wanted: str
) -> None:
    path = tmp_path / name
    path.write_text(content)

    line = message_of(name="gsm8k", data=path, num_fewshot=0)

    assert f"{path}{wanted}" in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    assert message_of(name="gsm8k", data=path) == (
        f"{path}: no such file; expected the docs of a task"
    )


def test_a_doc_may_not_be_there_twice(tmp_path: Path) -> None:
    rows = gsm8k(4)
    path = write_lines(tmp_path / "rows.jsonl", [*rows, rows[1]])

    assert message_of(name="gsm8k", data=path, num_fewshot=0) == (
        f"gsm8k: {path}: doc 5: got the same doc as number 2; expected every doc once. Leave one"
        " out"
    )


@pytest.mark.parametrize("answer", [None, "", "  "])
def test_a_doc_needs_a_target(tmp_path: Path, answer: str | None) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [*gsm8k(2), {"question": "?", "answer": answer}])

    line = message_of(name="gsm8k", data=path, num_fewshot=0)

    assert line.startswith(f"gsm8k: {path}: doc 3: no target: got ")
    assert line.endswith("; expected the right answer")


def test_the_word_none_is_a_target_like_any_other(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [{"question": "?", "answer": "None"}])

    loaded = load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0))

    assert loaded.items[0].expected == "None"


def test_a_target_is_one_of_the_choices(write_task: Write) -> None:
    rows = [{"prompt": f"{number}?", "choices": [" a", " b"], "label": number} for number in (0, 2)]
    directory = write_task("made", CHOICES, rows, doc_to_target="{{label}}")

    assert message_of(name="made", include_path=directory) == (
        "made: made: doc 2: target: got 2; expected one of its 2 choices"
    )


# --- manners --------------------------------------------------------------------------------------


def test_loading_prints_nothing(
    tmp_path: Path, write_task: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(3))
    load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=2))
    load_task(HarnessSettings(name="made", include_path=write_task("made", GENERATED, sums(3))))

    assert capfd.readouterr() == ("", "")


def test_the_room_imports_nothing_heavy(tmp_path: Path) -> None:
    modules = sorted(
        path.stem for path in (ROOT / "qgate" / "measure" / "tasks" / "lm_eval").glob("*.py")
    )
    heavy = ("lm_eval", "datasets", "evaluate", "torch", "jinja2", "pyarrow", "pandas", "scipy")
    code = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module('qgate.measure.tasks.lm_eval.' + name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
