"""Renders chats in a child process that is ended where a template takes too much.

The sandbox of `qgate.sandbox.chat` keeps a template from reaching anything; it does not keep one
from counting forever, or from filling the memory. So the child has a bound of memory, and who waits
for it has a deadline and a longest text. This file is also what the child runs.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import qgate
from qgate.errors import MeasurementError
from qgate.runtimes.environment import child_environment
from qgate.untrusted.text import printable, quoted
from qgate.untrusted.work_folder import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import FileIO
    from typing import Self

    from qgate.sandbox.chat import Chat

    Messages = Sequence[Mapping[str, str]]

_LONGEST_S = 30.0
"""The start of the child, and what a template may waste over all its chats."""
_A_CHAT_S = 0.1
"""More for each chat: a hundred times what a long template takes."""
_MOST_BYTES = 32 * 1024 * 1024
"""Of all texts that are asked for at once."""
_TOO_LONG = f"more than {_MOST_BYTES >> 20} MiB of text"
_MEMORY_BYTES = 2 * 1024**3
_LONGEST_REASON = 400
_LONGEST_WORDS = 200
_CHUNK = 65536
_DATE = "2025-01-01"
"""What templates that print today's date print: the same text on any day."""
_BOOTSTRAP = (
    "import sys; sys.path.append(sys.argv.pop(1));"
    " from qgate.sandbox.chat_rendering import main; main()"
)
"""Behind what is installed, so that qgate is found where it is not; nothing else is imported from
the directory that somebody works in."""


class TemplateRefused(MeasurementError):  # noqa: N818 - a state, as in the report
    """The template itself is wrong, or reaches for what it may not touch."""


def render_chats(chat: Chat, chats: Sequence[Messages]) -> list[str]:
    """The text of each chat, the model's turn opened behind it; raises as `Renderer.render`."""
    with Renderer(chat) as renderer:
        return renderer.render(chats, adds_prompt=True)


class Renderer:
    """One child for all chats of a template; to be used in a `with` statement."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._left_s = _LONGEST_S
        self._stack = contextlib.ExitStack()
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def render(self, chats: Sequence[Messages], *, adds_prompt: bool) -> list[str]:
        """The text of each chat.

        Args:
            chats: of each the messages, with `role` and `content`.
            adds_prompt: as of `qgate.sandbox.chat.Chat.render_all`.

        Raises:
            TemplateRefused: the template is wrong, or reaches for what it may not touch.
            MeasurementError: it takes too much time, memory or text, its process ended, or there is
                no directory for one.
        """
        if self._chat in _endless():
            raise _late()
        self._left_s += _A_CHAT_S * len(chats)
        lines: list[object] = [] if self._child else [_told(self._chat)]
        lines.append(
            {
                "chats": [[dict(message) for message in one] for one in chats],
                "adds_prompt": adds_prompt,
                "cpu_s": self._left_s,
            }
        )
        deadline = time.monotonic() + self._left_s
        asked = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        try:
            answer = _exchange(self._started(), asked, deadline)
        except TimeoutError:
            _endless().add(self._chat)
            raise _late() from None
        self._left_s = deadline - time.monotonic()
        return _read(answer, len(chats))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            place = self._stack.enter_context(temporary_folder("qgate-template-", "chat template"))
            self._child = self._stack.enter_context(_start(place))
            self._stack.callback(self._child.kill)
        return self._child


def _told(chat: Chat) -> dict[str, str]:
    return {
        "template": chat.template,
        "bos_token": chat.bos_token,
        "eos_token": chat.eos_token,
        "date": _DATE,
    }


def _start(directory: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOTSTRAP, str(Path(qgate.__file__).resolve().parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # read at its end alone; no honest child says more than it holds
        cwd=directory,
        env=child_environment(os.environ),
        bufsize=0,
    )
    os.set_blocking(cast("FileIO", child.stdin).fileno(), False)
    os.set_blocking(cast("FileIO", child.stderr).fileno(), False)
    return child


def _exchange(child: subprocess.Popen[bytes], asked: bytes, deadline: float) -> bytes:
    """Write lines and read one, no more of it than is wanted and no longer than allowed.

    Raises:
        TimeoutError: it took longer.
    """
    into, out = cast("FileIO", child.stdin), cast("FileIO", child.stdout)
    left, heard = memoryview(asked), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(into, selectors.EVENT_WRITE)
        selector.register(out, selectors.EVENT_READ)
        while not heard.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            for key, _ in selector.select(left_s):
                if key.fileobj is out:
                    heard += _hear(child, out)
                elif not (left := left[_say(into, left) :]):
                    selector.unregister(into)
            if len(heard) > _MOST_BYTES:
                raise _refusal(_TOO_LONG)
    return bytes(heard)


def _say(into: FileIO, what: memoryview) -> int:
    try:
        return into.write(what) or 0
    except BrokenPipeError:  # it has ended, which reading shows
        return len(what)


def _hear(child: subprocess.Popen[bytes], out: FileIO) -> bytes:
    said = out.read(_CHUNK)
    if not said:
        child.kill()  # it may have closed its end and gone on
        raise _ended(child, child.wait())
    return said


def _ended(child: subprocess.Popen[bytes], code: int) -> MeasurementError:
    """A template can have its process killed; an end by itself is the machine's doing."""
    lines = (cast("FileIO", child.stderr).read(_CHUNK) or b"").decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    words = f"; last words: {quoted(last.strip(), _LONGEST_WORDS)}" if last else ""
    if code < 0:
        return _refusal(f"no text: its process ended (code {code}){words}")
    return MeasurementError(
        f"chats cannot be rendered: their process ended (code {code}){words}; expected it to wait"
        " for them. Whatever the template, this machine does not let it"
    )


