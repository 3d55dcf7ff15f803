"""A task's configuration as the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.measure.tasks.lm_eval.data import read_data, to_dataset
from qgate.measure.tasks.lm_eval.execution import check_code
from qgate.measure.tasks.lm_eval.plan import refusal, with_length
from qgate.thresholds.values import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qgate.measure.tasks.lm_eval.settings import HarnessSettings


def check_config(raw: Mapping[str, Any], settings: HarnessSettings) -> None:
    """Refuse what a task must not ask for.

    Args:
        raw: with functions as the names of theirs.
        settings: how it is asked.

    Raises:
        ThresholdsError: it runs code, samples, repeats, looks at pictures, or cannot be changed so.
    """
    check_code(raw, settings)
    if (repeats := int(raw.get("repeats") or 1)) > 1:
        raise settings.error(f"got repeats {repeats}; expected 1: answers are greedy")
    if why := refusal(raw.get("generation_kwargs") or {}):
        raise settings.error(why)
    if raw.get("doc_to_image") or raw.get("doc_to_audio"):
        raise settings.error("got a task of pictures or sound; expected one of text")
    if "class" in raw and settings.data is not None:
        raise settings.error(
            "data: got a task that is a Python class; expected one of YAML. Write a task of your"
            " own and name its directory with include_path"
        )
    _check_metrics(raw, settings)
    own = raw.get("num_fewshot")
    if settings.num_fewshot and own == 0:
        raise settings.error(
            f"num_fewshot: got {settings.num_fewshot}; expected 0: the task allows no others"
        )


def _check_metrics(raw: Mapping[str, Any], settings: HarnessSettings) -> None:
    """Refuse a metric that nobody computes: lm-eval says `KeyError: None`."""
    from lm_eval.api import metrics  # noqa: F401 - fills the registry
    from lm_eval.api.registry import METRIC_REGISTRY

    if raw.get("process_results") or "class" in raw:
        return
    for entry in raw.get("metric_list") or ():
        name = str(entry.get("metric"))
        is_told = {"aggregation", "higher_is_better"} <= set(entry)
        if name.startswith("/") or is_told or name in METRIC_REGISTRY:  # "/": a function's file
            continue
        known = sorted(METRIC_REGISTRY)
        raise settings.error(
            f"metric_list: got {shown(name)}; expected a metric of lm-eval's, such as acc,"
            f" exact_match or bleu.{did_you_mean(name, known)}"
        )


def change_config(config: dict[str, Any], settings: HarnessSettings) -> dict[str, Any]:
    """The configuration to load.

    Args:
        config: with its functions.
        settings: how it is asked.

    Raises:
        ThresholdsError: the local file does not hold rows.
    """
    changed = dict(config)
    if settings.num_fewshot is not None:
        changed["num_fewshot"] = settings.num_fewshot
    if settings.max_tokens is not None and changed.get("output_type") == "generate_until":
        changed["generation_kwargs"] = with_length(
            changed.get("generation_kwargs") or {}, settings.max_tokens
        )
    if settings.data is not None:
        changed |= _on_local_data(changed, settings.data)
    return changed


def _on_local_data(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The file is the split that is evaluated; examples come from it too, never the doc itself."""
    split = config.get("test_split") or config.get("validation_split") or "test"
    dataset = to_dataset(read_data(path), path)
    shots = config.get("fewshot_config")
    shots = dict(shots) if isinstance(shots, dict) else {}
    shots["split"] = None if shots.get("samples") is not None else split
    return {
        "dataset_path": None,
        "dataset_name": None,
        "dataset_kwargs": None,
        "custom_dataset": lambda **_: {split: dataset},
        "training_split": None,
        "validation_split": None,
        # lm-eval leaves out the doc itself where examples come from the split of this name
        "test_split": split,
        "fewshot_split": shots["split"],
        "fewshot_config": shots,
    }
