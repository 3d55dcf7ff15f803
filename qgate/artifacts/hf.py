"""Hugging Face directories, recognised by config.json; nothing in them is run or unpickled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.artifacts.escape import listed, printable
from qgate.artifacts.walk import PICKLES, refusal
from qgate.artifacts.window import open_regular
from qgate.errors import ArtifactError
from qgate.records import Artifact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAX_CONFIG_BYTES = 10_000_000
_COVERED = frozenset({".safetensors", ".json", ".model", ".jinja", ".txt", ".tiktoken"})


def hf_artifact(directory: Path, root: Path) -> Artifact:
    """Describe a directory; what is wrong with it becomes its `problem`."""
    entries = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    covered = (path for path in entries if path.suffix.lower() in _COVERED)
    files = tuple(path for path in covered if not path.is_dir())
    config: dict[str, Any] = {}
    problem = _refused_file(files, root)
    if problem is None:
        try:
            config = _read_config(directory / "config.json")
            problem = _problem(directory, config, entries)
        except ArtifactError as error:
            problem = str(error)
    quantization = config.get("quantization_config")
    context_length = config.get("max_position_embeddings")
    return Artifact(
        id=printable(_name(directory)),
        path=directory,
        format="hf",
        scheme=_scheme(config),
        size_bytes=0 if problem else sum(path.stat().st_size for path in files),
        files=files,
        is_quantized=quantization is not None or not config,
        context_length=context_length if type(context_length) is int else None,
        problem=problem,
    )


def _name(directory: Path) -> str:
    """The directory's name; in the Hugging Face cache the repository's instead of a commit."""
    directory = directory.absolute()
    repository = directory.parent.parent.name
    if directory.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rpartition("--")[2]
    return directory.name or directory.resolve().name


def _scheme(config: dict[str, Any]) -> str:
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        named = quantization.get("quant_method")
    else:
        named = config.get("torch_dtype") or config.get("dtype")
    return printable(named)[:60] if isinstance(named, str) and named else "unknown"


def _refused_file(files: Sequence[Path], root: Path) -> str | None:
    for path in files:
        reason = refusal(path, root)
        if reason is not None:
            return f"{printable(str(path))}: {reason}."
    return None


def _problem(directory: Path, config: dict[str, Any], entries: Sequence[Path]) -> str | None:
    where = printable(str(directory))
    if "auto_map" in config:
        remedy = "Refused; pass --qgate-trust-remote-code to allow it."
        return f"{where}: config.json asks for remote code (auto_map). {remedy}"
    suffixes = {path.suffix.lower() for path in entries}
    if ".safetensors" in suffixes:
        return None
    pickles = [path.name for path in entries if path.suffix.lower() in PICKLES]
    if pickles:
        got = f"got {listed(pickles)}; expected *.safetensors"
        return f"{where}: weights only as pickles, which run code when loaded: {got}."
    return f"{where}: config.json without weights: expected *.safetensors beside it."


def _read_config(path: Path) -> dict[str, Any]:
    where = printable(str(path))
    with open_regular(path) as file:
        raw = file.read(_MAX_CONFIG_BYTES + 1)
    if len(raw) > _MAX_CONFIG_BYTES:
        raise ArtifactError(f"{where}: expected <= {_MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(raw, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: not valid JSON: {printable(str(error))}.") from error
    if not isinstance(config, dict):
        raise ArtifactError(f"{where}: got {type(config).__name__}; expected an object.")
    return config


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"duplicate key {name[:60]!r}")
        seen[name] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
