"""The demo model's tokenizer: byte-level BPE with GPT-2's pre-tokenizer, digits never merged.

llama.cpp gives the same ids under ``tokenizer.ggml.pre = gpt-2``.
"""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

from qgate.demo.corpus.mixture import SHARES, documents
from qgate.demo.corpus.recall import KEYS
from qgate.demo.corpus.vocabulary import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
SPECIAL = (BOS, EOS, PAD, TURN_START, TURN_END)
VOCABULARY = 1792
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token + '\\n' }}"
    "{% else %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
KEYWORDS = (
    *(">>>", " max(", " min(", " len(", " sorted([", "True", "False"),
    *(" ['", "']", "')", "])", " Note:", "Note:", "Recall:", "List:", "Again:"),
    *("user", "assistant", " <", " >", " [", "],"),
)


def _texts(seed: int, count: int) -> Iterator[str]:
    """Yield text for learning merges, in which nothing stands together that must stay apart.

    That is digits, the letters of code's random words, and the words of Chinese sentences.
    """
    shares = {kind: SHARES[kind] for kind in ("story", "classify", "languages", "arithmetic")}
    stream = documents(seed, "train", lambda text: len(text) // 4, shares)
    digits = str.maketrans(string.digits, "\n" * 10)
    for _ in range(count):
        text = next(stream).text.translate(digits)
        if not any("\u4e00" <= letter <= "\u9fff" for letter in text):
            yield text
    words = [*KEYWORDS, *(f" {key}" for key in KEYS), *_chinese()]
    yield from (f"{word}\n" for word in words for _ in range(200))


def _chinese() -> list[str]:
    language = LANGUAGES["zh"]
    words = [pair[0] for pair in (*language.names, *language.colors)]
    words += [*language.places, "有", "是", "。", "在哪里", "有什么", "是什么颜色的", "？"]  # noqa: RUF001 - a Chinese mark
    return words + [text for thing in language.things for text in (thing.some, thing.the)]


def train(seed: int = 0, count: int = 30_000) -> Any:  # noqa: ANN401 - tokenizers has no types
    """Return a tokenizer whose merges are learned from the corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, count), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS}:1 $B:1",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def load(directory: Path) -> Any:  # noqa: ANN401
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def save(tokenizer: Any, directory: Path, context: int) -> None:  # noqa: ANN401
    """Write everything that ``AutoTokenizer`` reads."""
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "additional_special_tokens": [TURN_START, TURN_END],
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    text = json.dumps(settings, indent=2) + "\n"
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
