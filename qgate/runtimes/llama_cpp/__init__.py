"""GGUF files in llama.cpp, by llama-cpp-python."""

from __future__ import annotations
