"""One reference, artifacts of several formats: each in the runtime that fits it, in one table."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import qgate
from tests.plugin.conftest import CLOSED_PORT, new_project
from tests.support.gguf_faults import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugin.conftest import Outcome, Project

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")
pytest.importorskip("transformers", reason="needs transformers")
pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")

MODEL = Path(qgate.__file__).parent / "demo" / "model"
AT_LOAD = "quantize: {method: bitsandbytes, load_in_8bit: true}\n"
QUICK = """
version: 1
text: {source: generated, windows: 16, window_tokens: 256}
latency: {prompt_tokens: 32, output_tokens: 8, pairs: 6, warmup: 1}
tasks:
  {everyday: off, grammar: off, stories: off, classification: off, next_sentence: off, code: off}
"""


NOT_JUDGED = {"perplexity.increase", "edge.context_limit"}
"""The text is not WikiText-2; the demo's reference knows nothing of the last tokens."""


@pytest.fixture(scope="module")
def models(demo_models: Callable[..., Path]) -> Path:
    """The HF reference, one that is quantized while it is loaded, and GGUF files of the same."""
    directory = demo_models("F16", "Q8_0")
    shutil.copytree(MODEL, directory / "original")
    at_load = shutil.copytree(MODEL, directory / "int8-at-load")
    (at_load / "qgate.yaml").write_text(AT_LOAD)
    return directory


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(tmp_path_factory.mktemp("mixed-run") / "project")


@pytest.fixture(scope="module")
def seen(models: Path, project: Project) -> Outcome:
    return gate(project, models, "-m", "not latency and not memory")


def gate(project: Project, models: Path, *arguments: str) -> Outcome:
    limits = project.write("quick.yaml", QUICK)
    fixed = [f"--qgate-thresholds={limits}", f"--qgate-mlflow-uri={CLOSED_PORT}"]
    return project.pytest(f"--qgate={models}", *fixed, *arguments)


def entry(seen: Outcome, name: str) -> dict[str, Any]:
    (found,) = (one for one in seen.report()["artifacts"] if one["id"] == name)
    return dict(found)


def row(seen: Outcome, name: str, check: str) -> dict[str, Any]:
    (found,) = (one for one in entry(seen, name)["checks"] if one["name"] == check)
    return dict(found)


def test_the_hf_directory_is_the_reference(seen: Outcome) -> None:
    reference = seen.report()["reference"]
    assert (reference["id"], reference["runtime"]["name"]) == ("original", "transformers")
    assert "Traceback" not in seen.text


def test_each_artifact_is_served_by_the_runtime_of_its_format(seen: Outcome) -> None:
    names = {one["id"]: one["runtime"]["name"] for one in seen.report()["artifacts"]}
    assert names == {
        "int8-at-load": "transformers",
        "qgate-demo-F16": "llama_cpp",
        "qgate-demo-Q8_0": "llama_cpp",
    }
    assert all(one["runtime"]["reason"] for one in seen.report()["artifacts"])
    assert entry(seen, "int8-at-load")["runtime"]["kernel"] == "Linear8bitLt"


def test_the_unquantized_model_in_two_runtimes_shows_what_these_differ_by(seen: Outcome) -> None:
    ratio = row(seen, "qgate-demo-F16", "perplexity.ratio")
    assert abs(ratio["value"] - 1) < 5e-4  # the same to three digits
    assert row(seen, "qgate-demo-F16", "divergence.kl_mean")["value"] < 1e-4
    assert "differences of runtimes are included" in seen.text


def test_sound_artifacts_pass_every_quality_row(seen: Outcome) -> None:
    for name in ("int8-at-load", "qgate-demo-F16", "qgate-demo-Q8_0"):
        quality = {
            one["name"]: (one["verdict"], one["message"])
            for one in entry(seen, name)["checks"]
            if one["name"].partition(".")[0] not in ("latency", "memory")
        }
        skipped = {check for check, said in quality.items() if said[0] == "skipped"}
        wrong = {
            check: said for check, said in quality.items() if said[0] not in ("pass", "skipped")
        }
        assert not wrong, name
        assert skipped == NOT_JUDGED, name
        assert len(quality) - len(skipped) > 15


def test_a_tokenizer_of_another_format_is_compared_by_what_it_does_to_texts(
    project: Project, models: Path, tmp_path: Path
) -> None:
    """Tokens by id are the same in all of them."""
    shutil.copytree(models / "original", tmp_path / "original")
    changes = {
        "sound": {},
        "splits-otherwise": {"tokenizer.ggml.pre": "default"},
        "adds-no-first-token": {"tokenizer.ggml.add_bos_token": False},
    }
    for name, values in changes.items():
        source = models / "qgate-demo-F16.gguf"
        rewrite(source, tmp_path / f"{name}.gguf", values=values)

    seen = gate(project, tmp_path, "-k", "integrity.tokenizer")

    told = {name: row(seen, name, "integrity.tokenizer")["message"] for name in changes}
    assert told["sound"] == (
        "integrity.tokenizer: the reference's (5 keys); the same texts get the same ids"
    )
    for name in ("splits-otherwise", "adds-no-first-token"):
        assert row(seen, name, "integrity.tokenizer")["verdict"] == "fail"
        assert "in llama_cpp; expected [" in told[name]
        assert told[name].endswith("as in transformers. Convert it again from the reference.")


def test_times_that_are_not_those_of_serving_it_are_shown_and_not_judged(
    project: Project, models: Path
) -> None:
    seen = gate(project, models, "-k", "(int8 or Q8_0) and (test_tps or test_weights)")
    # transformers on a CPU stands in for a GPU; and the reference of the GGUF file ran there too,
    # its 16-bit weights widened to 32
    for name in ("int8-at-load", "qgate-demo-Q8_0"):
        for check in ("latency.tps", "memory.weights"):
            found = row(seen, name, check)
            assert (found["verdict"], found["limit"]) == ("skipped", None)
            assert found["value"] is not None
    assert "in place of a GPU: times and memory of int8-at-load are shown, not judged" in seen.text
    assert "times and memory of qgate-demo-Q8_0 against it are shown, not judged" in seen.text
