"""Two report files of the same models: what differs, and whether a quality row or a verdict does.

    python tests/support/compare_reports.py BEFORE/report.json AFTER/report.json

Prints one line a difference. Exit code 1 where a row is missing, or a verdict, or what decides the
verdict of a quality row (bit for bit); 0 where only words, details or times differ, whose lines
begin with `also`; 2 where a file cannot be read. Of latency and memory only verdicts are compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMED = ("latency.", "memory.")
_NUMBERS = ("value", "low", "high", "level", "n", "unit", "p_value")
_BOUNDS = ("min", "max", "rule", "level", "parameters")
_WORDS = ("method", "message")
_ALSO = "also "


def differences(before: Any, after: Any) -> Iterator[str]:
    """Lines that say what differs; those that decide nothing begin with `also`."""
    if before["verdict"] != after["verdict"]:
        yield f"report: verdict: {before['verdict']} -> {after['verdict']}"
    old, new = _by(before["artifacts"], "id"), _by(after["artifacts"], "id")
    yield from _missing("report", old, new)
    for name in old:
        if name in new:
            yield from _of_artifact(name, old[name], new[name])


def _of_artifact(name: str, before: Any, after: Any) -> Iterator[str]:
    for key in ("verdict", "digest", "scheme", "bits"):
        if before[key] != after[key]:
            yield f"{name}: {key}: {before[key]} -> {after[key]}"
    old, new = _by(before["checks"], "name"), _by(after["checks"], "name")
    yield from _missing(name, old, new)
    if [row for row in old if row in new] != [row for row in new if row in old]:
        yield f"{_ALSO}{name}: the order of rows"
    for check, row in old.items():
        if check in new:
            yield from _of_row(f"{name}: {check}", row, new[check])


def _of_row(where: str, before: Any, after: Any) -> Iterator[str]:
    if before["verdict"] != after["verdict"]:
        yield f"{where}: verdict: {before['verdict']} -> {after['verdict']}"
        yield f"{_ALSO}{where}: {before['message']!r} -> {after['message']!r}"
    old, new = before["limit"] or {}, after["limit"] or {}
    for key in _BOUNDS:
        if old.get(key) != new.get(key):
            yield f"{where}: limit: {key}: {old.get(key)} -> {new.get(key)}"
    if where.partition(": ")[2].startswith(_TIMED):
        return
    for key in _NUMBERS:
        if before[key] != after[key]:
            yield f"{where}: {key}: {before[key]!r} -> {after[key]!r}"
    for key in _WORDS:
        if before[key] != after[key]:
            yield f"{_ALSO}{where}: {key}: {before[key]!r} -> {after[key]!r}"
    more, less = before["details"], after["details"]
    if keys := sorted(key for key in more.keys() | less.keys() if more.get(key) != less.get(key)):
        yield f"{_ALSO}{where}: details: {', '.join(keys)}"


def _missing(where: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    yield from (f"{where}: {name} is gone" for name in before if name not in after)
    yield from (f"{where}: {name} is new" for name in after if name not in before)


def _by(entries: list[Any], key: str) -> dict[str, Any]:
    return {entry[key]: entry for entry in entries}


def main(paths: list[str]) -> int:
    try:
        before, after = (json.loads(Path(path).read_bytes()) for path in paths)
        lines = list(differences(before, after))
    except (OSError, ValueError, KeyError, TypeError) as error:
        names = " and ".join(paths)
        sys.stdout.write(f"cannot compare {names}: got {error!r}; expected two report files\n")
        return 2
    rows = sum(len(artifact["checks"]) for artifact in after["artifacts"])
    count = sum(not line.startswith(_ALSO) for line in lines)
    lines.append(f"{rows} rows, {count} differences that count")
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
