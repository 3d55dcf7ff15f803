"""The harness's libraries made to behave: no bars and warnings on the screen, no network."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, MutableMapping
    from types import ModuleType

_SEED, _NUMPY_SEED = 0, 1234
"""lm-eval's own: some tasks shuffle their choices with the global generators."""
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
_YES = ("1", "ON", "YES", "TRUE")
_TOLD = ("huggingface_hub.constants", "datasets.config", "evaluate.config")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what lm-eval, datasets and their progress bars print off the screen."""
    with (
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """The global random generators as lm-eval seeds them; afterwards as they were."""
    import numpy as np

    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - tasks use it
    random.seed(_SEED)
    np.random.seed(_NUMPY_SEED)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def network(*, is_allowed: bool) -> Iterator[None]:
    """Let the Hugging Face libraries use the network, or nothing but files and their cache.

    Each reads its variable once, when it is imported: what is there already is told, and what is
    imported meanwhile is told afterwards what the variables say outside.
    """
    if is_allowed:
        yield
        return
    for name in _TOLD[:2]:
        importlib.import_module(name)

    known = {name: sys.modules[name] for name in _TOLD if name in sys.modules}
    with contextlib.ExitStack() as stack:
        stack.callback(_tell_latecomers, known)
        stack.enter_context(replaced(os.environ, dict.fromkeys(_OFFLINE, "1")))
        for module in known.values():
            stack.enter_context(replaced(vars(module), dict.fromkeys(_flags(module), True)))
        yield


def _tell_latecomers(known: Collection[str]) -> None:
    for name in set(_TOLD) - set(known):
        if name in sys.modules:
            module = sys.modules[name]
            for flag in _flags(module):
                setattr(module, flag, os.environ.get(flag, "").upper() in _YES)


def _flags(module: ModuleType) -> list[str]:
    return [flag for flag in _OFFLINE if flag in vars(module)]


@contextlib.contextmanager
def replaced(table: MutableMapping[str, Any], entries: Mapping[str, Any]) -> Iterator[None]:
    """Other entries in a table for a while: the environment, the modules, a module's names."""
    before = {key: table[key] for key in entries if key in table}
    table.update(entries)
    try:
        yield
    finally:
        for key in entries:
            table.pop(key, None)
        table.update(before)
