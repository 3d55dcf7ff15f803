"""What every adapter promises of texts and their tokens; as `test_contract.py`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.runtimes.conftest import find_hf, open_model

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served

TEXTS = ["a", " wet", "wet", "\n", "  two", "Tschüß, 世界! 🙂\t\tone\n\ntwo ", "Привет\r\n"]


class TestTexts:
    @pytest.mark.parametrize("text", TEXTS)
    def test_what_follows_a_text_is_decoded_to_itself(self, speaking: Served, text: str) -> None:
        ids = speaking.runtime.encode(text, begins=False)

        assert ids.dtype == np.int32
        assert speaking.runtime.decode(ids) == text

    @pytest.mark.parametrize("text", TEXTS)
    def test_what_begins_a_text_begins_as_the_tokenizer_says(
        self, speaking: Served, text: str
    ) -> None:
        ids = speaking.runtime.encode(text, begins=True)

        assert speaking.facts.adds_bos
        assert ids[0] == speaking.facts.bos
        assert speaking.facts.bos not in ids[1:]
        # SentencePiece puts a space before it
        assert speaking.runtime.decode(ids[1:]) in (text, f" {text}")

    @pytest.mark.parametrize("end", [" wet", "\n", " 42\n", "\nRecall: the fox has", "。", " \n"])
    @pytest.mark.parametrize("begin", ["Water is", "Note: the fox has 42.\n", "世界"])
    def test_two_texts_are_the_ids_of_both(self, speaking: Served, begin: str, end: str) -> None:
        encode = speaking.runtime.encode

        apart = np.concatenate([encode(begin, begins=True), encode(end, begins=False)])

        assert speaking.runtime.decode(apart) == speaking.runtime.decode(
            encode(begin + end, begins=True)
        )

    def test_nothing_is_no_tokens_but_the_first(self, speaking: Served) -> None:
        assert speaking.runtime.encode("", begins=False).tolist() == []
        assert speaking.runtime.encode("", begins=True).tolist() == [speaking.facts.bos]
        assert speaking.runtime.decode(np.zeros(0, dtype=np.int32)) == ""

    def test_bytes_that_are_no_text_are_replaced(self, speaking: Served) -> None:
        ids = speaking.runtime.encode("世", begins=False)

        assert "\ufffd" in speaking.runtime.decode(ids[:-1])


MARKERS = {
    "stories260K": ("<s>", "</s>"),
    "demo": ("<|im_start|>", "<|im_end|>"),
    "stories260K-hf": ("<s>", "</s>"),
    "demo-hf": ("<|im_start|>", "<|im_end|>"),
}


@pytest.mark.parametrize("name", MARKERS)
def test_special_tokens_in_a_prompt_are_themselves_and_leave_no_text(
    request: pytest.FixtureRequest, name: str
) -> None:
    begin, end = MARKERS[name]
    adapter = "llama_cpp"
    if name.endswith("-hf"):
        adapter, path = "transformers", find_hf(name, request)
    elif name == "demo":
        path = request.getfixturevalue("demo")
    else:
        path = request.getfixturevalue("stories") / "stories260K-f16.gguf"
    with closing(open_model(adapter, path).runtime) as runtime:
        for begins in (True, False):
            ids = runtime.encode(f"{begin}cat{end}", begins=begins)[1 if begins else 0 :]
            [opened], [closed] = (runtime.encode(one, begins=False) for one in (begin, end))
            assert (ids[0], ids[-1]) == (opened, closed)
            assert runtime.decode(ids).strip() == "cat"
            assert len(runtime.tokenize(begin)[0]) > 2
