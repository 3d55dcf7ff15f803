"""Progress on pytest's own terminal: past its capturing, below its line of dots."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.gate.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from qgate.planning.clock import RunClock


@dataclass(frozen=True, slots=True)
class TerminalProgress:
    """Shows how far a run is; silent in workers and with -q."""

    config: pytest.Config
    clock: RunClock
    """Of the whole run."""

    @contextmanager
    def __call__(self, subject: str) -> Iterator[Callable[[str, int, int], None]]:
        """A progress line for one long piece of work."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        is_terminal = bool(reporter and reporter.isatty)
        writer = getattr(reporter, "_tw", None)

        def write(text: str) -> None:
            if writer is None or self.config.get_verbosity() < 0:
                return
            with capture.global_and_fixture_disabled():
                if is_terminal:  # past the writer, which would take it for pytest's own line
                    writer._file.write(text)
                    writer._file.flush()
                else:
                    reporter.ensure_newline()
                    reporter.write(text, flush=True)

        line = ProgressLine(
            write,
            is_terminal=is_terminal,
            width=getattr(writer, "fullwidth", 80),
            column=lambda: getattr(writer, "width_of_current_line", 0),
            overall=self.clock.describe,
        )
        line.begin(subject)
        try:
            yield line.step
        finally:
            line.end()
