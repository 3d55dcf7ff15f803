"""Which files under a path could be artifacts? A bounded look that opens none of them.

Directories down to three levels below the path, 10,000 entries at most, in sorted order, nothing
hidden. A symbolic link is followed where it stays under the path, or where it is the Hugging Face
cache's own layout (`snapshots/<commit>/*` to `blobs/*` of the same repository folder).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from qgate.errors import UsageError
from qgate.untrusted.text import printable

MAX_DEPTH = 3
MAX_ENTRIES = 10_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(slots=True, kw_only=True)
class Found:
    """What a walk saw: candidates, not yet opened."""

    ggufs: list[Path] = field(default_factory=list)
    hf_directories: list[Path] = field(default_factory=list)
    refused: dict[Path, str] = field(default_factory=dict)
    """`.gguf` entries that must not be opened, with the reason."""
    n_files: int = 0


def walk(root: Path, max_depth: int = MAX_DEPTH) -> Found:
    """Look for candidates under a directory.

    Raises:
        UsageError: a directory cannot be listed, or there are too many entries.
    """
    found = Found()
    visited: set[tuple[int, int]] = set()
    _is_new(root, visited)
    n_entries = 0
    pending = [(root, 0)]
    while pending:
        directory, depth = pending.pop()
        entries = _entries(directory, root, MAX_ENTRIES - n_entries)
        n_entries += len(entries)
        entries = [path for path in entries if not path.name.startswith(".")]
        is_hf = _is_hf(entries)
        if is_hf:
            found.hf_directories.append(directory)
        below = []
        for path in entries:
            if refusal(path, root) is None and path.is_dir():
                # an HF directory's own directories hold parts of it (onnx/, reference/)
                if depth < max_depth and not is_hf and _is_new(path, visited):
                    below.append((path, depth + 1))
                continue
            found.n_files += 1
            _note_file(path, root, found)
        pending.extend(reversed(below))
    return found


def refusal(path: Path, root: Path) -> str | None:
    """Why an entry must not be opened: it leaves the root, or is no regular file or directory."""
    try:
        mode = path.stat().st_mode
        if path.is_symlink() and not _stays(path, root):
            return "a symbolic link that leaves the given path. Refused unopened; name its target"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "not a regular file. Refused unopened"


def _note_file(path: Path, root: Path, found: Found) -> None:
    if path.suffix.lower() != ".gguf":
        return
    reason = refusal(path, root)
    if reason is None:
        found.ggufs.append(path)
    else:
        found.refused[path] = reason


def _entries(directory: Path, root: Path, most: int) -> list[Path]:
    where = printable(str(directory))
    entries: list[Path] = []
    try:
        with os.scandir(directory) as listing:
            for entry in listing:
                if len(entries) == most:
                    remedy = "Name the artifact itself."
                    raise UsageError(
                        f"--qgate: {printable(str(root))} has more than {MAX_ENTRIES} entries. "
                        f"{remedy}"
                    )
                entries.append(directory / entry.name)
    except OSError as error:
        raise UsageError(f"--qgate: {where} cannot be listed: {error.strerror or error}.") from None
    return sorted(entries)


def _is_hf(entries: list[Path]) -> bool:
    """A configuration with weights, or at least without GGUF files that it may belong to."""
    if not any(path.name == "config.json" for path in entries):
        return False
    suffixes = {path.suffix.lower() for path in entries}
    return ".gguf" not in suffixes or bool(suffixes & {".safetensors", *PICKLES})


def _is_new(directory: Path, visited: set[tuple[int, int]]) -> bool:
    facts = directory.stat()
    key = (facts.st_dev, facts.st_ino)
    if key in visited:
        return False
    visited.add(key)
    return True


def _stays(link: Path, root: Path) -> bool:
    target = link.resolve()
    return target.is_relative_to(root.resolve()) or _is_cache_link(link, target)


def _is_cache_link(link: Path, target: Path) -> bool:
    parts = link.absolute().parts
    if "snapshots" not in parts[:-2]:
        return False
    at = len(parts) - 1 - parts[::-1].index("snapshots")
    repository = Path(*parts[:at])
    return target.parent == (repository / "blobs").resolve()
