"""What a child keeps of the reference on a disk without room for it: an error, and no signal."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.worker.reference_logits import (
    Keeper,
    MatrixPlace,
    Reference,
    Stored,
    identify,
)
from tests.support.disks import on_a_disk

if TYPE_CHECKING:
    from pathlib import Path

_WRITE = """
import sys
import numpy as np
from qgate.errors import StoreFull
from qgate.runtimes.worker.logprob_store import TopKeeper, TopRows
from qgate.runtimes.worker.reference_logits import Keeper, Stored
array, kind = sys.argv[1:]
stored = Stored(encoding=kind, array=array, stride=1, matrix=None)
try:
    if kind == "top_k":
        keeper = TopKeeper(stored, 1000, 20)
        ids, logprobs = np.ones((1000, 20), np.int32), np.ones((1000, 20), np.float32)
        keeper.keep(0, TopRows(ids=ids, logprobs=logprobs))
    else:
        Keeper(stored, 1000, 64).keep(0, np.ones((1000, 64), np.float32))
except StoreFull as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["top_k", "rows"])
@pytest.mark.parametrize(
    ("options", "reason"),
    [("size=32k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_no_room_is_an_error_before_anything_is_written(
    tmp_path: Path, kind: str, options: str, reason: str
) -> None:
    disk = tmp_path / "disk"

    done = subprocess.run(
        [*on_a_disk(disk, options), sys.executable, "-c", _WRITE, disk / "kept.npy", kind],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{reason}\n", "")


@pytest.mark.parametrize("opened", ["to keep", "to compare"])
def test_the_output_matrix_is_read_from_the_reference_s_own_file_alone(
    tmp_path: Path, opened: str
) -> None:
    path = tmp_path / "model.gguf"
    np.ones((50, 8), np.float16).tofile(path)
    file = identify(path.stat())
    matrix = MatrixPlace(path=str(path), offset=0, n_vocab=50, width=8, type_name="F16", file=file)
    kept = Stored(encoding="hidden", array=str(tmp_path / "kept.npy"), stride=1, matrix=matrix)
    Keeper(kept, 4, 8).keep(0, np.ones((4, 8), np.float32))
    same = Reference(kept).tiles(0, 4)(0, 50)
    np.full((50, 8), 2, np.float16).tofile(tmp_path / "other.gguf")
    os.utime(tmp_path / "other.gguf", ns=(0, file[3]))
    (tmp_path / "other.gguf").replace(path)

    def read_again() -> object:
        if opened == "to compare":
            return Reference(kept)
        return Keeper(dataclasses.replace(kept, array=str(tmp_path / "new.npy")), 4, 8)

    with pytest.raises(MeasurementError) as caught:
        read_again()

    assert (same == 8).all()
    assert str(caught.value) == (
        f"{path}: got another file than the reference's when its output matrix was read again;"
        " expected the same. Run again when nobody writes to it"
    )
