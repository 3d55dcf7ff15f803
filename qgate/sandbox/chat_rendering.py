"""Renders chats in a child process that is ended where a template takes too long.

The sandbox of `qgate.sandbox.chat` keeps a template from reaching anything; it does not keep one
from counting forever. This file is also what the child runs.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import qgate
from qgate.errors import MeasurementError
from qgate.runtimes.environment import child_environment
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.sandbox.chat import Chat

_LONGEST_S = 30.0
_MOST_CHARACTERS = 16 * 1024 * 1024
"""Of all texts together."""
_MEMORY_BYTES = 2 * 1024**3
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


def render_chats(chat: Chat, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    """The text of each chat, the model's turn opened behind it.

    Raises:
        TemplateRefused: the template is wrong, or reaches for what it may not touch.
        MeasurementError: it is too slow, or its process ended.
    """
    asked = json.dumps(
        {
            "template": chat.template,
            "bos_token": chat.bos_token,
            "eos_token": chat.eos_token,
            "date": _DATE,
            "chats": [[dict(message) for message in one] for one in chats],
        }
    )
    package = str(Path(qgate.__file__).resolve().parents[1])
    try:
        with WorkFolder("qgate-template-") as directory:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _BOOTSTRAP, package],
                input=asked.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=directory,
                env=child_environment(os.environ),
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
    if done.returncode == 0:
        told = json.loads(done.stdout)
    if isinstance(told, str):
        raise TemplateRefused(told)
    if not isinstance(told, list) or len(told) != count:
        raise MeasurementError(
            "chat template cannot be applied: its process ended"
            f" (code {done.returncode}); expected a template that renders a chat"
        )
    return [str(text) for text in told]


def main() -> None:
    """Read a request from standard input, write texts or a complaint to standard output."""
    import resource

    from qgate.sandbox.chat import Chat

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(_LONGEST_S), int(_LONGEST_S)))
    asked = json.loads(sys.stdin.buffer.read())
    chat = Chat(
        template=asked["template"],
        bos_token=asked["bos_token"],
        eos_token=asked["eos_token"],
        date=datetime.date.fromisoformat(asked["date"]),
    )
    answer: list[str] | str
    try:
        answer = chat.render_all(asked["chats"], adds_prompt=True)
    except MeasurementError as error:
        answer = str(error)
    else:
        if sum(map(len, answer)) > _MOST_CHARACTERS:
            answer = (
                f"chat template cannot be applied: got more than {_MOST_CHARACTERS} characters;"
                " expected a template that renders a chat"
            )
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
