"""A child whose tokens are bytes, so that ids can be read; and files of items."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.measure.tasks.items import ItemFile, read_items
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import TokenizerClient
from tests.conftest import Toy, write_toy
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.measure.tasks.task_items import Write


@pytest.fixture(scope="session")
def bytes_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A toy in the fake runtime, loaded; token 1 begins a text."""
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = tmp_path_factory.mktemp("bytes") / "bytes.gguf"
    write_toy(path, Toy(scheme="F32", vocabulary=256))
    with Host(HostSettings(runtime="fake", stall_s=30.0)) as host:
        load(host, path)
        yield host


@pytest.fixture(scope="session")
def speak(bytes_child: Host) -> Callable[[int], TokenizerClient]:
    """speak(context_tokens) -> a tokenizer of that child."""
    return lambda context_tokens: TokenizerClient(bytes_child, context_tokens, 1)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(rows) -> a file of items, read."""

    def make(rows: Sequence[dict[str, Any]]) -> ItemFile:
        path = tmp_path / "items.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_items(path, "items.jsonl")

    return make
