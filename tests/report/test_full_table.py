# ruff: noqa: RUF001 - an en dash stands for a number that there is not
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from qgate.report.table import render, render_markdown
from qgate.report.text import count_cells

if TYPE_CHECKING:
    from qgate.records import Report

AT_100 = """\
reference  qgate-demo-F16  F16  7.3 MB  perplexity 1.607 (n = 16 320)
           text generated, seed 0 sha256:989898989898
qgate-demo-Q4_K_M  Q4_K_M  2.3 MB  llama_cpp 0.3.36 cpu  14 s                                   PASS
  integrity.* (6 rows)                                                                 pass
  perplexity.increase                       0.0078 [0.0053, 0.011]      <= 0.5         pass
  perplexity.ratio                          1.005 [1.003, 1.007]        <= 1.05        pass
  divergence.kl_mean                        0.00492 [0.00350, 0.00723]  <= 0.06        pass
  divergence.kl_p99                         0.0509 [0.0400, 0.0746]     <= 0.48        pass
  divergence.same_top                       95.9 % [95.3, 96.5]         >= 90 %        pass
  accuracy.classification                   0.0 pp [-1.9, +1.9]         >= -3 pp ~     pass
  accuracy.next_sentence                    -0.5 pp [-2.8, +1.7]        >= -3 pp ~     pass
  accuracy.code                             -1.5 pp [-4.4, +1.2]        >= -5 pp ~     pass
  accuracy.drill                            +1.0 pp [-1.8, +4.0]        >= -5 pp ~     pass
  edge.long_input (text at 256-384 tokens)  1.008 [1.001, 1.015]        <= 1.1 ~       pass
  edge.multilingual (hi)                    1.019 [1.008, 1.030]        <= 1.1 ~       pass
  edge.math                                 -1.0 pp [-3.6, +1.4]        >= -3 pp ~     pass
  edge.repetition                           +1.0 pp [-3.1, +5.7]        <= 5 pp ~      pass
  edge.termination                          0.0 pp [-3.9, +3.9]         >= -5 pp ~     pass
  edge.answer_length                        1.021 [1.000, 1.079]        <= 1.1 ~       pass
  edge.batch_invariance                     0.0 pp [-10.7, +10.7]       <= 5 pp ~      pass
  edge.empty_prompt                         0.0 pp [-7.4, +7.4]         <= 5 pp ~      pass
  edge.context_limit (the last tokens)      1.004 [0.992, 1.016]        <= 1.1 ~       pass
  latency.ttft                              1.120 [1.090, 1.160]        <= 1.5 ~       pass
  latency.itl                               0.652 [0.634, 0.671]        <= 1.05 ~      pass
  latency.tps                               1.532 [1.489, 1.579]        >= 0.95 ~      pass
  latency.ttft_slo                          14.6 ms [14.0, 15.9]        p95 <= 200 ms  pass
  memory.weights                            0.320                       <= 1           pass
  memory.kv_cache                           1.000                       <= 1.02        pass
  memory.peak                               0.714                       <= 1           pass
  memory.growth                             0 B [-310, +310]            <= 4096 B ~    pass
  memory.fits                               0.0231 GiB                  <= 24 GiB      pass
qgate-demo-Q2_K  Q2_K  1.7 MB  llama_cpp 0.3.36 cpu  3.2 min                                   ERROR
  integrity.* (6 rows)                                                                 pass
  perplexity.increase                       0.810 [0.660, 0.970]        <= 3           pass
  divergence.kl_mean                        0.121 [0.0550, 0.127]       <= 0.06        INCONCLUSIVE
  accuracy.drill                            -16.0 pp [-22.1, -10.6]     >= -5 pp ~     FAIL
  edge.multilingual (hi)                    1.310 [1.280, 1.340]        <= 1.1 ~       FAIL
  edge.repetition                           +10.4 pp [+4.2, +18.1]      <= 5 pp ~      FAIL
  latency.tps                               0.933 [0.908, 0.961]        >= 0.95        INCONCLUSIVE
  memory.peak                               1.0004                      <= 1           FAIL
  memory.growth                                                                        ERROR
~ an alarm: it fails where damage is shown and is beyond the limit
scheme    size  perplexity  KL nats  accuracy     TTFT  tokens/s    memory  verdict
F16     7.3 MB       1.607        –    94.1 %  12.5 ms       465  29.9 MiB  reference
Q4_K_M  2.3 MB     +0.0078  0.00492    93.9 %  14.0 ms       712  21.4 MiB  PASS
Q2_K    1.7 MB      +0.810    0.121    80.1 %        –      96.2         –  ERROR
smallest artifact that passes: qgate-demo-Q4_K_M (Q4_K_M, 2.3 MB, 32 % of the reference)"""

