"""The tokenizer of a Hugging Face directory, in the same three parts as a GGUF file's.

tokenizer.json by value (`qgate.artifacts.tokenizer.hf_json`); without one, the bytes of what is
there instead. Special tokens by id, which tokens a text gets by the post-processor (what
transformers 5 goes by; it does not look at `add_bos_token` where there is a tokenizer.json), which
tokens end an answer by generation_config.json. The chat template that transformers would take:
chat_template.jinja, else that of tokenizer_config.json, else chat_template.json.

A padding or unknown token that only one side names is no difference: padding is masked, and tools
that quantize name one where there was none.
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.tokenizer.hf_json import TokenizerJson, decoding, read_tokenizer_json
from qgate.artifacts.tokenizer.terms import terms_of_tokenizer, text_digest
from qgate.untrusted.json import read_bytes, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qgate.artifacts.tokenizer.terms import Terms

JSON = "tokenizer.json"
_OTHER_FILES = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "added_tokens.json")
_NAMED = ("bos", "eos", "pad", "unk")
_MOST_BYTES = 100_000_000


class HfTokenizer:
    """What the files of one directory say of text and tokens."""

    def __init__(self, directory: Path, files: Sequence[Path]) -> None:
        names = {path.name: path for path in files}
        self._names = names
        self._config = self._object("tokenizer_config.json")
        self._model_config = self._object("config.json")
        self._generation = self._object("generation_config.json")
        self.directory = directory
        self.json: TokenizerJson | None = None
        if JSON in names:
            self.json = read_tokenizer_json(names[JSON], self._config)
        self._by_text = (
            {text: number for number, text in self.json.tokens.items()} if self.json else {}
        )

    def _object(self, name: str) -> dict[str, Any]:
        return read_object(self._names[name]) if name in self._names else {}

    @property
    def source(self) -> str:
        """The file that it is in: only the same kind can be compared value by value."""
        if self.json is not None:
            return JSON
        return "+".join(name for name in _OTHER_FILES if name in self._names)

    # --- the three parts ----------------------------------------------------------------------

    def tokenizer(self) -> dict[str, str]:
        found = self.json
        if found is None:
            return {
                name: f"{_digest(read_bytes(self._names[name], _MOST_BYTES))}, 1 file"
                for name in _OTHER_FILES
                if name in self._names
            }
        matched = [[number, flags] for number, flags in found.added.items()]
        facts = {
            "tokens": _listed(list(found.tokens.items()), "tokens"),
            "merges": _listed(found.merges, "merges"),
            "scores": _listed(found.scores, "scores"),
            "model": _value(dict(found.model)),
            "added_tokens": _listed(matched, "tokens"),
            "normalizer": _value(found.normalizer),
            "pre_tokenizer": _value(found.pre_tokenizer),
            "starts_with_space": str(found.starts_with_space),
            "decoder": _value(json.loads(decoding(found))),
        }
        return {key: fact for key, fact in facts.items() if fact}

    def special_tokens(self) -> dict[str, str]:
        named = {name: self.token(name) for name in _NAMED}
        facts = {f"{name}_token": self._shown(text) for name, text in named.items() if text}
        facts["end_token_ids"] = str(sorted(self.end_ids()))
        if self.json is None:
            for rule in ("add_bos_token", "add_eos_token"):
                if isinstance(self._config.get(rule), bool):
                    facts[rule] = str(self._config[rule])
            facts["special_tokens"] = _value(sorted(self._extra()))
            return facts
        extra = {self._by_text[text] for text in self._extra() if text in self._by_text}
        framing = {number for name, number in self._ids().items() if name in ("bos", "eos")}
        special = sorted({*self.json.special, *extra, *framing})
        facts["special_tokens"] = _value(special)
        facts["put_before_text"] = _value([self._by_text.get(text) for text in self.json.before])
        facts["put_after_text"] = _value([self._by_text.get(text) for text in self.json.after])
        return facts

    def chat_template(self) -> dict[str, str]:
        return {
            "chat_template" if name == "default" else f"chat_template.{name}": (
                f"{text_digest(text)}, {len(text)} characters"
            )
            for name, text in sorted(self._templates().items())
        }

    def terms(self) -> Terms | None:
        """What a GGUF file could say too; None without a tokenizer.json."""
        if self.json is None:
            return None
        vocab_size = self._model_config.get("vocab_size")
        model = self._names.get("tokenizer.model")
        return terms_of_tokenizer(
            self.json,
            n_rows=vocab_size if type(vocab_size) is int else None,
            sentencepiece=read_bytes(model, _MOST_BYTES) if model else None,
            special={name: one for name, one in self._ids().items() if name != "unk"},
            ends=self.end_ids(),
            templates={name: text_digest(text) for name, text in self._templates().items()},
        )

    # --- special tokens -----------------------------------------------------------------------

    def token(self, name: str) -> str:
        """The text of the token with a role, e.g. `bos`; empty where there is none."""
        for place in (self._config, self._object("special_tokens_map.json")):
            said = place.get(f"{name}_token")
            text = said.get("content") if isinstance(said, dict) else said
            if isinstance(text, str) and text:
                return text
        return ""

    def _ids(self) -> dict[str, int]:
        """Ids of the tokens that have a role, where they have one."""
        texts = {name: self.token(name) for name in _NAMED}
        found = {n: self._by_text[text] for n, text in texts.items() if text in self._by_text}
        for name in ("bos", "eos"):
            number = self._model_config.get(f"{name}_token_id")
            if name not in found and not texts[name] and type(number) is int:
                found[name] = number
        return found

    def _shown(self, text: str) -> str:
        return str(self._by_text[text]) if text in self._by_text else _value(text)

    def _extra(self) -> set[str]:
        texts = set()
        for place in (self._config, self._object("special_tokens_map.json")):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                said = place.get(key)
                listed = list(said.values()) if isinstance(said, dict) else said
                for one in listed if isinstance(listed, list) else ():
                    text = one.get("content") if isinstance(one, dict) else one
                    if isinstance(text, str):
                        texts.add(text)
        return texts

    def end_ids(self) -> frozenset[int]:
        """What ends an answer: generation_config.json's, else the model's."""
        for place in (self._generation, self._model_config):
            said = place.get("eos_token_id")
            ids = said if isinstance(said, list) else [said]
            found = frozenset(one for one in ids if type(one) is int)
            if found:
                return found
        eos = self._ids().get("eos")
        return frozenset() if eos is None else frozenset({eos})

    # --- chat templates -----------------------------------------------------------------------

    def default_template(self) -> str | None:
        """The text of the chat template; None without one."""
        return self._templates().get("default")

    def _templates(self) -> Mapping[str, str]:
        if "chat_template.jinja" in self._names:
            raw = read_bytes(self._names["chat_template.jinja"])
            return {"default": _lines(raw.decode("utf-8", "backslashreplace"))}
        for place in (self._config, self._object("chat_template.json")):
            said = place.get("chat_template")
            if isinstance(said, str):
                return {"default": _lines(said)}
            if isinstance(said, list):
                return {
                    str(one.get("name")): _lines(str(one.get("template")))
                    for one in said
                    if isinstance(one, dict)
                }
        return MappingProxyType({})


def _lines(text: str) -> str:
    """A template is read as text: its line ends are all one."""
    return text.replace("\r\n", "\n")


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _listed(values: Sequence[Any], what: str) -> str:
    if not values:
        return ""
    return f"{_digest(json.dumps(values).encode())}, {len(values)} {what}"


def _value(value: Any) -> str:  # noqa: ANN401 - JSON
    """As JSON where that is short, else its digest."""
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 60 else f"{_digest(text.encode())}, {len(text)} characters"
