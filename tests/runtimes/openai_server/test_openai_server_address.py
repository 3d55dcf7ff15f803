"""Which server is asked, for which of its models, and what is told of one that cannot be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ArtifactError, MeasurementError, RuntimeUnavailable
from qgate.runtimes.openai_server.options import read_address
from tests.runtimes.openai_server.faulty_server import VOCABULARY, Planted, load, serving

if TYPE_CHECKING:
    from pathlib import Path


def test_of_several_models_one_has_to_be_named(model: Path) -> None:
    with serving(Planted(models=("b", "a"))) as toy:
        with pytest.raises(RuntimeUnavailable) as unnamed:
            load(toy, model)
        with pytest.raises(RuntimeUnavailable) as wrong:
            load(toy, model, model="c")
        runtime, _ = load(toy, model, model="a")
    assert str(unnamed.value) == (
        f"openai_server: {toy.url}: which model? got a, b; expected one."
        " Name it with runtimes.openai_server.model"
    )
    assert str(wrong.value) == (
        f"openai_server: {toy.url}: no such model: got a, b; expected 'c'."
        " Correct runtimes.openai_server.model"
    )
    assert "model a;" in runtime.describe().build


def test_a_server_that_is_not_there_is_named(model: Path) -> None:
    with serving(Planted()) as toy:
        pass
    with pytest.raises(RuntimeUnavailable) as caught:
        load(toy, model)
    assert str(caught.value) == (
        f"openai_server: {toy.url}: cannot be reached: Connection refused."
        " Start the server, or correct runtimes.openai_server.url"
    )


def test_a_model_of_which_nobody_tells_the_vocabulary_is_refused(
    toy: Planted, tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match="got no size of its vocabulary or of its context"):
        load(toy, tmp_path)


def test_the_context_is_the_shorter_of_the_servers_and_the_files(toy: Planted, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    assert load(toy, model)[1].context_length == 64


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, "runtimes.openai_server.url: got nothing; expected an address such as"),
        ("ftp://x/v1", "runtimes.openai_server.url: got 'ftp://x/v1'; expected"),
        ("http://x:port/v1", "runtimes.openai_server.url: got no address; expected"),
        ("http://x/v1\n", r"runtimes.openai_server.url: got 'http://x/v1\n'; expected"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(url: str | None, message: str) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        read_address(url)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown", "root"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", ""),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1", ""),
        ("https://llm.example/team/v1/", "https://llm.example:443/team/v1", "/team"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1", ""),
        ("http://gateway/openai", "http://gateway:80/openai", "/openai"),
    ],
)
def test_an_address_is_taken_apart(url: str, shown: str, root: str) -> None:
    address = read_address(url)
    assert (address.shown, address.root) == (shown, root)


def test_no_proxy_gets_between(toy: Planted, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert load(toy, model)[1].n_vocab == VOCABULARY


def test_a_server_with_another_model_is_refused(tmp_path: Path) -> None:
    from qgate.runtimes.openai_server.discovery import _join
    from qgate.runtimes.openai_server.model_files import ServerFacts

    with pytest.raises(ArtifactError) as caught:
        _join(
            ServerFacts(n_vocab=7, context_tokens=8),
            ServerFacts(n_vocab=9),
            "openai_server: URL",
            "a.gguf",
        )
    assert str(caught.value) == (
        "openai_server: URL: serves another model: got a vocabulary of 7 tokens; expected 9 as in"
        " a.gguf. Start the server with this artifact, or correct runtimes.openai_server"
    )
