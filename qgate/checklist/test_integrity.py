"""Integrity: is the artifact whole, what it claims to be, and made for the reference's tokens?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qgate.measure.measurement import Finding
    from qgate.plugin.fixtures import Gate


@pytest.mark.qgate("integrity.files")
def test_files(gate: Gate, finding: Finding) -> None:
    """Header and tensor data are all there."""
    gate.check(finding)


@pytest.mark.qgate("integrity.scheme")
def test_scheme(gate: Gate, finding: Finding) -> None:
    """The weights are stored in the types that the file claims."""
    gate.check(finding)


@pytest.mark.qgate("integrity.weights")
def test_weights(gate: Gate, finding: Finding) -> None:
    """No weight or scale is NaN, no matrix is all zero."""
    gate.check(finding)


@pytest.mark.qgate("integrity.tokenizer")
def test_tokenizer(gate: Gate, finding: Finding) -> None:
    """The same text gives the same token ids as in the reference."""
    gate.check(finding)


@pytest.mark.qgate("integrity.special_tokens")
def test_special_tokens(gate: Gate, finding: Finding) -> None:
    """Begin, end and other special tokens are the reference's."""
    gate.check(finding)


@pytest.mark.qgate("integrity.chat_template")
def test_chat_template(gate: Gate, finding: Finding) -> None:
    """Chats are rendered with the reference's template."""
    gate.check(finding)