MESSAGES = """\
qgate-demo-Q2_K: inconclusive: divergence.kl_mean: 0.121 [0.0550, 0.127], limit 0.0600 \
(95 % CI, n = 16 320 tokens; thresholds/default.yaml:14); text: {windows: 75} would decide
qgate-demo-Q2_K: accuracy.drill: -16.0 pp [-22.1, -10.6] < -5.0 pp \
(exact McNemar p = 1e-09, n = 200 items; thresholds/default.yaml:14); see the flips in the report
qgate-demo-Q2_K: edge.multilingual (hi): 1.310 [1.280, 1.340] > 1.100 \
(95 % CI, n = 16 320 tokens; thresholds/default.yaml:14); see the perplexities in the report
qgate-demo-Q2_K: edge.repetition: +10.4 pp [+4.2, +18.1] > +5.0 pp \
(exact McNemar p = 0.001, n = 96 answers; thresholds/default.yaml:14); see the answers in the report
qgate-demo-Q2_K: inconclusive: latency.tps: 0.933 [0.908, 0.961], limit 0.950 \
(95 % CI, n = 24 pairs; thresholds/default.yaml:14); latency: {pairs: 66} would decide
qgate-demo-Q2_K: memory.peak: 1.0004 > 1 (exact; thresholds/default.yaml:14)
qgate-demo-Q2_K: the child ended: got signal 9; expected 60 batches. (memory.growth)"""

LEGEND = "~ an alarm: it fails where damage is shown and is beyond the limit"

AT_60 = """\
reference  qgate-demo-F16  F16  7.3 MB
           perplexity 1.607 (n = 16 320)
           text generated, seed 0 sha256:989898989898
qgate-d…o-Q4_K_M  Q4_K_M  2.3 MB  llama_cpp 0.3.36 cpu  PASS
  integrity.* (6 rows)                          pass
  perplexi…increase  0.0078      <= 0.5         pass
  perplexity.ratio   1.005       <= 1.05        pass
  divergen….kl_mean  0.00492     <= 0.06        pass
  divergence.kl_p99  0.0509      <= 0.48        pass
  divergen…same_top  95.9 %      >= 90 %        pass
  accuracy…fication  0.0 pp      >= -3 pp ~     pass
  accuracy…sentence  -0.5 pp     >= -3 pp ~     pass
  accuracy.code      -1.5 pp     >= -5 pp ~     pass
  accuracy.drill     +1.0 pp     >= -5 pp ~     pass
  edge.long_input    1.008       <= 1.1 ~       pass
  edge.multilingual  1.019       <= 1.1 ~       pass
  edge.math          -1.0 pp     >= -3 pp ~     pass
  edge.repetition    +1.0 pp     <= 5 pp ~      pass
  edge.termination   0.0 pp      >= -5 pp ~     pass
  edge.ans…r_length  1.021       <= 1.1 ~       pass
  edge.bat…variance  0.0 pp      <= 5 pp ~      pass
  edge.empty_prompt  0.0 pp      <= 5 pp ~      pass
  edge.con…xt_limit  1.004       <= 1.1 ~       pass
  latency.ttft       1.120       <= 1.5 ~       pass
  latency.itl        0.652       <= 1.05 ~      pass
  latency.tps        1.532       >= 0.95 ~      pass
  latency.ttft_slo   14.6 ms     p95 <= 200 ms  pass
  memory.weights     0.320       <= 1           pass
  memory.kv_cache    1.000       <= 1.02        pass
  memory.peak        0.714       <= 1           pass
  memory.growth      0 B         <= 4096 B ~    pass
  memory.fits        0.0231 GiB  <= 24 GiB      pass
qgate-demo-Q2_K  Q2_K  1.7 MB  llama_cpp 0.3.36 cpu    ERROR
  integrity.* (6 rows)                          pass
  perplexi…increase  0.810       <= 3           pass
  divergen….kl_mean  0.121       <= 0.06        INCONCLUSIVE
  accuracy.drill     -16.0 pp    >= -5 pp ~     FAIL
  edge.multilingual  1.310       <= 1.1 ~       FAIL
  edge.repetition    +10.4 pp    <= 5 pp ~      FAIL
  latency.tps        0.933       >= 0.95        INCONCLUSIVE
  memory.peak        1.0004      <= 1           FAIL
  memory.growth                                 ERROR
~ an alarm: it fails where damage is shown and is beyond the limit
scheme    size  perplexity  KL nats  accuracy  verdict
F16     7.3 MB       1.607        –    94.1 %  reference
Q4_K_M  2.3 MB     +0.0078  0.00492    93.9 %  PASS
Q2_K    1.7 MB      +0.810    0.121    80.1 %  ERROR
smallest artifact that passes: qgate-d…o-Q4_K_M (Q4_K_M, 2.3 MB, 32 % of the reference)"""


