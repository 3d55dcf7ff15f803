"""What is known of llama.cpp without importing it."""

from __future__ import annotations

from qgate.runtimes.spec import RuntimeSpec

SPEC = RuntimeSpec(
    name="llama_cpp",
    title="llama.cpp",
    adapter="qgate.runtimes.llama_cpp.adapter:LlamaCpp",
    formats=frozenset({"gguf"}),
    preference=10,
    import_name="llama_cpp",
    speed="qgate.runtimes.llama_cpp.speed",
    imports=("llama_cpp",),
    distributions=("llama-cpp-python",),
    has_fixed_context=False,
    remedy='pip install "pytest-qgate[gguf]"',
)