def _read(line: bytes, count: int) -> list[str]:
    try:
        answer: Any = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("refused"), str):
        raise TemplateRefused(_line(answer["refused"]))
    if isinstance(answer, dict) and isinstance(answer.get("exhausted"), str):
        raise _refusal(_line(answer["exhausted"]))
    if not isinstance(answer, list) or [type(text) for text in answer] != [str] * count:
        raise _refusal("something else than texts")
    return answer


def _line(text: str) -> str:
    return printable(" ".join(text[:_LONGEST_REASON].split()))


def _refusal(got: str) -> MeasurementError:
    return MeasurementError(
        f"chat template cannot be applied: got {got}; expected a template that renders a chat."
        " Mend it, or ask without it"
    )


def _late() -> MeasurementError:
    return _refusal(f"no text within {_LONGEST_S:g} s")


@functools.cache
def _endless() -> set[Chat]:
    """Templates that did not end in this process: whoever asks for one again need not wait."""
    return set()


def main() -> None:
    """Read a template and then requests, a line each; write texts or a complaint, a line each."""
    import resource

    from qgate.sandbox.chat import Chat

    _limit(resource.RLIMIT_AS, _MEMORY_BYTES, is_final=True)
    told = json.loads(sys.stdin.buffer.readline())
    chat = Chat(
        template=told["template"],
        bos_token=told["bos_token"],
        eos_token=told["eos_token"],
        date=datetime.date.fromisoformat(told["date"]),
    )
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # should nobody be left who ends it
        most_s = int(time.process_time() + asked["cpu_s"]) + 1
        _limit(resource.RLIMIT_CPU, most_s, is_final=False)
        sys.stdout.write(_answer(chat, asked) + "\n")
        sys.stdout.flush()


def _limit(kind: int, most: int, *, is_final: bool) -> None:
    """Set a limit of this process as far as the one that it was started with allows."""
    import resource

    _, hard = resource.getrlimit(kind)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(kind, (bound, bound if is_final else hard))
    except (OSError, ValueError):  # macOS sets none of the address space
        if sys.platform == "linux":
            raise


def _answer(chat: Chat, asked: Mapping[str, Any]) -> str:
    try:
        answer = json.dumps(chat.render_all(asked["chats"], adds_prompt=asked["adds_prompt"]))
    except MemoryError:
        return json.dumps({"exhausted": f"more than {_MEMORY_BYTES >> 30} GiB of memory in use"})
    except MeasurementError as error:
        return json.dumps({"refused": str(error)})
    return answer if len(answer) < _MOST_BYTES else json.dumps({"exhausted": _TOO_LONG})


if __name__ == "__main__":
    main()
