"""A local file in place of a task's dataset: its rows, with a complaint that knows its line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import TYPE_CHECKING, Any

from qgate.errors import ThresholdsError
from qgate.thresholds.json_lines import read_rows
from qgate.untrusted.text import seen
from qgate.untrusted.work_folder import no_room, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Rows = list[dict[str, Any]]
_EXAMPLE = '{"question": "...", "answer": "..."}'
_LARGEST_BYTES = 256 * 1024 * 1024
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+([eE][-+]?[0-9]+)?")


def read_data(path: Path) -> Rows:
    """Every row of a .jsonl, .jsonl.gz, .json, .tsv or .parquet file.

    A .json file holds a list of objects; a .tsv file begins with a line of names, and quotes in it
    mean nothing.

    Raises:
        ThresholdsError: no such file, another kind, or rows that are none, as `file:line: ...`.
    """
    for ending, read in _READERS:
        if path.name.endswith(ending):
            if not path.is_file():
                raise ThresholdsError(f"{path}: no such file; expected the docs of a task")
            rows = read(path)
            if not rows:
                raise ThresholdsError(f"{path}: got no rows; expected the docs of a task")
            return rows
    endings = ", ".join(ending for ending, _ in _READERS)
    raise ThresholdsError(f"{path}: got a file of another kind; expected one of {endings}")


def to_dataset(rows: Sequence[dict[str, Any]], path: Path) -> Any:  # noqa: ANN401 - of datasets
    """The rows as Hugging Face's `datasets` have them; a key that a row lacks is None in it.

    Raises:
        ThresholdsError: values of different kinds under one key.
    """
    import datasets
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        columns[name] = [row.get(name) for row in rows]
        try:
            pa.array(columns[name])
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise ThresholdsError(
                f"{path}: {name}: got values of different kinds ({reason}); expected one kind"
            ) from None
    return datasets.Dataset.from_dict(columns)


def _json_lines(path: Path) -> Rows:
    return [row.values for row in read_rows(path, str(path), _EXAMPLE)]


def _packed_lines(path: Path) -> Rows:
    try:
        with gzip.open(path) as file:
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ThresholdsError(f"{path}: cannot be unpacked: got {error}; expected gzip") from None
    _require_size(path, len(data))
    with temporary_folder("qgate-data-", str(path)) as directory:
        unpacked = directory / "rows.jsonl"
        try:
            unpacked.write_bytes(data)
        except OSError as error:
            raise no_room(str(path), error) from error
        return [row.values for row in read_rows(unpacked, str(path), _EXAMPLE)]


def _json(path: Path) -> Rows:
    _require_size(path, path.stat().st_size)
    try:
        value = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ThresholdsError(
            f"{path}:{error.lineno}: not JSON: got '{error.msg}' at column {error.colno}; expected"
            " a list of objects"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ThresholdsError(f"{path}: not JSON: got {error}; expected UTF-8 text") from None
    if not isinstance(value, list):
        raise ThresholdsError(f"{path}: got {seen(value)}; expected a list of objects")
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise ThresholdsError(f"{path}: row {number}: got {seen(row)}; expected an object")
    return value


def _tab_separated(path: Path) -> Rows:
    _require_size(path, path.stat().st_size)
    try:
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ThresholdsError(f"{path}: not UTF-8: got {error}; expected UTF-8 text") from None
    names = lines[0].removesuffix("\r").split("\t")
    found = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        fields = line.removesuffix("\r").split("\t")
        if len(fields) != len(names):
            raise ThresholdsError(
                f"{path}:{number}: got {len(fields)} fields; expected {len(names)}, as the first"
                " line names them"
            )
        found.append(fields)
    columns = [_typed(column) for column in zip(*found, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _typed(texts: Sequence[str]) -> Sequence[Any]:
    """A column as numbers, where each of its texts is one."""
    for pattern, kind in ((_WHOLE, int), (_DECIMAL, float)):
        if all(map(pattern.fullmatch, texts)):
            return [kind(text) for text in texts]
    return texts


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet

    _require_size(path, path.stat().st_size)
    try:
        rows: Rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ThresholdsError(f"{path}: cannot be read: got {reason}; expected Parquet") from None
    return rows


def _require_size(path: Path, size: int) -> None:
    if size > _LARGEST_BYTES:
        raise ThresholdsError(
            f"{path}: too large: got more than {_LARGEST_BYTES} bytes; expected at most that"
        )


_READERS: tuple[tuple[str, Callable[[Path], Rows]], ...] = (
    (".jsonl", _json_lines),
    (".jsonl.gz", _packed_lines),
    (".json", _json),
    (".tsv", _tab_separated),
    (".parquet", _parquet),
)
