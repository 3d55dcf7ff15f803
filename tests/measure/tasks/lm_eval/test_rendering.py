"""A stranger's template is rendered in a process apart, which reads nothing of one's directory."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.sandbox import chat_rendering as rendering
from qgate.sandbox.chat import Chat
from qgate.sandbox.chat_rendering import TemplateRefused, render_chats

SAYS = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"
HELLO = [[{"role": "user", "content": "hello"}]]


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    """Of templates of the tests before."""
    rendering._endless.cache_clear()


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


def test_where_its_process_has_no_directory_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(MeasurementError, match=r"^chat template: got no room in .* with TMPDIR$"):
        render_chats(Chat(template=SAYS), HELLO)


def test_a_template_that_reaches_out_is_refused_in_its_own_name() -> None:
    with pytest.raises(TemplateRefused, match="cannot be applied: got SecurityError"):
        render_chats(Chat(template="{{ ''.__class__.__mro__ }}"), HELLO)


LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3


@pytest.mark.parametrize(
    ("template", "got"),
    [
        (LOOPS, "no text within 3 s"),
        ("{{ 10 ** (10 ** 10) }}", "no text within 3 s"),
        ("{{ 'a' * 3000000000 }}", "more than 2 GiB of memory in use"),
        ("{% for a in range(9999) %}{{ 'a' * 9999999 }}{% endfor %}", "more than 2 GiB of memory"),
        ("{{ 'x' * 50000000 }}", "more than 32 MiB of text"),
    ],
    ids=["loops", "one number", "one text", "gigabytes", "a long text"],
)
def test_what_takes_too_much_is_ended_and_is_no_template_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, template: str, got: str
) -> None:
    # what ends by itself has time on a busy machine, too
    monkeypatch.setattr(rendering, "_LONGEST_S", 3.0 if "3 s" in got else 30.0)
    monkeypatch.setattr(rendering, "_A_CHAT_S", 0.0)

    with pytest.raises(MeasurementError) as caught:
        render_chats(Chat(template=template), HELLO)

    assert not isinstance(caught.value, TemplateRefused)
    assert str(caught.value).startswith(f"chat template cannot be applied: got {got}")
    assert "\n" not in str(caught.value)


PRINTS = "import os\nwhile True: os.write(1, b'[' * 65536)"


@pytest.mark.parametrize(
    ("code", "got"),
    [
        ("import os; os.kill(os.getpid(), 11)", "no text: its process ended (code -11)"),
        ("import os, time; os.close(1); time.sleep(60)", "no text: its process ended (code -9)"),
        (PRINTS, "more than 32 MiB of text"),
        ("print('[' * 9999)", "something else than texts"),
        ("print('[1]')", "something else than texts"),
        ("print('[]')", "something else than texts"),
        ("import time; time.sleep(60)", "no text within 3 s"),
    ],
    ids=["killed", "closed", "prints forever", "nested", "numbers", "too few", "silent"],
)
def test_a_child_that_was_taken_over_is_heard_no_longer_than_an_honest_one(
    monkeypatch: pytest.MonkeyPatch, code: str, got: str
) -> None:
    """Planted: what the child runs in place of rendering. More is asked than a pipe holds."""
    monkeypatch.setattr(rendering, "_BOOTSTRAP", code)
    # what ends by itself has time on a busy machine, too
    monkeypatch.setattr(rendering, "_LONGEST_S", 3.0 if "3 s" in got else 30.0)
    monkeypatch.setattr(rendering, "_A_CHAT_S", 0.0)
    long = [[{"role": "user", "content": "x" * 1_000_000}]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(MeasurementError) as caught:
        render_chats(Chat(template=SAYS), long)

    assert str(caught.value).startswith(f"chat template cannot be applied: got {got};")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


LIMITED = """
import resource, sys
sys.path.append(sys.argv.pop(1))
HARD = {HARD}
def setrlimit(kind, limits):
    if not 0 <= limits[0] <= limits[1] <= HARD.get(kind, limits[1]) and kind in HARD:
        raise ValueError("not allowed to raise maximum limit")
resource.setrlimit, resource.getrlimit = setrlimit, lambda kind: (HARD.get(kind, -1),) * 2
from qgate.sandbox.chat_rendering import main
sys.platform = {PLATFORM}
main()
"""


@pytest.mark.parametrize(
    ("hard", "platform"),
    [
        ("{resource.RLIMIT_CPU: 3600, resource.RLIMIT_AS: 1 << 30}", "linux"),
        ("{resource.RLIMIT_AS: -1}", "darwin"),
    ],
    ids=["a shell's ulimit", "none of the address space"],
)
def test_where_limits_are_set_already_a_sound_template_is_rendered(
    monkeypatch: pytest.MonkeyPatch, hard: str, platform: str
) -> None:
    """Planted: limits as those have them who may not raise them."""
    code = LIMITED.replace("{HARD}", hard).replace("{PLATFORM}", repr(platform))
    monkeypatch.setattr(rendering, "_BOOTSTRAP", code)

    assert render_chats(Chat(template=SAYS), HELLO) == ["<hello>"]


def test_a_process_that_cannot_even_begin_is_not_the_templates_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "_BOOTSTRAP", "import sys; sys.exit('no room for jinja2')")

    with pytest.raises(MeasurementError) as caught:
        render_chats(Chat(template=SAYS), HELLO)

    assert str(caught.value) == (
        "chats cannot be rendered: their process ended (code 1); last words: 'no room for jinja2';"
        " expected it to wait for them. Whatever the template, this machine does not let it"
    )


def test_all_chats_of_a_task_are_rendered_by_one_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[str] = []
    start = rendering._start
    monkeypatch.setattr(rendering, "_start", lambda place: started.append(place) or start(place))
    path = tmp_path / "rows.jsonl"
    rows = ({"question": f"{n} + 1?", "answer": f"so #### {n + 1}"} for n in range(9))
    path.write_text("\n".join(map(json.dumps, rows)))

    loaded = load_task(HarnessSettings(name="gsm8k", data=path, chat=Chat(template=SAYS)))

    assert len(loaded.items) == 9
    assert all(item.prompt.startswith("<") for item in loaded.items)
    assert len(started) == 1
    assert not Path(started[0]).exists()


def test_a_task_whose_chats_never_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rendering, "_LONGEST_S", 3.0)
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "1 + 1?", "answer": "so #### 2"}))

    with pytest.raises(MeasurementError, match="cannot be applied: got no text within 3 s"):
        load_task(
            HarnessSettings(name="gsm8k", data=path, num_fewshot=0, chat=Chat(template=LOOPS))
        )


def test_a_template_that_did_not_end_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_LONGEST_S", 1.0)
    chat = Chat(template=f"twice{LOOPS}")
    late = "no text within 1 s"
    with pytest.raises(MeasurementError, match=late):
        render_chats(chat, HELLO)

    monkeypatch.setattr(rendering, "_start", None)  # no process is started for it again
    with pytest.raises(MeasurementError, match=late):
        render_chats(chat, HELLO)
