"""What is known of the fake runtime; it reads toy GGUF files, whatever the artifact's format."""

from __future__ import annotations

from qgate.runtimes.spec import RuntimeSpec

SPEC = RuntimeSpec(
    name="fake",
    title="the fake runtime",
    adapter="qgate.runtimes.fake.adapter:Fake",
    quantizes_at_load=True,
    has_fixed_context=False,
    unmeasured=frozenset({"memory"}),
)
