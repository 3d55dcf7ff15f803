"""What a chat template may do: render a chat, or raise one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError
from qgate.sandbox.chat import Chat

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = [{"role": "user", "content": "hello"}]
HOSTILE = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "one class": "{{ ''.__class__ }}",
    "globals of a filter": "{{ raise_exception.__globals__ }}",
    "globals of a function": "{{ strftime_now.__globals__['datetime'] }}",
    "code of a macro": "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "format of attributes": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "a changed list": "{% set _ = messages.append(1) %}",
    "an import": "{% import 'os' as os %}{{ os.getcwd() }}",
    "an include": "{% include '/etc/passwd' %}",
    "a long loop": "{% for i in range(999999999) %}x{% endfor %}",
    "no syntax": "{% for %}",
    "its own refusal": "{{ raise_exception('no') }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_does_nothing_but_raise_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(MeasurementError) as caught:
        Chat(template=HOSTILE[name]).render(MESSAGES, adds_prompt=True)

    line = str(caught.value)
    assert line.startswith("chat template cannot be applied: got ")
    assert "\n" not in line
    assert "<class" not in line
    assert list(tmp_path.iterdir()) == []
    assert MESSAGES == [{"role": "user", "content": "hello"}]


def test_a_template_that_knows_no_system_gets_the_chat_without_it() -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    messages = [{"role": "system", "content": "be short"}, *MESSAGES]

    assert Chat(template=template).render(messages, adds_prompt=True) == "hello"


def test_what_transformers_marks_as_generated_is_text_like_any_other() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}|{% endfor %}"
    )
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert Chat(template=template).render(said, adds_prompt=True) == "hi|ho|"


def test_a_last_message_is_gone_on_with_where_it_ends() -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}"
    messages = [*MESSAGES, {"role": "assistant", "content": "It is "}]

    found = Chat(template=template).render(messages, adds_prompt=False)

    assert found == "<user>hello</><assistant>It is"


def test_a_template_may_name_its_tokens_and_write_json() -> None:
    chat = Chat(
        template="{{ bos_token }}{{ messages[0] | tojson }}{{ eos_token }}", bos_token="<s>"
    )

    assert chat.render([{"role": "user", "content": "größer <"}], adds_prompt=True) == (
        '<s>{"role": "user", "content": "größer <"}'
    )
