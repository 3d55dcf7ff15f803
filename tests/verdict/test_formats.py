from __future__ import annotations

import pytest

from qgate.verdict import format_bound, format_interval, format_value, name_conditions


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "ratio", "1.000"),
        (0.5, "perplexity", "0.500"),
        (0.0, "perplexity", "0.000"),
        (0.00153, "perplexity", "0.0015"),
        (-0.0021, "perplexity", "-0.0021"),
        (51.4828, "perplexity", "51.483"),
        (10276129.3, "perplexity", "10276129"),
        (0.0, "nats", "0.00"),
        (0.0024341, "nats", "0.00243"),
        (0.332, "nats", "0.332"),
        (3.575, "nats", "3.58"),
        (0.9123, "fraction", "91.2 %"),
        (1.0, "fraction", "100.0 %"),
        (0.99994, "fraction", "99.99 %"),
        (14.0, "ms", "14.0 ms"),
        (142.0, "ms", "142.0 ms"),
        (1234.5, "ms", "1234.5 ms"),
        (0.4231, "ms", "0.423 ms"),
        (-0.008, "difference", "-0.8 pp"),
        (0.012, "difference", "+1.2 pp"),
        (0.0, "difference", "0.0 pp"),
        (-0.0, "difference", "0.0 pp"),
        (-0.0004, "difference", "0.0 pp"),
        (0.0004, "difference", "0.0 pp"),
        (-1.0, "difference", "-100.0 pp"),
        (0.0, "bytes", "0 B"),
        (-0.3, "bytes", "0 B"),
        (4096.0, "bytes", "+4096 B"),
        (-512.4, "bytes", "-512 B"),
        (2**20 - 1, "bytes", "+1048575 B"),
        (2**20, "bytes", "+1.0 MiB"),
        (-3.5 * 2**20, "bytes", "-3.5 MiB"),
        (5.25 * 2**30, "bytes", "+5.2 GiB"),
        (1.2345, "GiB", "1.23 GiB"),
        (24.0, "GiB", "24.00 GiB"),
        (0.02314, "GiB", "0.0231 GiB"),
        (13.0, "words", "13 words"),
    ],
)
def test_value_is_shown_with_the_digits_of_its_unit(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-0.0004, "difference", "-0.04 pp"),
        (0.4, "bytes", "+0.4 B"),
        (14.04, "ms", "14.04 ms"),
        (23.996, "GiB", "23.996 GiB"),
    ],
)
def test_one_more_decimal_keeps_numbers_apart(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit, 1) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (("-0.8 pp", "-2.1 pp", "+0.5 pp"), "[-2.1, +0.5]"),
        (("95.9 %", "95.3 %", "96.5 %"), "[95.3, 96.5]"),
        (("1.043", "1.038", "1.049"), "[1.038, 1.049]"),
        (("+1.2 MiB", "-300 B", "+2.6 MiB"), "[-300 B, +2.6 MiB]"),
        (("13 words per s", "12 words per s", "14 words per s"), "[12, 14]"),
    ],
)
def test_the_unit_is_said_once_where_it_is_the_same(
    numbers: tuple[str, str, str], text: str
) -> None:
    assert format_interval(*numbers) == text


@pytest.mark.parametrize(
    ("bound", "unit", "text"),
    [
        (0.9, "fraction", "90 %"),
        (-0.03, "difference", "-3 pp"),
        (0.0, "difference", "0 pp"),
        (1.05, "ratio", "1.05"),
        (0.06, "nats", "0.06"),
        (0.5, "perplexity", "0.5"),
        (200.0, "ms", "200 ms"),
        (24.0, "GiB", "24 GiB"),
        (4096.0, "bytes", "4096 B"),
        (1048576.0, "bytes", "1048576 B"),
        (5000.0, "MB", "5000 MB"),
        (3.0, "", "3"),
    ],
)
def test_a_bound_is_shown_as_somebody_wrote_it(bound: float, unit: str, text: str) -> None:
    assert format_bound(bound, unit) == text


@pytest.mark.parametrize(
    ("parameters", "texts"),
    [
        ({}, ("", "")),
        ({"percentile": 99.9}, ("p99.9 ", "")),
        ({"is_vram": 1.0, "context": 8192, "sequences": 1}, ("", " VRAM at 8192 tokens")),
        ({"is_vram": 0.0, "context": 131072, "sequences": 8}, ("", " RAM at 8 x 131072 tokens")),
    ],
)
def test_a_limit_names_the_conditions_that_it_is_set_for(
    parameters: dict[str, float], texts: tuple[str, str]
) -> None:
    assert name_conditions(parameters) == texts
