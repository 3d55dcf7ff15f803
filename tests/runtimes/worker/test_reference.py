"""The reference's distributions, kept in 16 bits and read back: by state and matrix, or by row."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.errors import MeasurementError
from qgate.runtimes.worker import reductions
from qgate.runtimes.worker.reference_logits import Keeper, MatrixPlace, Reference, Stored, centred
from qgate.runtimes.worker.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterator

POSITIONS, WIDTH, VOCABULARY = 24, 96, 5000
OFFSET = 1056
RNG = np.random.default_rng(9)
STATES = RNG.normal(size=(POSITIONS, WIDTH)).astype(np.float32)
MATRIX = RNG.normal(0.0, 0.4, size=(VOCABULARY, WIDTH)).astype(np.float32)
TypeName = Literal["F32", "F16", "BF16"]


@pytest.fixture(scope="module")
def team() -> Iterator[ThreadTeam]:
    with ThreadTeam(2) as threads:
        yield threads


def to_bytes(matrix: np.ndarray, type_name: TypeName) -> bytes:
    if type_name == "F32":
        return matrix.astype("<f4").tobytes()
    if type_name == "F16":
        return matrix.astype("<f2").tobytes()
    return (matrix.view(np.uint32) >> 16).astype("<u2").tobytes()


def as_read(matrix: np.ndarray, type_name: TypeName) -> np.ndarray:
    """What a runtime multiplies by, one number at a time: no code shared with the product's."""
    if type_name == "BF16":
        words = [int(word) & 0xFFFF0000 for word in matrix.view(np.uint32).reshape(-1)]
        return np.array(words, dtype=np.uint32).view(np.float32).reshape(matrix.shape)
    return matrix.astype({"F32": np.float32, "F16": np.float16}[type_name]).astype(np.float32)


def place(path: Path, type_name: TypeName) -> MatrixPlace:
    path.write_bytes(b"\xff" * OFFSET + to_bytes(MATRIX, type_name) + b"\xff" * 64)
    return MatrixPlace(
        path=str(path), offset=OFFSET, n_vocab=VOCABULARY, width=WIDTH, type_name=type_name
    )


def logits_of(type_name: TypeName) -> np.ndarray:
    exact = STATES.astype(np.float64) @ as_read(MATRIX, type_name).T.astype(np.float64)
    return exact.astype(np.float32)


def stored(tmp_path: Path, type_name: TypeName | None) -> Stored:
    return Stored(
        encoding="rows" if type_name is None else "hidden",
        array=str(tmp_path / "kept.npy"),
        stride=1,
        matrix=None if type_name is None else place(tmp_path / "model.gguf", type_name),
    )


def plain_kl(reference: np.ndarray, artifact: np.ndarray) -> np.ndarray:
    log_p = log_softmax(reference.astype(np.float64), axis=1)
    log_q = log_softmax(artifact.astype(np.float64), axis=1)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


ENCODINGS: list[TypeName | None] = ["F32", "F16", "BF16", None]


@pytest.mark.parametrize("type_name", ENCODINGS)
def test_what_is_kept_gives_the_divergence_back(
    tmp_path: Path, team: ThreadTeam, type_name: TypeName | None
) -> None:
    keeping = stored(tmp_path, type_name)
    logits = logits_of(type_name or "F32") - 40.0  # GPT-2's are as far from zero
    kept = centred(logits) if type_name is None else STATES
    keeper = Keeper(keeping, POSITIONS, kept.shape[1])
    for begin in range(0, POSITIONS, 8):
        keeper.keep(begin, kept[begin : begin + 8])
    artifact = logits + np.random.default_rng(2).normal(0.0, 0.3, logits.shape).astype(np.float32)

    reference = Reference(keeping)
    for begin, end in ((0, 8), (8, 16), (3, 24)):
        tiles = reference.tiles(begin, end)
        rows = np.concatenate([tiles(0, 2048), tiles(2048, VOCABULARY)], axis=1)
        for other, wanted_abs in ((artifact, 2e-4), (logits, 1e-6)):
            found = reductions.divergence(
                tiles,
                reductions.log_normalizers(rows[None], team)[0],
                other[None, begin:end],
                reductions.log_normalizers(other[None, begin:end], team),
                team,
            )
            wanted = plain_kl(logits[begin:end], other[begin:end])
            assert found == pytest.approx(wanted, abs=wanted_abs)
            assert found.mean() == pytest.approx(wanted.mean(), abs=2e-5)


@pytest.mark.parametrize("type_name", ENCODINGS)
def test_keeping_hands_out_what_will_be_read_back(
    tmp_path: Path, type_name: TypeName | None
) -> None:
    keeping = stored(tmp_path, type_name)
    values = centred(logits_of("F32")) if type_name is None else STATES

    at_once = Keeper(keeping, POSITIONS, values.shape[1]).keep(0, values)(100, 300)
    later = Reference(keeping).tiles(0, POSITIONS)(100, 300)

    assert at_once.tobytes() == later.tobytes()
    assert np.load(keeping.array).dtype == np.float16


