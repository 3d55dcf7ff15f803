"""The door to transformers: nothing that it prints and nothing that it raises comes through.

What a library says is kept out of the child's standard error, where the last words before a crash
are; what it raises becomes one of qgate's own errors, with the first line of its reason.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from qgate.errors import ArtifactError, QGateError, RuntimeFailed, RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_MOST_CHARACTERS = 300
_END: Any = object()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """While a model is loaded: silent, and what it raises is about the artifact.

    Raises:
        ArtifactError: the library refuses the files.
        RuntimeUnavailable: the library misses another one.
        RuntimeFailed: out of memory.
    """
    try:
        with silence(), Path(os.devnull).open("w", encoding="utf-8") as nowhere:  # noqa: SIM117
            # progress bars, banners and remarks of quantization libraries
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    except QGateError:
        raise
    except ImportError as error:
        raise RuntimeUnavailable(
            f"transformers cannot load the model with what is installed: {one_line(error)}"
        ) from error
    except Exception as error:
        if ran_out_of_memory(error):
            raise RuntimeFailed(f"out of memory while loading: {one_line(error)}") from error
        raise ArtifactError(f"transformers refuses the model: {one_line(error)}") from error


@contextlib.contextmanager
def _running() -> Iterator[None]:
    try:
        with silence():
            yield
    except QGateError:
        raise
    except Exception as error:
        what = "out of memory" if ran_out_of_memory(error) else type(error).__name__
        raise RuntimeFailed(f"transformers: {what}: {one_line(error)}") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def translate_errors(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, silent; what a library raises in it is a RuntimeFailed."""

    @functools.wraps(work)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _running():
            return work(*args, **kwargs)

    return inside


def translate_errors_while_iterating(
    work: Callable[Arguments, Iterator[Result]],
) -> Callable[Arguments, Iterator[Result]]:
    """The same for a generator: each of its steps."""

    @functools.wraps(work)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Result]:
        steps = work(*args, **kwargs)
        while True:
            with _running():
                found = next(steps, _END)
            if found is _END:
                return
            yield found

    return inside


def ran_out_of_memory(error: BaseException) -> bool:
    """Of the machine or of its accelerator, whose error has no class that every build knows."""
    is_torchs = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or is_torchs


def one_line(error: BaseException) -> str:
    """The first line of the reason, or what kind of error it is where it gives none."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    reason = next((line for line in lines if line), type(error).__name__)
    if isinstance(error, KeyError):
        reason = f"no {reason}"
    return reason[:_MOST_CHARACTERS]
