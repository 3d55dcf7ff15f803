from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING

import pytest

from qgate.report.plots import kl_histogram_png
from tests.report.conftest import report_of

if TYPE_CHECKING:
    from qgate.records import Report


def _size(png: bytes) -> tuple[int, int]:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    image.verify()
    width, height = image.size
    return width, height


def test_a_report_with_histograms_has_a_picture(report: Report) -> None:
    png = kl_histogram_png(report)
    assert png is not None
    assert _size(png) == (990, 550)


def test_each_artifact_changes_the_picture(report: Report) -> None:
    fewer = dataclasses.replace(report, artifacts=report.artifacts[:1])
    assert kl_histogram_png(report) != kl_histogram_png(fewer)
    assert kl_histogram_png(report) == kl_histogram_png(report)


def test_without_a_histogram_there_is_no_picture(report: Report) -> None:
    crashed = dataclasses.replace(report, artifacts=report.artifacts[2:])
    assert kl_histogram_png(crashed) is None
    empty = report.to_json()
    for artifact in empty["artifacts"]:
        for check in artifact["checks"]:
            check["details"] = {
                "kl_histogram": {"edges_nats": [1e-3, 1.0], "counts": [0], "below": 0, "above": 0}
            }
    assert kl_histogram_png(report_of(empty)) is None


def test_names_that_look_like_mathematics_are_drawn_as_text(report: Report) -> None:
    strange = report.to_json()
    strange["artifacts"][0]["id"] = r"a $\frac{ \undefined $ _x_"
    png = kl_histogram_png(report_of(strange))
    assert png is not None
    assert _size(png) == (990, 550)


def test_more_artifacts_than_colours_are_drawn_as_far_as_eyes_tell_them_apart(
    report: Report,
) -> None:
    many = report.to_json()
    many["artifacts"] = many["artifacts"][:1] * 40
    png = kl_histogram_png(report_of(many))
    assert png is not None
    assert _size(png) == (990, 550)
