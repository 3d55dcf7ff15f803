"""A server that is running already, by the OpenAI API."""

from __future__ import annotations
