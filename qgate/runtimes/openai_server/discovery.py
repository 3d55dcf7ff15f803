"""Which server answers, which of its models is meant, and what is known of that one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import ArtifactError, MeasurementError, RuntimeUnavailable
from qgate.runtimes.openai_server.dialect import Dialect
from qgate.runtimes.openai_server.llama_server import LlamaCppPython, LlamaServer
from qgate.runtimes.openai_server.model_files import ServerFacts, known_from
from qgate.runtimes.openai_server.response import JsonFields
from qgate.runtimes.openai_server.tokens import LocalTokenizer, Text, Tokenizer
from qgate.runtimes.openai_server.vllm_serve import Vllm
from qgate.untrusted.text import listed as names_of
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.runtimes.openai_server.http import Server

_LONGEST_VERSION = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model of one server."""

    dialect: Dialect
    text: Text
    known: ServerFacts

    @property
    def n_vocab(self) -> int:
        assert self.known.n_vocab is not None
        return self.known.n_vocab

    @property
    def build(self) -> str:
        """For the report: how much of it is exact."""
        dialect = self.dialect
        return "; ".join(
            (
                f"model {printable(dialect.model)}",
                "prompts as token ids" if dialect.speaks_ids else "prompts as text, checked",
                "answers as token ids" if dialect.speaks_ids else "answers tokenized from text",
            )
        )


def find_model(server: Server, model: str | None, path: Path) -> Served:
    """Ask the server what it is.

    Args:
        server: who is asked.
        model: the name of the model that is meant; None: the only one.
        path: the model's files on this disk.

    Raises:
        RuntimeUnavailable: it has no such model.
        ArtifactError: its model is not the one on this disk.
        MeasurementError: neither it nor the files tell what has to be known.
    """
    api, shown = server.address.api, server.address.shown
    entry = _pick(JsonFields(server.get(f"{api}/models"), f"openai_server: {shown}"), model, shown)
    dialect = _recognise(server, entry)
    known = _join(dialect.known(entry), known_from(path), f"openai_server: {shown}", path.name)
    local = dialect if isinstance(dialect, Tokenizer) else LocalTokenizer(path, shown)
    return Served(dialect=dialect, text=Text(local), known=known)


def _pick(models: JsonFields, wanted: str | None, shown: str) -> JsonFields:
    entries = {entry.text("id"): entry for entry in models.objects("data")}
    there = f"got {names_of(sorted(entries), 10) or 'none'}"
    if wanted is None and len(entries) != 1:
        raise RuntimeUnavailable(
            f"openai_server: {shown}: which model? {there}; expected one."
            " Name it with runtimes.openai_server.model"
        )
    name = next(iter(entries)) if wanted is None else wanted
    if name not in entries:
        raise RuntimeUnavailable(
            f"openai_server: {shown}: no such model: {there}; expected {quoted(name)}."
            " Correct runtimes.openai_server.model"
        )
    return entries[name]


def _recognise(server: Server, entry: JsonFields) -> Dialect:
    root, name = server.address.root, entry.text("id")
    owner = entry.text("owned_by") if entry.has("owned_by") else ""
    if owner == Vllm.name:
        return Vllm(server, name, _version(server.find(f"{root}/version"), "version"))
    props = server.find(f"{root}/props")
    if isinstance(props, dict) and "default_generation_settings" in props:
        return LlamaServer(server, name, _version(props, "build_info"))
    count = server.find(f"{root}/extras/tokenize/count", {"model": name, "input": "a"})
    if isinstance(count, dict) and "count" in count:
        return LlamaCppPython(server, name)
    return Dialect(server, name)


def _version(told: object, name: str) -> str:
    version = told.get(name) if isinstance(told, dict) else None
    return printable(version)[:_LONGEST_VERSION] if isinstance(version, str) else ""


def _join(told: ServerFacts, on_disk: ServerFacts, where: str, name: str) -> ServerFacts:
    """The server's word first; of the two contexts the shorter one."""
    if None not in (told.n_vocab, on_disk.n_vocab) and told.n_vocab != on_disk.n_vocab:
        raise ArtifactError(
            f"{where}: serves another model: got a vocabulary of {told.n_vocab} tokens;"
            f" expected {on_disk.n_vocab} as in {printable(name)}."
            " Start the server with this artifact, or correct runtimes.openai_server"
        )
    contexts = [one.context_tokens for one in (told, on_disk) if one.context_tokens]
    n_vocab = told.n_vocab if told.n_vocab is not None else on_disk.n_vocab
    if n_vocab is None or not contexts:
        raise MeasurementError(
            f"{where}: what is the model? got no size of its vocabulary or of its context; expected"
            f" them from the server, or from the files of {printable(name)}"
        )
    return ServerFacts(
        n_vocab=n_vocab,
        context_tokens=min(contexts),
        bos=told.bos if told.bos is not None else on_disk.bos,
        end_tokens=on_disk.end_tokens or told.end_tokens,
        width=told.width or on_disk.width,
        n_params=told.n_params,
    )
