"""Hugging Face directories, recognised by config.json; nothing in them is run or unpickled here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.bits import of_hf
from qgate.artifacts.hf.quantization import find_quantization, in_words, method_of
from qgate.artifacts.walk import PICKLES, refusal
from qgate.errors import ArtifactError
from qgate.records import Artifact
from qgate.untrusted.json import read_object
from qgate.untrusted.text import listed, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COVERED = frozenset({".safetensors", ".json", ".model", ".jinja", ".txt", ".tiktoken"})
FILE = "qgate.yaml"
"""What asks for weights to be quantized while they are loaded: `quantize_at_load`."""
_CODE, _AUTO_MAP = ".py", "auto_map"
_ELSEWHERE = ("transformers_weights", "speculators_config")
"""Keys of config.json by which a library loads other weights than the directory's own set."""
_ADAPTER = "adapter_config.json"
"""transformers loads the model that it names, and puts the adapter on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the directory's small files say."""

    config: Mapping[str, Any]
    quantization: Mapping[str, Any] | None = None
    """Of the weights as they are stored."""
    quantize: Mapping[str, Any] | None = None
    """What is to be done to them while they are loaded."""


def hf_artifact(directory: Path, root: Path, *, trusts_code: bool = False) -> Artifact:
    """Describe a directory; what is wrong with it becomes its `problem`.

    Args:
        directory: the model's.
        root: what was asked for, which no link may leave.
        trusts_code: whether the code that its config.json asks for is allowed.
    """
    entries = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    files = tuple(path for path in entries if _is_covered(path, trusts_code=trusts_code))
    said = _Said(config={})
    problem = _refused_file(files, root)
    if problem is None:
        try:
            said = _Said(config=read_object(directory / "config.json"))
            said = _read_rest(said.config, files)
            problem = _problem(directory, said, entries, trusts_code=trusts_code)
        except ArtifactError as error:
            problem = str(error)
    return Artifact(
        id=printable(_name(directory)),
        path=directory,
        format="hf",
        scheme=_scheme(said),
        size_bytes=0 if problem else sum(path.stat().st_size for path in files),
        files=files,
        is_quantized=_is_quantized(said),
        context_length=_context_length(said.config),
        problem=problem,
        quantize=said.quantize,
        quantization=_in_words(said),
        bits=None if problem else of_hf(directory, said.config, said.quantization, said.quantize),
        runs_code=trusts_code and _AUTO_MAP in said.config,
    )


def _is_covered(path: Path, *, trusts_code: bool) -> bool:
    suffix = path.suffix.lower()
    is_read = suffix in _COVERED or path.name == FILE or (trusts_code and suffix == _CODE)
    return is_read and not path.is_dir()


def _read_rest(config: Mapping[str, Any], files: Sequence[Path]) -> _Said:
    quantize = next((_read_quantize(path) for path in files if path.name == FILE), None)
    return _Said(
        config=config,
        quantization=find_quantization(config, files),
        quantize=quantize,
    )


def _read_quantize(path: Path) -> dict[str, Any]:
    from qgate.artifacts.hf.quantize_at_load import read_quantize  # yaml, pydantic: where needed

    return read_quantize(path)


def _is_quantized(said: _Said) -> bool:
    """What could not be read counts as quantized lest it be taken for a reference."""
    return said.quantization is not None or said.quantize is not None or not said.config


def _in_words(said: _Said) -> str:
    if said.quantize is not None:
        words = in_words({**said.quantize, "quant_method": said.quantize["method"]})
        return f"{words}, while loading"
    return in_words(said.quantization) if said.quantization is not None else ""


def _context_length(config: Mapping[str, Any]) -> int | None:
    for place in (config, config.get("text_config")):
        length = place.get("max_position_embeddings") if isinstance(place, dict) else None
        if type(length) is int and length > 0:
            return length
    return None


def _name(directory: Path) -> str:
    """The directory's name; in the Hugging Face cache the repository's instead of a commit."""
    directory = directory.absolute()
    repository = directory.parent.parent.name
    if directory.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rpartition("--")[2]
    return directory.name or directory.resolve().name


def _scheme(said: _Said) -> str:
    """The method's name verbatim, else the type that the weights are said to be of.

    transformers 5 writes `dtype` where earlier ones wrote `torch_dtype`.
    """
    if said.quantize is not None:
        return str(said.quantize["method"])
    if said.quantization is not None:
        return method_of(said.quantization)
    return stated_dtype(said.config) or "unknown"


def stated_dtype(config: Mapping[str, Any]) -> str | None:
    """The type of unquantized weights by the configuration's own word, e.g. `bfloat16`."""
    for place in (config, config.get("text_config")):
        for key in ("torch_dtype", "dtype"):
            named = place.get(key) if isinstance(place, dict) else None
            if isinstance(named, str) and named:
                return printable(named)[:60].removeprefix("torch.")
    return None


def _refused_file(files: Sequence[Path], root: Path) -> str | None:
    for path in files:
        reason = refusal(path, root)
        if reason is not None:
            return f"{printable(str(path))}: {reason}."
    return None


def _problem(
    directory: Path, said: _Said, entries: Sequence[Path], *, trusts_code: bool
) -> str | None:
    where = printable(str(directory))
    if _AUTO_MAP in said.config and not trusts_code:
        remedy = "Refused; pass --qgate-trust-remote-code to allow it."
        return f"{where}: config.json asks for remote code (auto_map). {remedy}"
    if led := _led_elsewhere(said.config, entries):
        return f"{where}: {led}"
    if said.quantize is not None and said.quantization is not None:
        got = f"got weights quantized already ({method_of(said.quantization)})"
        return f"{where}: {FILE}: {got}; expected unquantized ones. Remove one of the two."
    suffixes = {path.suffix.lower() for path in entries}
    if ".safetensors" in suffixes:
        return None
    pickles = [path.name for path in entries if path.suffix.lower() in PICKLES]
    if pickles:
        got = f"got {listed(pickles)}; expected *.safetensors"
        return f"{where}: weights only as pickles, which run code when loaded: {got}."
    return f"{where}: config.json without weights: expected *.safetensors beside it."


def _led_elsewhere(config: Mapping[str, Any], entries: Sequence[Path]) -> str | None:
    """What would have a library load weights that nobody here has looked at."""
    for key in _ELSEWHERE:
        if config.get(key) is not None:
            return f"config.json names other weights ({key}). Refused; remove the key."
    if any(path.name == _ADAPTER for path in entries):
        return f"got an adapter ({_ADAPTER}); expected whole weights. Merge it into them."
    return None
