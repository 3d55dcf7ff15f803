"""Hugging Face directories: config.json, quantization, safetensors."""

from __future__ import annotations
