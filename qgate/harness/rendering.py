"""Renders chats in a child process that is ended where a template takes too long.

The sandbox of `qgate.harness.chat` keeps a template from reaching anything; it does not keep one
from counting forever. This file is also what the child runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.harness.chat import Chat

_LONGEST_S = 30.0
_MOST_BYTES = 64 * 1024 * 1024
_MEMORY_BYTES = 4 * 1024**3


def render_chats(chat: Chat, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    """The text of each chat, the model's turn opened behind it.

    Raises:
        MeasurementError: the template is wrong, reaches for what it may not touch, or is too slow.
    """
    asked = json.dumps(
        {
            "template": chat.template,
            "bos_token": chat.bos_token,
            "eos_token": chat.eos_token,
            "chats": [[dict(message) for message in one] for one in chats],
        }
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "qgate.harness.rendering"],
            input=asked.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(
            f"chat template cannot be applied: got no text within {_LONGEST_S:g} s; expected a"
            " template that renders a chat"
        ) from None
    return _read(done, len(chats))


def _read(done: subprocess.CompletedProcess[bytes], count: int) -> list[str]:
    told: object = None
    if done.returncode == 0 and len(done.stdout) <= _MOST_BYTES:
        told = json.loads(done.stdout)
    if isinstance(told, str):
        raise MeasurementError(told)
    if not isinstance(told, list) or len(told) != count:
        raise MeasurementError(
            "chat template cannot be applied: its process ended"
            f" (code {done.returncode}); expected a template that renders a chat"
        )
    return [str(text) for text in told]


def main() -> None:
    """Read a request from standard input, write texts or a complaint to standard output."""
    import resource

    from qgate.harness.chat import Chat

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(_LONGEST_S), int(_LONGEST_S)))
    asked = json.loads(sys.stdin.buffer.read())
    chat = Chat(
        template=asked["template"], bos_token=asked["bos_token"], eos_token=asked["eos_token"]
    )
    answer: list[str] | str
    try:
        answer = [chat.render(messages, adds_prompt=True) for messages in asked["chats"]]
    except MeasurementError as error:
        answer = str(error)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
