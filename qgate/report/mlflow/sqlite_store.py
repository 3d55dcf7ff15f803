"""The embedded store: a SQLite file, made whole or not at all.

mlflow makes its tables one by one in the file itself: two that make it at once destroy each other's
work, and one that was broken off can never be opened again. So it is made under a lock and another
name, and gets its own name once it is whole.
"""

from __future__ import annotations

import os
from pathlib import Path

from qgate.report.mlflow.lock import alone, remove_left_over


def get_store_path(uri: str) -> Path | None:
    """Return the file of a SQLite store; None where `uri` names another store."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    return None if path == uri or path in ("", ":memory:") else Path(path).absolute()


def make_store(path: Path, deadline_s: float) -> None:
    """Make the tables of a store that is not there yet; one that is there is left as it is.

    Raises:
        TimeoutError: another process is making it, for longer than the deadline.
        OSError: there can be no such file.
        Exception: what mlflow and its drivers raise, such as for a full disk; nothing stays.
    """
    lock = path.with_name(f".{path.name}.lock")
    if _is_there(path):
        remove_left_over(lock)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock, deadline_s):
        if _is_there(path):
            return
        unfinished = path.with_name(f".{path.name}.unfinished")
        _remove(unfinished)  # of a process that was killed: who holds the lock is the only maker
        try:
            _make_tables(unfinished)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            _remove(unfinished)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _make_tables(path: Path) -> None:
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # with what mlflow's client would make it with, the default experiment included
    store = SqlAlchemyStore(f"sqlite:///{path}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    store.engine.dispose()
