"""Artifacts of the demo model in every format but GGUF, each made by the tool that people use."""
