"""A stranger's template is rendered in a process apart, which reads nothing of one's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError
from qgate.sandbox import chat_rendering as rendering
from qgate.sandbox.chat import Chat
from qgate.sandbox.chat_rendering import TemplateRefused, render_chats

if TYPE_CHECKING:
    from pathlib import Path

SAYS = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"
HELLO = [[{"role": "user", "content": "hello"}]]


@pytest.mark.parametrize("name", ["jinja2.py", "json.py", "resource.py", "qgate.py"])
def test_a_module_that_lies_where_one_works_is_not_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    (tmp_path / name).write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)

    assert render_chats(Chat(template=SAYS), HELLO) == ["<hello>"]
    assert not ran.exists()


def test_a_date_is_the_same_on_any_day() -> None:
    chat = Chat(template="{{ strftime_now('%d %b %Y') }}")

    assert render_chats(chat, HELLO) == ["01 Jan 2025"]


def test_a_template_that_reaches_out_is_refused_in_its_own_name() -> None:
    with pytest.raises(TemplateRefused, match="cannot be applied: got SecurityError"):
        render_chats(Chat(template="{{ ''.__class__.__mro__ }}"), HELLO)


def test_one_that_never_ends_is_no_template_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_LONGEST_S", 1.0)
    forever = "{% for a in range(99999) %}" * 2 + "{% endfor %}" * 2

    with pytest.raises(MeasurementError, match="within 1 s") as caught:
        render_chats(Chat(template=forever), HELLO)
    assert not isinstance(caught.value, TemplateRefused)


def test_a_text_without_measure_does_not_come_back() -> None:
    with pytest.raises(MeasurementError, match="cannot be applied"):
        render_chats(Chat(template="{{ 'x' * 500000000 }}"), HELLO)
