"""A bigram model in numpy, for tests and for trying qgate out."""

from __future__ import annotations
