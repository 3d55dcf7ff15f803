"""Copies of the demo model's small files, with changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qgate
from qgate.artifacts.tokenizer.comparison import hf_tokenizer_facts
from qgate.artifacts.tokenizer.hf import HfTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.artifacts.tokenizer.comparison import TokenizerFacts

DEMO = Path(qgate.__file__).parent / "demo" / "model"
SMALL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def copy(directory: Path) -> Path:
    """The demo model without its weights."""
    directory.mkdir(parents=True)
    for name in SMALL:
        shutil.copy(DEMO / name, directory / name)
    return directory


def change(directory: Path, name: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit a JSON file in place; absent: from an empty one."""
    path = directory / name
    content = json.loads(path.read_text()) if path.exists() else {}
    edit(content)
    path.write_text(json.dumps(content))


def facts(directory: Path) -> TokenizerFacts:
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return hf_tokenizer_facts(HfTokenizer(directory, files))
