"""GitHub's expressions, as far as the workflows here use them: paths, `==`, `!=`, `&&`, `||`.

After docs.github.com "Evaluate expressions": a missing property is null, texts are compared without
regard to case, unlike types as numbers, and `&&` and `||` give one of their operands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|[()]|[A-Za-z_][\w.-]*(?:\(\))?)")


def interpolate(text: str, context: Mapping[str, Any]) -> str:
    """Replace every `${{ ... }}`."""
    return re.sub(
        r"\$\{\{(.*?)\}\}",
        lambda match: _to_text(evaluate(match[1], context)),
        text,
        flags=re.DOTALL,
    )


def evaluate(expression: str, context: Mapping[str, Any]) -> Any:
    tokens = list(_split(expression.strip()))
    value = _read_or(tokens, context)
    assert tokens == [], f"not understood: {tokens}"
    return value


def is_true(value: Any) -> bool:
    return value not in (None, False, "", 0)


def _split(expression: str) -> Iterator[str]:
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        assert match, f"not understood: {expression[position:]}"
        yield match[1]
        position = match.end()


def _read_or(tokens: list[str], context: Mapping[str, Any]) -> Any:
    value = _read_and(tokens, context)
    while tokens[:1] == ["||"]:
        tokens.pop(0)
        other = _read_and(tokens, context)
        value = value if is_true(value) else other
    return value


def _read_and(tokens: list[str], context: Mapping[str, Any]) -> Any:
    value = _read_comparison(tokens, context)
    while tokens[:1] == ["&&"]:
        tokens.pop(0)
        other = _read_comparison(tokens, context)
        value = other if is_true(value) else value
    return value


def _read_comparison(tokens: list[str], context: Mapping[str, Any]) -> Any:
    value = _read_primary(tokens, context)
    if tokens[:1] in (["=="], ["!="]):
        sign = tokens.pop(0)
        return _are_equal(value, _read_primary(tokens, context)) == (sign == "==")
    return value


def _read_primary(tokens: list[str], context: Mapping[str, Any]) -> Any:
    token = tokens.pop(0)
    if token == "(":
        value = _read_or(tokens, context)
        assert tokens.pop(0) == ")"
        return value
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    if token in ("null", "true", "false", "always()"):
        return {"null": None, "true": True, "false": False, "always()": True}[token]
    value = context
    for name in token.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _are_equal(first: Any, second: Any) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first.casefold() == second.casefold()
    if first is None and second is None:
        return True
    return _to_number(first) == _to_number(second)


def _to_number(value: Any) -> float:
    if isinstance(value, Mapping):
        return math.nan
    if isinstance(value, str):
        return 0.0 if not value else float(value) if value.isdigit() else math.nan
    return float(value or 0)


def _to_text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
