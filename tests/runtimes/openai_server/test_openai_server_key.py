"""The key of a server comes from a file, reaches the child, and is never repeated."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import RuntimeUnavailable
from qgate.runtimes import SHIPPED, find_spec
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.launch import environment_for
from qgate.runtimes.openai_server.options import KEY_FILE_VARIABLE, read_address
from qgate.runtimes.openai_server.spec import SPEC
from qgate.runtimes.verbs import DESCRIBE
from tests.runtimes.openai_server.faulty_server import KEY, Planted, load, serving
from tests.support.children import load as load_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(path))
    return path


@pytest.mark.usefixtures("key_file")
def test_the_key_comes_from_a_file_and_reaches_the_child(model: Path) -> None:
    settings = HostSettings(runtime="openai_server", variables=SPEC.variables)
    with serving(Planted(key=KEY)) as toy, Host(settings) as host:
        load_in(host, model, options={"url": toy.url})
        assert DESCRIBE.ask(host, None).version == "vllm 9.8.7"


@pytest.mark.usefixtures("key_file")
def test_no_other_runtimes_child_is_told_where_the_key_is() -> None:
    assert KEY_FILE_VARIABLE in environment_for(sys.executable, SPEC.variables)
    for name in set(SHIPPED) - {SPEC.name}:
        assert KEY_FILE_VARIABLE not in environment_for(sys.executable, find_spec(name).variables)


def test_a_wrong_key_is_not_repeated(model: Path, key_file: Path) -> None:
    key_file.write_text("sk-wrong")
    with serving(Planted(key=KEY)) as toy, pytest.raises(RuntimeUnavailable) as caught:
        load(toy, model)
    assert str(caught.value) == (
        f"openai_server: {toy.url}/models: got 401 'Incorrect API key provided: ***.'. Write its"
        " API key to a file and that file's path into the environment variable"
        " QGATE_OPENAI_KEYFILE"
    )


@pytest.mark.parametrize("contents", ["", "two words", "line\nline", "ключ", "x" * 5000])
def test_a_file_that_holds_no_key_is_refused_unseen(
    toy: Planted, model: Path, key_file: Path, contents: str
) -> None:
    key_file.write_text(contents)
    with pytest.raises(RuntimeUnavailable) as caught:
        load(toy, model)
    expected = f"{KEY_FILE_VARIABLE}: {key_file}: got no key; expected one line without spaces"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "url",
    [f"http://me:{KEY}@127.0.0.1:9/v1", f"http://h/v1?key={KEY}", f"http://h/v1#{KEY}"],
)
def test_an_address_with_a_secret_in_it_is_refused_unseen(url: str) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        read_address(url)
    assert KEY not in str(caught.value)
    assert "A key belongs into the file that QGATE_OPENAI_KEYFILE names" in str(caught.value)