@pytest.mark.parametrize("type_name", ENCODINGS)
def test_only_the_rows_that_are_wanted_are_read_back(
    tmp_path: Path, type_name: TypeName | None
) -> None:
    keeping = stored(tmp_path, type_name)
    values = centred(logits_of("F32")) if type_name is None else STATES
    wanted = RNG.random(POSITIONS) < 0.4

    kept = Keeper(keeping, POSITIONS, values.shape[1]).keep(0, values, wanted)
    whole = Reference(keeping).tiles(0, POSITIONS)(100, 300)

    assert kept is not None
    assert kept(100, 300) == pytest.approx(whole[wanted], abs=1e-4)
    assert len(kept(100, 300)) == wanted.sum()
    some = Reference(keeping).tiles(4, 20, wanted[4:20])(100, 300)
    assert some == pytest.approx(whole[4:20][wanted[4:20]], abs=1e-4)
    # what is not wanted now is kept all the same
    assert np.load(keeping.array) == pytest.approx(values.astype(np.float16))


@pytest.mark.parametrize("number", [65520.0, -1e6, np.inf, np.nan])
def test_numbers_that_16_bits_cannot_hold_are_not_handed_out(tmp_path: Path, number: float) -> None:
    values = STATES.copy()
    values[7, 5] = number
    wanted = np.zeros(POSITIONS, dtype=bool)
    wanted[0] = True

    for mask in (None, wanted):
        keeper = Keeper(stored(tmp_path, "F16"), POSITIONS, WIDTH)
        assert keeper.keep(0, values[:7], None if mask is None else mask[:7]) is not None
        assert keeper.keep(7, values[7:], None if mask is None else mask[7:]) is None

    values[7, 5] = 65504.0
    assert Keeper(stored(tmp_path, "F16"), POSITIONS, WIDTH).keep(0, values) is not None


def test_a_tile_is_the_callers_own(tmp_path: Path) -> None:
    keeping = stored(tmp_path, None)
    tiles = Keeper(keeping, POSITIONS, VOCABULARY).keep(0, centred(logits_of("F32")))

    tile = tiles(0, 10)
    tile[:] = 1e9

    assert tiles(0, 10).max() <= 0.0


@pytest.mark.parametrize("type_name", ["F16", "BF16"])
def test_every_finite_16_bit_number_is_read_exactly(tmp_path: Path, type_name: TypeName) -> None:
    words = np.arange(65536, dtype=np.uint16)
    exponent = 0x7C00 if type_name == "F16" else 0x7F80
    words = words[(words & exponent) != exponent]
    path = tmp_path / "model.gguf"
    path.write_bytes(words.tobytes())
    matrix = MatrixPlace(path=str(path), offset=0, n_vocab=len(words), width=1, type_name=type_name)
    one = Stored(encoding="hidden", array=str(tmp_path / "one.npy"), stride=1, matrix=matrix)

    read = Keeper(one, 1, 1).keep(0, np.ones((1, 1), np.float32))(0, len(words))[0]

    if type_name == "F16":
        wanted = words.view(np.float16).astype(np.float64)
    else:
        wanted = (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    assert read.dtype == np.float32
    assert (read == wanted).all()


@pytest.mark.parametrize("type_name", ENCODINGS)
def test_windows_from_the_middle_are_read_from_the_middle(
    tmp_path: Path, type_name: TypeName | None
) -> None:
    keeping = stored(tmp_path, type_name)
    values = STATES if type_name else logits_of("F32")
    Keeper(keeping, POSITIONS, values.shape[1]).keep(0, values)

    whole = Reference(keeping).tiles(5, POSITIONS)(0, 100)
    later = Reference(dataclasses.replace(keeping, begin=5)).tiles(0, POSITIONS - 5)(0, 100)

    assert np.array_equal(later, whole)


def test_threads_do_not_read_into_each_other(tmp_path: Path, team: ThreadTeam) -> None:
    keeping = stored(tmp_path, "F16")
    tiles = Keeper(keeping, POSITIONS, WIDTH).keep(0, STATES)
    starts = range(0, VOCABULARY, 1000)
    alone = [tiles(start, start + 1000) for start in starts]

    for _ in range(20):
        together = team.map(lambda start: tiles(start, start + 1000), starts)
        assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_rows_keep_a_distribution_that_float16_cannot_hold(tmp_path: Path) -> None:
    logits = np.linspace(-1e6, 1e5, VOCABULARY, dtype=np.float32)[None, :]

    kept = centred(logits)

    assert kept.max() == 0.0
    assert np.isfinite(kept.astype(np.float16)).all()


def test_a_store_that_is_too_short_is_refused(tmp_path: Path) -> None:
    keeping = stored(tmp_path, "F16")
    Keeper(keeping, POSITIONS, WIDTH).keep(0, STATES)

    with pytest.raises(MeasurementError) as caught:
        Reference(keeping).tiles(20, 28)

    assert str(caught.value) == (
        "reference store: got 24 positions; expected at least 28."
        " Delete the store to have it measured again"
    )


def test_a_matrix_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    keeping = stored(tmp_path, "F16")
    tiles = Keeper(keeping, POSITIONS, WIDTH).keep(0, STATES)
    assert keeping.matrix is not None
    path = Path(keeping.matrix.path)
    path.write_bytes(path.read_bytes()[: OFFSET + 4000 * WIDTH * 2])

    assert tiles(0, 2048).shape == (POSITIONS, 2048)
    with pytest.raises(MeasurementError, match="the reference's output matrix is cut short"):
        tiles(2048, 4096)


def test_arrays_that_hold_objects_are_not_loaded(tmp_path: Path) -> None:
    keeping = stored(tmp_path, None)
    np.save(keeping.array, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(ValueError, match="Python objects in dtype"):
        Reference(keeping)
