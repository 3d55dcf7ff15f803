"""Chats to text by a model's chat template, as transformers renders them, with nothing to reach.

The template is jinja2 in its immutable sandbox with transformers' own filters and functions
(`transformers.utils.chat_template_utils`): what it may not touch is an error. How long it may take
is not bounded here: a stranger's template is for the child of `qgate.sandbox.chat_rendering`.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import MeasurementError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = "CONTINUE_FINAL_MESSAGE_TAG "
"""Put behind a last message that the model is to go on with: the text is cut there."""
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat template and the special tokens that it may name."""

    template: str
    bos_token: str = ""
    eos_token: str = ""

    date: datetime.date | None = None
    """What a template takes for today; None: today."""

    def render(self, messages: Sequence[Mapping[str, str]], *, adds_prompt: bool) -> str:
        """The text of a chat; arguments and errors as `render_all`."""
        return self.render_all([messages], adds_prompt=adds_prompt)[0]

    def render_all(
        self, chats: Sequence[Sequence[Mapping[str, str]]], *, adds_prompt: bool
    ) -> list[str]:
        """The text of each chat; the template is compiled once.

        A template that refuses a system message gets the chat without it, as lm-eval's `hf` does.

        Args:
            chats: of each the messages, with `role` and `content`.
            adds_prompt: whether the model's turn is opened behind them; else it goes on with the
                last message.

        Raises:
            MeasurementError: the template is wrong, or reaches for what it may not touch.
            MemoryError: it takes more than there is.
        """
        try:
            template = _environment(self.date).from_string(self.template)
            return [self._render_one(template, chat, adds_prompt=adds_prompt) for chat in chats]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever somebody's template runs into
            raise _refused(error) from None

    def _render_one(
        self,
        template: Any,  # noqa: ANN401 - jinja2's
        messages: Sequence[Mapping[str, str]],
        *,
        adds_prompt: bool,
    ) -> str:
        from jinja2.exceptions import SecurityError, TemplateError

        rest = [message for message in messages if message["role"] != "system"]
        try:
            return self._render(template, messages, adds_prompt=adds_prompt)
        except TemplateError as error:
            if isinstance(error, SecurityError) or len(rest) == len(messages):
                raise
        return self._render(template, rest, adds_prompt=adds_prompt)

    def _render(
        self,
        template: Any,  # noqa: ANN401 - jinja2's
        messages: Sequence[Mapping[str, str]],
        *,
        adds_prompt: bool,
    ) -> str:
        given = [dict(message) for message in messages]
        if not adds_prompt:
            given[-1]["content"] += _HERE
        text: str = template.render(
            messages=given,
            tools=None,
            documents=None,
            add_generation_prompt=adds_prompt,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
        )
        if adds_prompt:
            return text
        before, found, _ = text.rpartition(_HERE.strip())
        if not found:
            raise ValueError("it leaves out the message to go on with")
        # a template that strips what it is given has stripped the end of the tag with it
        return before if text[len(before) :].startswith(_HERE) else before.rstrip()


def _environment(date: datetime.date | None) -> Any:  # noqa: ANN401 - jinja2's
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Of transformers: `generation` marks what the model said, and changes no text."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:  # noqa: ANN401 - jinja2's
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Strict(ImmutableSandboxedEnvironment):
        """Raises where the sandbox would hand out something that prints as nothing."""

        def unsafe_undefined(self, obj: object, attribute: str) -> NoReturn:
            raise SecurityError(f"access to {attribute!r} of a {type(obj).__name__}")

    extensions = [Generation, loopcontrols]
    environment = Strict(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = partial(_now, date)
    return environment


def _to_json(value: object, **how: Any) -> str:  # noqa: ANN401 - as json.dumps
    return json.dumps(value, **{"ensure_ascii": False, **how})


def _raise(message: str) -> NoReturn:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)


def _now(date: datetime.date | None, pattern: str) -> str:
    if date is not None:
        return date.strftime(pattern)
    return datetime.datetime.now().astimezone().strftime(pattern)


def _refused(error: Exception) -> MeasurementError:
    reason = printable(" ".join(str(error).split()))[:_LONGEST_REASON]
    return MeasurementError(
        f"chat template cannot be applied: got {type(error).__name__}: {reason}; expected a"
        " template that renders a chat. Mend it, or ask without it"
    )
