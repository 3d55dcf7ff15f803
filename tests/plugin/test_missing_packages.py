"""An artifact that needs what is not there: its rows say what to install, the others go on."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import qgate
from tests.plugin.conftest import CLOSED_PORT

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

pytestmark = pytest.mark.slow
pytest.importorskip("transformers", reason="needs transformers")
pytest.importorskip("torchao", reason="needs torchao")

MODEL = Path(qgate.__file__).parent / "demo" / "model"
QUICK = "version: 1\ntext: {source: generated, windows: 8, window_tokens: 128}\n"


def copy_as(target: Path, **quantization: object) -> None:
    shutil.copytree(MODEL, target)
    config = json.loads((target / "config.json").read_text())
    config["quantization_config"] = quantization
    (target / "config.json").write_text(json.dumps(config))


def test_a_missing_package_and_a_missing_gpu_are_errors_of_their_rows_only(
    project: Project, tmp_path: Path
) -> None:
    if find_spec("hqq") is not None or any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("hqq or a GPU is here")
    models = tmp_path / "models"
    shutil.copytree(MODEL, models / "original")
    copy_as(models / "no-package", quant_method="hqq", quant_config={})
    copy_as(models / "no-gpu", quant_method="fp8", weight_block_size=[128, 128])
    shutil.copytree(MODEL, models / "sound")
    at_load = "quantize: {method: torchao, quant_type: int8_weight_only}\n"
    (models / "sound" / "qgate.yaml").write_text(at_load)
    limits = project.write("quick.yaml", QUICK)

    seen = project.pytest(
        f"--qgate={models}",
        f"--qgate-thresholds={limits}",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        *("-m", "perplexity"),
    )

    assert seen.code == 1
    said = seen.message("no-package", "perplexity.ratio")
    assert "hqq needs hqq, which is not installed" in said
    assert 'pip install "hqq' in said
    assert "fp8 needs a GPU: got none" in seen.message("no-gpu", "perplexity.ratio")
    assert seen.verdicts("no-package")["perplexity.ratio"] == "error"
    assert seen.verdicts("no-gpu")["divergence.kl_mean"] == "error"
    assert seen.verdicts("sound")["divergence.kl_mean"] == "pass"
    assert "Traceback" not in seen.text
