from __future__ import annotations

import dataclasses

from qgate.records import Limit, SourceLine
from qgate.report.header import limits_listing, upload_line
from qgate.report.mlflow.runs import UploadOutcome


def _limit(check: str, line: int, rule: str = "certify", **bounds: float) -> Limit:
    return Limit(check=check, rule=rule, source=SourceLine("limits.yaml", line), **bounds)


LIMITS = (
    _limit("perplexity.ratio", 3, max=1.05),
    _limit("divergence.same_top", 4, min=0.9),
    _limit("accuracy.classification", 5, "alarm", min=-0.03),
    _limit("edge.repetition", 6, "alarm", max=0.05),
    dataclasses.replace(_limit("latency.ttft_slo", 7, max=200.0), parameters={"percentile": 95}),
    _limit("memory.growth", 8, "alarm", max=4096.0),
    dataclasses.replace(
        _limit("memory.fits", 9, max=24.0),
        parameters={"is_vram": 1.0, "context": 8192, "sequences": 1},
    ),
)

LISTING = """\
qgate: limits of big:
  perplexity.ratio        <= 1.050     certify  limits.yaml:3
  divergence.same_top     >= 90.0 %    certify  limits.yaml:4
  accuracy.classification >= -3.0 pp   alarm    limits.yaml:5
  edge.repetition         <= +5.0 pp   alarm    limits.yaml:6
  latency.ttft_slo        p95 <= 200 ms certify  limits.yaml:7
  memory.growth           <= 4096 B    alarm    limits.yaml:8
  memory.fits             <= 24 GiB VRAM at 8192 tokens certify  limits.yaml:9
qgate: limits of small: none"""


def test_each_limit_is_listed_with_its_unit_its_conditions_and_its_line() -> None:
    limits = {"big": {limit.check: limit for limit in LIMITS}, "small": {}}
    assert "\n".join(limits_listing(limits)) == LISTING


def test_without_long_names_the_listing_is_narrow() -> None:
    lines = limits_listing({"big": {"perplexity.ratio": LIMITS[0]}})
    assert lines[1] == "  perplexity.ratio       <= 1.050     certify  limits.yaml:3"


def test_no_artifacts_have_no_limits() -> None:
    assert limits_listing({}) == []


def test_what_sends_a_report_again_can_be_typed() -> None:
    lost = UploadOutcome(uri="http://host", uploaded=False, reason="HTTP 500")

    told = [upload_line(lost, report, store) for report, store in (("my report", ""), ("r", "URI"))]

    before = "mlflow: not uploaded (HTTP 500). Send it again: qgate upload"
    assert told == [f"{before} 'my report'", f"{before} r --uri URI"]