def _lines(report: Report, width: int) -> list[str]:
    return [line.text for line in render(report, width)]


def _table(report: Report, width: int) -> str:
    """All lines but the messages, which a terminal wraps as it likes."""
    messages = MESSAGES.splitlines()
    return "\n".join(line for line in _lines(report, width) if line not in messages)


def test_the_whole_checklist_at_100_columns(full: Report) -> None:
    assert _table(full, 100) == AT_100


def test_the_messages_stand_between_the_rows_and_the_comparison(full: Report) -> None:
    table = "\n".join(_lines(full, 100))
    assert f"  ERROR\n{LEGEND}\n{MESSAGES}\nscheme " in table


def test_the_whole_checklist_at_60_columns(full: Report) -> None:
    assert _table(full, 60) == AT_60


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 120, 200])
def test_no_line_but_a_message_is_wider_than_the_terminal(full: Report, width: int) -> None:
    lines = [line for line in _table(full, width).splitlines() if ": " not in line]
    # narrower than 60 columns what a row has to say does not fit any more
    assert max(map(count_cells, lines)) <= max(width, 60)


def test_a_wide_terminal_shows_every_interval_and_every_member(full: Report) -> None:
    table = _table(full, 120)
    assert "edge.long_input (text at 256-384 tokens)" in table
    assert "0.00492 [0.00350, 0.00723]" in table


def test_a_long_member_goes_before_any_interval_does(full: Report) -> None:
    sound = full.artifacts[0]
    records = [
        dataclasses.replace(record, details={"member": "facts about 131072 tokens back"})
        if record.name == "edge.long_input"
        else record
        for record in sound.records
    ]
    artifact = dataclasses.replace(sound, records=tuple(records))
    rows = _lines(dataclasses.replace(full, artifacts=(artifact,)), 90)
    (row,) = [line for line in rows if "edge.long_input" in line]
    assert row.startswith("  edge.long_input (facts abou…okens back)  1.008 [1.001, 1.015] ")


def test_verbosely_a_silent_alarm_says_what_it_would_have_seen(full: Report) -> None:
    sound = full.artifacts[0]
    records = [
        dataclasses.replace(record, details={"would_have_seen": "-6.2 pp or less"})
        if record.name == "edge.math"
        else record
        for record in sound.records
    ]
    report = dataclasses.replace(full, artifacts=(dataclasses.replace(sound, records=records),))
    line = "  edge.math: would have seen -6.2 pp or less (4 times in 5)"
    assert line in [shown.text for shown in render(report, 100, verbose=True)]
    assert line not in _lines(report, 100)


def test_without_an_alarm_there_is_no_legend(passing: Report) -> None:
    assert LEGEND not in _lines(passing, 100)


def test_members_and_phases_from_strangers_stay_text(full: Report) -> None:
    strange = "hi\x1b[31m\n::error::x ##[error] | `c`"
    sound = full.artifacts[0]
    records = [
        dataclasses.replace(record, details={"member": strange}) if record.details else record
        for record in sound.records
    ]
    artifact = dataclasses.replace(
        sound, records=tuple(records), measured={**sound.measured, f"time.{strange}_s": 1.0}
    )
    report = dataclasses.replace(full, artifacts=(artifact,))
    for line in render(report, 200, verbose=True):
        assert line.text.isprintable()
        assert "##[" not in line.text
    page = render_markdown(report)
    assert all(line.isprintable() for line in page.splitlines())
    assert " | `c`" not in page
