"""What is asked of lm-evaluation-harness: one task, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import ThresholdsError

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.measure.tasks.lm_eval.code import Runner
    from qgate.sandbox.chat import Chat

FEWSHOT_SEED = 1234
"""lm-eval's own default, so that the examples are those of a run of `lm_eval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSettings:
    """One task by its name in lm-eval."""

    name: str
    where: str = ""
    """What messages begin with, e.g. `thresholds.yaml:12`; empty: the task's name."""
    include_path: Path | None = None
    """A directory of the user's own tasks, as lm-eval's --include_path."""
    num_fewshot: int | None = None
    """None: what the task itself says."""
    data: Path | None = None
    """A local file in place of the split that the task is evaluated on."""
    max_samples: int | None = None
    """None: every doc."""
    metric: str | None = None
    """A metric, or `metric,filter` as lm-eval's tables have it; None: the task's first of each."""
    max_tokens: int | None = None
    """Length of a generated answer; None: what the task itself says."""
    group: str | None = None
    """The field of its docs that says what several are about; None: each stands for itself."""
    chat: Chat | None = None
    runner: Runner | None = None
    """Runs in a sandbox what is generated; None: nobody may run it."""
    is_offline: bool = True
    """Whether only local files and what lies in the Hugging Face cache are read."""

    def error(self, message: str) -> ThresholdsError:
        return ThresholdsError(f"{self.where or self.name}: {message}")
